from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Optional

import pytest
import torch

from audiozen.config.schema import PositiveInt, TrainerConfig
from audiozen.config.values import describe, fits, show


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
        (TrainerConfig.model_fields["ema_decay"], "a number, at least 0 and below 1"),
    ],
)
def test_kind_in_words(annotation: Any, words: str) -> None:
    assert describe(annotation) == words


def test_long_value_is_shown_short() -> None:
    assert len(show("x" * 1000)) == 60
    assert show({"a": 1}) == "a table"
    assert show(True) == "true"
