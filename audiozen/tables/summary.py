"""Means over the signals of a table.

>>> summarise([{"id": "a", "stoi": 0.5}, {"id": "b", "stoi": 0.7}])["stoi"].mean
0.6
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from audiozen.tables.records import ERROR, FACTS, columns_of, is_number, plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

UNKNOWN = "no reason given"


@dataclass(frozen=True)
class Summary:
    """One metric over all signals."""

    mean: float
    """Over the signals for which it is defined; NaN if there are none."""
    num: int
    """Signals in the mean."""
    num_failed: int
    """Signals for which it is NaN, or missing with a reason."""
    reasons: Mapping[str, int] = field(default_factory=dict)
    """How often it failed for which reason."""


def summarise(records: Sequence[Mapping[str, Any]]) -> dict[str, Summary]:
    """Average every metric over the signals for which it is defined.

    A NaN is a failure: it is counted, with the reason in ``<metric>__error`` where there is one,
    and left out of the mean. A missing value counts as a failure only if there is a reason.

    Args:
        records: one per signal, as for `write_csv`.

    Returns:
        By metric, in the order of the columns. A metric is a column with a number in it that is
        no fact, or one that has only reasons.
    """
    metrics = dict.fromkeys(
        column.removesuffix(ERROR)
        for column in columns_of(records)
        if column not in FACTS
        and (column.endswith(ERROR) or any(is_number(record.get(column)) for record in records))
    )
    return {metric: _summary(metric, records) for metric in metrics}


def _summary(metric: str, records: Sequence[Mapping[str, Any]]) -> Summary:
    values, reasons = [], Counter[str]()
    for record in records:
        value, reason = record.get(metric), record.get(metric + ERROR)
        if is_number(value) and not math.isnan(number := float(plain(value))):
            values.append(number)
        elif reason or is_number(value):
            reasons[str(reason or UNKNOWN)] += 1
    mean = sum(values) / len(values) if values else math.nan
    return Summary(mean, len(values), reasons.total(), dict(reasons.most_common()))
