from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal, Optional

import pytest
import torch

from audiozen.config.schema import PositiveInt, TrainerConfig
from audiozen.config.settings import kinds_of
from audiozen.config.values import Limits, describe, fits, refusal, show


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (1, int),
        (1, float),
        (1.5, float),
        ("x", str),
        ("x", Path),
        (True, bool),
        ([1, 2], list[int]),
        ([0.9, 0.999], tuple[float, float]),
        ([1, "x"], tuple[int, str]),
        (["a"], Sequence[str]),
        ({"a": 1}, dict[str, int]),
        ("relu", Literal["relu", "gelu"]),
        (3, int | None),
        (3, Optional[int]),  # noqa: UP045  # the older spelling is common in users' code
        ([0.9, 0.999], tuple[float | torch.Tensor, float]),
        ("anything", torch.Tensor),
        ({"deep": [1]}, Any),
        (3, Annotated[int, Limits(gt=0, le=3)]),
        (3, Annotated[int, torch.Tensor, SimpleNamespace(metadata=None)]),  # of others: no limits
        ("x", Annotated[str, SimpleNamespace(gt=0)]),
    ],
)
def test_value_fits(value: object, annotation: Any) -> None:
    assert fits(value, annotation)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (1.0, int),
        (True, int),
        (True, float),
        ("1", int),
        ("1", float),
        (1, str),
        (1, Path),
        (1, bool),
        ("ab", list[str]),
        ([1, "x"], list[int]),
        ({"a": "x"}, dict[str, int]),
        ("rleu", Literal["relu", "gelu"]),
        (True, Literal[1]),
        ("x", int | None),
        (0, Annotated[int, Limits(gt=0, le=3)]),
        (4, Annotated[int, Limits(gt=0, le=3)]),
        (math.nan, Annotated[float, Limits(gt=0)]),
        (0, Annotated[int, SimpleNamespace(metadata=[SimpleNamespace(gt=0)])]),
        (0, Annotated[int, Limits(gt=0)] | None),
    ],
)
def test_value_does_not_fit(value: object, annotation: Any) -> None:
    assert not fits(value, annotation)


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (PositiveInt, "a positive integer"),
        (PositiveInt | None, "a positive integer"),
        (int | str, "an integer or a string"),
        (bool, "true or false"),
        (Literal["a", 2], "one of 'a', 2"),
        (list[int], "a list"),
        (dict[str, Any], "a table"),
        (TrainerConfig, "a table"),
        (torch.Tensor, "Tensor"),
        (kinds_of(TrainerConfig)["ema_decay"], "a number, at least 0 and below 1"),
    ],
)
def test_kind_in_words(annotation: Any, words: str) -> None:
    assert describe(annotation) == words


def test_function_in_an_annotation_says_what_is_wrong() -> None:
    def no_space(value: str) -> str | None:
        return "no spaces" if " " in value else None

    assert refusal("a b", Annotated[str, no_space]) == "no spaces"
    assert refusal("ab", Annotated[str, no_space]) is None
    assert refusal("a b", str) is None


def test_long_value_is_shown_short() -> None:
    assert len(show("x" * 1000)) == 60
    assert show({"a": 1}) == "a table"
    assert show(True) == "true"
