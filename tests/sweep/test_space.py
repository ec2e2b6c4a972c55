from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiozen.errors import ConfigError, RequestError
from audiozen.sweep.space import (
    Choices,
    Range,
    as_overrides,
    in_toml,
    read_space,
    space_of,
    tables_of,
    trials_of,
)


def space(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "space.toml"
    path.write_text(text)
    return path


def problems(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_space(space(tmp_path, text))
    return caught.value.problems


def test_ranges_and_lists_are_read_with_dots_in_quotes_or_not(tmp_path: Path) -> None:
    read = read_space(
        space(
            tmp_path,
            '"optimizer.args.lr" = {low = 1e-4, high = 1e-2, log = true}\n'
            "model.args.num_layers = {low = 1, high = 4}\n"
            "[loss_function.args]\n"
            "name = ['a', 'b']\n",
        )
    )
    assert read == {
        "optimizer.args.lr": Range(low=1e-4, high=1e-2, log=True),
        "model.args.num_layers": Range(low=1, high=4),
        "loss_function.args.name": Choices(["a", "b"]),
    }
    assert [kind.is_whole for kind in read.values() if isinstance(kind, Range)] == [False, True]
    assert space_of(tables_of(read)) == read


def test_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"none\.toml does not exist"):
        read_space(tmp_path / "none.toml")


def test_all_problems_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    assert problems(tmp_path, '"a.b" = []\n"a.c" = {low = 2, high = 1}\n') == [
        "[a] b: an empty list; there is nothing to choose from (line 1)",
        "[a.c] low: must be less than high, and 2 is not less than 1 (line 2)",
    ]


@pytest.mark.parametrize(
    ("stated", "text"),
    [
        ("3", "b: expected a list of choices, or a range such as {low = 1e-4, "),
        ("{}", "low: missing"),
        ("[1, 1.0]", "b: 1 is listed twice"),
        ("[nan]", "b: NaN cannot be chosen"),
        ("[1979-05-27]", "b: a choice is a number, a string, true, false, a list or a table"),
        ("{low = 1, high = 2, logg = true}", "unknown key logg; did you mean 'log'?"),
        ("{low = 1}", "high: missing, and it has no default"),
        ("{low = 1, high = '2'}", "high: expected a number, got '2'"),
        ("{low = 0, high = 1.0, log = true}", "low: must be above 0 where log = true, and is 0"),
        ("{low = 1, high = inf}", "low: a range has ends that are finite"),
        ("{low = 1, high = 4, step = 0}", "step: expected a positive number, got 0"),
        ("{low = 1, high = 4, step = 2}", "step: 2 does not lead from 1 to 4"),
        ("{low = 1, high = 4, step = 0.5}", "step: must be an integer as low and high are"),
        ("{low = 1, high = 4, step = 1, log = true}", "step: goes with log = false only"),
    ],
)
def test_refusals(tmp_path: Path, stated: str, text: str) -> None:
    assert text in problems(tmp_path, f"a.b = {stated}")[0]


def test_step_may_be_a_fraction_that_floats_do_not_have(tmp_path: Path) -> None:
    assert read_space(space(tmp_path, "a.b = {low = 0.1, high = 0.7, step = 0.1}"))


@pytest.mark.parametrize("key", ["meta.exp_id", "trainer.args.best_metric"])
def test_what_a_sweep_decides_itself_cannot_be_varied(tmp_path: Path, key: str) -> None:
    (problem,) = problems(tmp_path, f"{key} = ['a', 'b']")
    assert "cannot be varied, as " in problem


def test_setting_that_is_stated_twice_and_space_without_any_are_refused(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, '"a.b" = [1]\na.b = [2]\n')
    assert "stated twice" in problem
    (problem,) = problems(tmp_path, "")
    assert problem.startswith("empty; expected settings")


def test_each_end_and_each_choice_is_tried() -> None:
    tried = list(trials_of({"a": Range(low=1, high=9), "b": Choices(["x", "y", "z"])}))
    assert tried == [
        {"a": 1, "b": "x"},
        {"a": 9, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 1, "b": "z"},
    ]


scalars = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x7f"))
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text("ab ."), inner)
)


@settings(max_examples=50, deadline=None)
@given(values)
def test_value_in_toml_is_read_as_the_same(value: Any) -> None:
    (override,) = as_overrides({"key": value})
    assert override == f"key={in_toml(value)}"
    assert tomllib.loads(f"key = {in_toml(value)}")["key"] == value
