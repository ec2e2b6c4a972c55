from __future__ import annotations

import re
from pathlib import Path
from statistics import median

import pytest

from scripts.measure import Tree, row

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "measures.md").read_text(encoding="utf-8")
HELPER = '''"""One line."""

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import house.upper
'''
LONG = '''

def long(
    first: int,
    second,
) -> None:
    """Two lines
    of docstring."""
    # a reason

    text = """
    of three lines
    """
    def inner():
        from house import upper
        return upper
    return text
'''


@pytest.fixture
def house(tmp_path: Path) -> Tree:
    folder = tmp_path / "house"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "helper.py").write_text(HELPER + LONG)
    (folder / "upper.py").write_text(
        "from house import helper\n\n\nclass Public:\n    def named(self): ...\n"
    )
    return Tree(tmp_path, "house")


def test_lines_of_code_are_neither_blank_nor_comment_nor_docstring(house: Tree) -> None:
    assert [module.name for module in house.modules] == ["house.helper", "house.upper"]
    assert house.num_code_lines == 4 + 11 + 3


def test_length_of_a_function_is_without_its_docstring(house: Tree) -> None:
    lengths = {function.name: function.num_lines for function in house.functions}
    assert lengths == {"house.helper.long": 11, "house.helper.inner": 3, "house.upper.named": 1}


def test_shares_count_what_is_documented_and_typed(house: Tree) -> None:
    assert house.share_documented() == pytest.approx(1 / 3)  # long; not Public, not named
    assert house.share_typed() == pytest.approx(2 / 5)  # first and the result, of long


def test_imports_for_types_are_none_and_those_in_functions_are_hidden(house: Tree) -> None:
    assert house.hidden_imports() == [("house.helper", "house.upper")]
    assert house.num_cycles() == 0
    path = house.by_name["house.helper"].path
    path.write_text("import house.upper\n" + path.read_text())
    assert Tree(path.parents[1], "house").num_cycles() == 2


def test_six_lines_that_another_file_has_are_there_twice(house: Tree) -> None:
    assert house.share_twice() == 0
    path = house.by_name["house.helper"].path
    path.with_name("copy.py").write_text(LONG)
    twice = Tree(path.parents[1], "house")
    assert twice.share_twice() == pytest.approx(22 / twice.num_code_lines)


@pytest.fixture(scope="module")
def package() -> Tree:
    return Tree(ROOT, "audiozen", without=["template"])


def test_limits_of_the_page_hold(package: Tree) -> None:
    lengths = {function.name: function.num_lines for function in package.functions}
    assert median(lengths.values()) <= 10
    assert {name: num for name, num in lengths.items() if num > 60} == {}
    assert package.num_cycles() == 0
    assert package.share_typed() == 1
    assert package.share_twice() <= 0.01


def test_row_of_the_page_is_about_what_is_measured(package: Tree) -> None:
    line = next(line for line in PAGE.splitlines() if "AudioZEN, package" in line)
    shown, measured = (
        [
            [float(n) for n in re.findall(r"[\d.]+", cell.replace(",", ""))]
            for cell in text.split("|")[2:]
        ]
        for text in (line, row("", package, None))
    )
    tests = 7
    assert shown.pop(tests - 1)[0] > 1
    assert measured.pop(tests - 1) == []
    for some, others in zip(shown, measured, strict=True):
        assert some == pytest.approx(others, rel=0.1, abs=2), "python scripts/measure.py"
