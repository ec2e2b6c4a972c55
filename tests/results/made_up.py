"""Systems with scores that are made up, and their comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from audiozen.results.comparison import Comparison, compare
from audiozen.results.difference import Difference
from audiozen.results.question import Question
from audiozen.results.scores import Scores


def system(name: str, **columns: Sequence[Any]) -> Scores:
    num = len(next(iter(columns.values())))
    ids = [f"s{number:04d}" for number in range(num)]
    records = [
        {"id": key, **dict(zip(columns, values))}
        for key, values in zip(ids, zip(*columns.values()))
    ]
    return Scores(name, {"test": records})


def compared(first: Scores, second: Scores, **question: Any) -> Comparison:
    return compare([first, second], Question(**{"num_resamples": 1000, **question}))


def only(comparison: Comparison) -> Difference:
    (row,) = comparison.differences
    return row
