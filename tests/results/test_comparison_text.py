from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audiozen.results.comparison import Comparison, compare
from audiozen.results.comparison_text import format_comparison
from audiozen.results.question import Question
from audiozen.results.scores import Scores
from audiozen.tables.files import read_csv

VALUES = np.arange(20) / 8


def system(name: str, *, shift: float, failed: int = 0) -> Scores:
    scores = [math.nan] * failed + list(VALUES[failed:] + shift)
    labels = ["cafe", "b|s_1"] * 10
    records = [
        {"id": f"s{number:02d}", "si_sdr": score, "stoi": 0.5, "noise": label}
        for number, (score, label) in enumerate(zip(scores, labels))
    ]
    return Scores(name, {"seen": records})


def comparison(**question: Any) -> Comparison:
    systems = [system("small", shift=0), system("large_1", shift=0.5, failed=2)]
    return compare(systems, Question(num_resamples=1000, **question))


def test_text_says_who_is_better_by_how_much_and_how_that_is_known() -> None:
    text = format_comparison(comparison())
    lines = text.splitlines()
    assert lines[0] == "seen: A = small, B = large_1"
    cells = [line.split() for line in lines[4:6]]
    assert cells[0] == [
        *["si_sdr", "18†", "1.312", "1.812", "+0.500", "+0.500", "to", "+0.500"],
        *["0.0020", "18/0/0", "B", "better"],
    ]
    assert cells[1] == [
        *["stoi", "20", "0.5000", "0.5000", "+0.0000", "+0.0000", "to", "+0.0000"],
        *["1.0000", "0/20/0", "identical"],
    ]
    assert "Holm's correction for 2 tests" in text
    assert "95 % interval" in text
    assert "1000 resamples, seed 0" in text
    assert "\n† signals that failed in A or B are left out of both\n" in text
    assert (
        "warning: large_1 against small, seen: si_sdr failed for 0 signals in A alone and 2 in B"
        in text
    )


def test_groups_have_a_column_of_their_name() -> None:
    lines = format_comparison(comparison(by="noise", metrics=["stoi"])).splitlines()
    assert lines[2].split()[:3] == ["metric", "noise", "n"]
    assert [line.split()[1] for line in lines[4:7]] == ["all", "b|s_1", "cafe"]


def test_markdown_is_a_table() -> None:
    lines = format_comparison(comparison(by="noise", metrics=["stoi"]), "markdown").splitlines()
    assert lines[0] == "### seen: A = small, B = large_1"
    assert lines[3].startswith("| --- | --- | ---: |")
    assert {line.replace("\\|", "").count("|") for line in lines[2:7]} == {11}
    assert all(line.startswith("- ") for line in lines[8:])


def test_latex_has_a_tabular_and_the_rest_as_comments() -> None:
    text = format_comparison(comparison(by="noise"), "latex")
    assert text.splitlines()[0] == "% seen: A = small, B = large_1"
    assert r"si\_sdr & b$|$s\_1" in text
    assert r"95 \% interval" in text
    outside = text[: text.index(r"\begin")] + text[text.index(r"\end{tabular}") + 13 :]
    assert all(line.startswith("% ") for line in outside.splitlines() if line)


def test_csv_has_all_digits_and_can_be_read(tmp_path: Path) -> None:
    given = comparison()
    path = tmp_path / "comparison.csv"
    path.write_text(format_comparison(given, "csv") + "\n")
    first, second = read_csv(path)
    assert first["b"] == "large_1"
    assert first["p_value"] == given.differences[0].p_value
    assert first["mean_b"] == given.differences[0].mean_b
    assert first["higher_is_better"] == 1.0
    assert second["verdict"] == "identical"


def test_json_lines_have_null_for_what_there_is_not() -> None:
    few = Scores("a", {"test": [{"id": "s", "mystery": 1.0}]})
    other = Scores("b", {"test": [{"id": "s", "mystery": 2.0}]})
    (line,) = format_comparison(compare([few, other]), "jsonl").splitlines()
    row = json.loads(line)
    assert row["p_corrected"] is None
    assert row["verdict"] == "too few signals"


@pytest.mark.parametrize(
    ("means", "shown"),
    [
        ((0.912345, 0.912378), ["0.912345", "0.912378", "+0.000033"]),
        ((10.0, 12.25), ["10.00", "12.25", "+2.25"]),
        ((12345.0, 12346.0), ["12345.0", "12346.0", "+1.0"]),
        ((1e-9, 3e-9), ["1.000e-09", "3.000e-09", "+2.000e-09"]),
        ((0.0, 0.0), ["0", "0", "+0"]),
    ],
)
def test_numbers_have_the_digits_that_show_their_difference(
    means: tuple[float, float], shown: list[str]
) -> None:
    systems = [
        Scores(name, {"test": [{"id": f"{number}x", "snr": mean} for number in range(3)]})
        for name, mean in zip("ab", means)
    ]
    cells = format_comparison(compare(systems)).splitlines()[4].split()
    assert cells[2:5] == shown
