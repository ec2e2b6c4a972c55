"""Means and standard deviations over the signals of a table, and over groups of them.

>>> records = [{"id": "a", "snr_db": "0", "stoi": 0.5}, {"id": "b", "snr_db": "5", "stoi": 0.7}]
>>> summarise(records)["stoi"].mean
0.6
>>> {snr_db: group["stoi"].mean for (snr_db,), group in summarise_by(records, ["snr_db"]).items()}
{'0': 0.5, '5': 0.7}
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from audiozen.tables.records import (
    ERROR,
    UNLABELLED,
    columns_of,
    is_number,
    label_text,
    labels_of,
    metrics_of,
    plain,
    refuse_unknown,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Summary", "group_by", "natural_order", "summarise", "summarise_by"]

UNKNOWN = "no reason given"

Group: TypeAlias = tuple[str, ...]
"""Labels that the signals of a group share, one per column."""


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
    std: float = math.nan
    """Standard deviation of one signal (divisor n - 1), not of the mean; NaN under two signals."""


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
    return {metric: _summary(metric, records) for metric in metrics_of(records)}


def summarise_by(
    records: Sequence[Mapping[str, Any]], columns: Sequence[str]
) -> dict[Group, dict[str, Summary]]:
    """As `summarise`, for each group of signals that have the same labels.

    Args:
        records: one per signal.
        columns: the labels or facts to group by.

    Returns:
        By group, in the order of `group_by`.

    Raises:
        RequestError: no record has such a column.
    """
    return {group: summarise(members) for group, members in group_by(records, columns).items()}


def group_by(
    records: Sequence[Mapping[str, Any]], columns: Sequence[str]
) -> dict[Group, list[Mapping[str, Any]]]:
    """Records that have the same labels, together.

    Args:
        records: one per signal.
        columns: the labels or facts to group by.

    Returns:
        By group, in natural order: numbers by value, also those that are text ("-5", "0", "15"),
        then text ("talker 2" before "talker 10"), then records without that label, called "-".

    Raises:
        RequestError: no record has such a column.
    """
    there = columns_of(records)
    refuse_unknown("column", [name for name in columns if name not in there], labels_of(records))
    groups: dict[Group, list[Mapping[str, Any]]] = {}
    for record in records:
        group = tuple(label_text(record.get(column)) for column in columns)
        groups.setdefault(group, []).append(record)
    return {group: groups[group] for group in sorted(groups, key=natural_order)}


def natural_order(group: Group) -> list[Any]:
    """What groups are sorted by."""
    return [_label_order(label) for label in group]


def _label_order(label: str) -> tuple[int, float, list[Any]]:
    if label == UNLABELLED:
        return (2, 0.0, [])
    try:
        number = float(label)
    except ValueError:
        number = math.nan
    if math.isfinite(number):
        return (0, number, [label])
    # Text and digits alternate, so that like is compared with like.
    parts = re.split(r"([0-9]+)", label)
    return (1, 0.0, [int(part) if index % 2 else part for index, part in enumerate(parts)])


def _summary(metric: str, records: Sequence[Mapping[str, Any]]) -> Summary:
    values, reasons = [], Counter[str]()
    for record in records:
        value, reason = record.get(metric), record.get(metric + ERROR)
        if is_number(value) and not math.isnan(number := float(plain(value))):
            values.append(number)
        elif reason or is_number(value):
            reasons[str(reason or UNKNOWN)] += 1
    mean = sum(values) / len(values) if values else math.nan
    std = _standard_deviation(values, mean)
    return Summary(mean, len(values), reasons.total(), dict(reasons.most_common()), std)


def _standard_deviation(values: Sequence[float], mean: float) -> float:
    if len(values) < 2 or math.isinf(mean):
        return math.nan
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
