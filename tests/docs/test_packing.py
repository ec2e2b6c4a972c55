"""Figures of the page on packing are those of the benchmark."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.reading_sound import WANTED

PAGE = (Path(__file__).parents[2] / "docs" / "packing.md").read_text()


def test_table_of_figures_has_what_was_wanted() -> None:
    for (name, suffix), wanted in WANTED.items():
        [row] = re.findall(rf"^\| {name} .*$", PAGE, re.MULTILINE)
        ratios = dict(zip(("wav", "flac"), row.split("|")[3:5]))
        found, _, shown = ratios[suffix].partition("(wanted: ")
        assert float(shown.strip(" )")) == wanted
        assert float(found) >= wanted
