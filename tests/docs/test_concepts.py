"""What the pages on concepts take from the code, and name in it, is there."""

from __future__ import annotations

import ast
import re

from audiozen.metrics import METRICS
from tests.docs.pages import ROOT

FOLDER = ROOT / "docs" / "concepts"
LOOP = FOLDER / "loop.md"
SCREEN = 60
INCLUDED = re.compile(r"```{literalinclude} (\S+)\n:language: python\n:pyobject: (\S+)\n```")


def included() -> dict[str, str]:
    """Parts of the code that the page on the loop includes, by their names in it."""
    found = INCLUDED.findall(LOOP.read_text())
    return {name: source_of(name, (FOLDER / path).read_text()) for path, name in found}


def source_of(name: str, source: str) -> str:
    """Lines of what is called ``Class.method`` in a file."""
    body: list[ast.stmt] = ast.parse(source).body
    for part in name.split("."):
        [node] = [node for node in body if getattr(node, "name", None) == part]
        body = getattr(node, "body", [])
    return "\n".join(source.splitlines()[node.lineno - 1 : node.end_lineno])


def test_loop_is_included_and_fits_on_one_screen():
    assert list(included()) == ["BaseTrainer.train", "BaseTrainer.update"]
    assert LOOP.read_text().count("{literalinclude}") == 2
    assert sum(len(text.splitlines()) for text in included().values()) <= SCREEN


def test_lines_that_are_explained_stand_in_the_loop_in_this_order():
    tables = re.findall(r"\| line \|.*?\n\n", LOOP.read_text(), re.DOTALL)
    for table, text in zip(tables, included().values(), strict=True):
        explained = re.findall(r"^\| `(.*?)` \|", table, re.MULTILINE)
        places = [text.find(line) for line in explained]
        assert len(explained) > 5
        assert -1 not in places, explained[places.index(-1)]
        assert places == sorted(places)


def rows(table: str) -> list[list[str]]:
    """Cells of the table of the page on metrics that begins so."""
    text = (FOLDER / "metrics.md").read_text()
    lines = text[text.index(f"| {table} |") :].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def metrics_of(cell: str) -> list[str]:
    """Names in a cell; ``prefix_...`` is all that begin so."""
    return [
        name
        for text in re.findall(r"`(\w+?)(\.\.\.)?`", cell)
        for name in METRICS
        if name == text[0] or (text[1] and name.startswith(text[0]))
    ]


def test_units_ranges_and_directions_are_those_of_the_catalogue():
    stated = {}
    for cell, unit, lowest, highest, better in rows("metric | unit"):
        limits = float(lowest or "-inf"), float(highest or "inf")
        stated |= dict.fromkeys(metrics_of(cell), (unit, limits, better == "higher"))
    assert stated == {
        name: (metric.unit, metric.range, metric.higher_is_better)
        for name, metric in METRICS.items()
    }


def test_every_metric_was_compared_with_another_program_in_the_test_that_is_named():
    compared = []
    for cell, programs, tolerance, test in rows("metric | compared with"):
        source = (ROOT / test.strip("`")).read_text()
        assert f"abs={tolerance.removesuffix(' dB')}" in source, test
        compared += metrics_of(cell)
        for name in re.findall(
            r"(?:fast_bss_eval|\w*eval|torchmetrics|pysepm-evo|pystoi|librosa|speechmos)", programs
        ):
            assert name in source, (name, test)
    assert sorted(compared) == sorted(METRICS)
