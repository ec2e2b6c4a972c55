from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

import pytest

from audiozen.config.problems import Problem
from audiozen.config.settings import (
    Settings,
    as_table,
    build_settings,
    is_named,
    kinds_of,
    settings_problems,
)
from audiozen.config.values import Limits
from audiozen.errors import ConfigError


def no_space(value: str | None) -> str | None:
    return "no spaces" if " " in (value or "") else None


@dataclass(frozen=True, kw_only=True)
class Window(Settings):
    length: Annotated[int, Limits(gt=0)]
    shape: Literal["hann", "hamming"] = "hann"
    name: Annotated[str | None, no_space] = None
    gain: Annotated[float, Limits(ge=0, lt=1)] | None = None
    marks: list[int] = field(default_factory=list)

    def problems(self) -> list[str]:
        return ["length: must be even", "shape: is to blame"] if self.length % 2 else []


@dataclass(frozen=True, kw_only=True)
class File(Settings):
    is_file: ClassVar[bool] = True

    window: Window = Window(length=2)
    maybe: Window | None = None
    several: list[Window] = field(default_factory=list)
    named: Window | dict[str, Window] | None = None


def test_defaults_are_made_of_what_is_not_stated() -> None:
    assert build_settings(File, {}, source="x") == File()
    assert File(window=Window(length=2)) == File()
    assert Window(length=4).shape == "hann"


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"window": {"length": 4}}, File(window=Window(length=4))),
        ({"window": Window(length=4)}, File(window=Window(length=4))),
        ({"maybe": None}, File()),
        ({"maybe": {"length": 4}}, File(maybe=Window(length=4))),
        ({"several": [{"length": 4}]}, File(several=[Window(length=4)])),
        ({"several": {"length": 4}}, File(several=[Window(length=4)])),
        ({"named": {"length": 4}}, File(named=Window(length=4))),
        ({"named": {"a": {"length": 4}}}, File(named={"a": Window(length=4)})),
    ],
)
def test_tables_become_settings(table: dict[str, Any], expected: File) -> None:
    assert build_settings(File, table, source="x") == expected
    assert File(**table) == expected
    assert build_settings(File, as_table(expected), source="x") == expected


@pytest.mark.parametrize(
    ("table", "place", "text"),
    [
        ({"length": 0}, ("length",), "length: expected a positive integer, got 0"),
        ({"length": True}, ("length",), "length: expected a positive integer, got true"),
        ({"length": 2.0}, ("length",), "length: expected a positive integer, got 2.0"),
        ({"length": None}, ("length",), "length: expected a positive integer, got None"),
        ({}, ("length",), "length: missing, and it has no default"),
        ({"length": 2, "lenght": 2}, ("lenght",), "unknown key lenght; did you mean 'length'?"),
        ({"length": 2, "shape": "han"}, ("shape",), "shape: expected one of 'hann', 'hamming', got 'han'"),
        ({"length": 2, "gain": 1}, ("gain",), "gain: expected a number, at least 0 and below 1, got 1"),
        ({"length": 2, "gain": math.nan}, ("gain",), "gain: expected a number, at least 0 and below 1, got nan"),
        ({"length": 2, "name": "a b"}, ("name",), "name: no spaces"),
        ({"length": 2, "name": 3}, ("name",), "name: expected a string, got 3"),
        ({"length": 2, "marks": 3}, ("marks",), "marks: expected a list, got 3"),
    ],
)  # fmt: skip
def test_misfit_is_told_with_its_place(table: dict[str, Any], place: Any, text: str) -> None:
    assert settings_problems(Window, table) == [Problem(place, text)]
    assert settings_problems(Window, table, ("a", 1)) == [Problem(("a", 1, *place), text)]
    with pytest.raises(ConfigError) as caught:
        build_settings(Window, table, source="x")
    assert caught.value.problems == [text]


@pytest.mark.parametrize(
    ("table", "place", "text"),
    [
        ({"windw": {}}, ("windw",), "unknown table; did you mean 'window'?"),
        ({"window": 3}, ("window",), "expected a table, got 3"),
        ({"several": 3}, ("several",), "expected a table, got 3"),
        ({"several": [3]}, ("several", 0), "0: expected a table, got 3"),
        ({"several": [{"length": 2}, {}]}, ("several", 1, "length"), "length: missing, and it has no default"),
        ({"named": {"a": {"length": 0}}}, ("named", "a", "length"), "length: expected a positive integer, got 0"),
        ({"maybe": {"length": 0}}, ("maybe", "length"), "length: expected a positive integer, got 0"),
    ],
)  # fmt: skip
def test_keys_of_a_file_are_tables(table: dict[str, Any], place: Any, text: str) -> None:
    assert settings_problems(File, table) == [Problem(place, text)]


def test_settings_that_are_wrong_together_are_told_where_each_alone_is_right() -> None:
    together = [
        Problem(("window", "length"), "length: must be even"),
        Problem(("window", "shape"), "shape: is to blame"),
    ]
    assert settings_problems(File, {"window": {"length": 3}}) == together
    alone = settings_problems(File, {"window": {"length": 3, "shape": 1}})
    assert [problem.place for problem in alone] == [("window", "shape")]


def test_all_problems_are_told_at_once() -> None:
    table = {"window": {"length": 0, "gain": 2}, "several": [{}, {"length": 3}], "x": {}}
    assert [problem.place for problem in settings_problems(File, table)] == [
        ("window", "length"),
        ("window", "gain"),
        ("several", 0, "length"),
        ("several", 1, "length"),
        ("several", 1, "shape"),
        ("x",),
    ]


def test_objects_are_checked_as_tables_are() -> None:
    with pytest.raises(ConfigError, match=r"Window has 2 problems:\n  length: .*\n  gain: "):
        Window(length=0, gain=-1.0)
    with pytest.raises(ConfigError, match="length: must be even"):
        replace(Window(length=2), length=3)


@pytest.mark.parametrize("value", [3, ["length"], "length"])
def test_what_is_no_table_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="x has 1 problem:\\n  expected a table, got "):
        build_settings(Window, value, source="x")


def test_what_is_none_is_no_key_of_a_table() -> None:
    assert as_table(File(maybe=None, several=[Window(length=4)])) == {
        "window": {"length": 2, "shape": "hann", "marks": []},
        "several": [{"length": 4, "shape": "hann", "marks": []}],
    }


def test_kinds_are_the_annotations_of_settings_only() -> None:
    assert list(kinds_of(File)) == ["window", "maybe", "several", "named"]
    assert kinds_of(Window)["shape"] == Literal["hann", "hamming"]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"generator": {"path": "a.B"}}, True),
        ({"path": "a.B"}, False),
        ({"args": {"x": {}}}, False),
        ({"pth": "a.B"}, False),
        ({}, False),
        (None, False),
    ],
)
def test_named_targets_are_told_from_one(table: object, expected: bool) -> None:
    assert is_named(table) is expected
