"""Systems side by side: what went in (noisy) and what each system made of it, per group of signals.

>>> records = [{"id": "a", "stoi": 0.8, "stoi_noisy": 0.7}, {"id": "b", "stoi": 0.6, "stoi_noisy": 0.5}]
>>> for row in system_rows([System("gtcrn", records)]):
...     print(row.labels["system"], row.num, round(row.summaries["stoi"].mean, 6))
noisy 2 0.6
gtcrn 2 0.7
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from audiozen.tables.records import (
    ERROR,
    NOISY,
    columns_of,
    is_same_value,
    label_text,
    labels_of,
    metrics_of,
    refuse_unknown,
)
from audiozen.tables.summary import group_by, natural_order, summarise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from audiozen.tables.summary import Group, Summary

__all__ = ["System", "SystemRow", "flat_records", "system_rows"]

SYSTEM = "system"
"""The label that names the system."""
DATASET = "dataset"
"""The label of several test sets, which are never averaged together."""
ALL = "all"
"""The label of the row that has the signals of all groups."""
NOISY_SYSTEM = NOISY.removeprefix("_")


class System(NamedTuple):
    """The scores of one system on one test set."""

    name: str
    records: Sequence[Mapping[str, Any]]
    dataset: str | None = None
    """None where there is only one."""


@dataclass(frozen=True)
class SystemRow:
    """The scores of one system on one group of signals."""

    labels: Mapping[str, str]
    """Those of the group by column, and the name of the ``system`` behind them."""
    num: int
    """Signals in the group."""
    summaries: Mapping[str, Summary]
    """By metric."""
    is_part: bool = False
    """Whether another row has these signals as well."""

    @property
    def group(self) -> Group:
        """Labels without the name of the system."""
        return tuple(label for column, label in self.labels.items() if column != SYSTEM)


def system_rows(systems: Sequence[System], by: Sequence[str] = ()) -> list[SystemRow]:
    """One row per system and group of signals, that of the noisy signals first.

    What went in is scored in ``<metric>_noisy``. It has one row where all systems were given the
    same signals; where their ids or values differ, each system has a noisy row of its own.

    Args:
        systems: one or several, on one or several datasets.
        by: labels or facts that make the groups. Below them stands a row of all signals.

    Returns:
        Rows, by dataset, then by group in natural order, then by system.

    Raises:
        RequestError: no record has such a column.
    """
    everything = [record for system in systems for record in system.records]
    there = columns_of(everything)
    refuse_unknown("column", [name for name in by if name not in there], labels_of(everything))
    datasets = dict.fromkeys(system.dataset for system in systems)
    rows = []
    for dataset in datasets:
        of_it = [_labelled(system, by) for system in systems if system.dataset == dataset]
        labels = {} if list(datasets) == [None] else {DATASET: label_text(dataset)}
        rows += _rows_of_dataset([*_noisy(of_it), *map(_enhanced, of_it)], by, labels)
    return rows


def flat_records(rows: Sequence[SystemRow], metrics: Sequence[str]) -> list[dict[str, Any]]:
    """The rows as records of numbers with all their digits: for programs, not for people.

    Returns:
        Records with the labels, ``n``, and for each metric its mean by its name, and with ``_std``,
        ``_n`` and ``_failed`` behind it the other figures.
    """
    records = []
    for row in rows:
        record: dict[str, Any] = {**row.labels, "n": row.num}
        for metric in metrics:
            summary = row.summaries.get(metric)
            record[metric] = summary and summary.mean
            record[f"{metric}_std"] = summary and summary.std
            record[f"{metric}_n"] = summary and summary.num
            record[f"{metric}_failed"] = summary and summary.num_failed
        records.append(record)
    return records


def _labelled(system: System, by: Sequence[str]) -> System:
    """The columns to group by as text, in all records: so they are labels, whatever they hold."""
    records = [
        {**record, **{column: label_text(record.get(column)) for column in by}}
        for record in system.records
    ]
    return system._replace(records=records)


def _rows_of_dataset(
    systems: Sequence[System], by: Sequence[str], labels: Mapping[str, str]
) -> list[SystemRow]:
    grouped = [
        (system.name, group_by(system.records, by)) for system in systems if by and system.records
    ]
    keys = {key for _, groups in grouped for key in groups}
    rows = [
        _row({**labels, **dict(zip(by, key))}, name, groups[key], is_part=True)
        for key in sorted(keys, key=natural_order)
        for name, groups in grouped
        if key in groups
    ]
    total = {**labels, **dict.fromkeys(by, ALL)}
    return [*rows, *(_row(total, system.name, system.records) for system in systems)]


def _row(
    labels: Mapping[str, str],
    name: str,
    records: Sequence[Mapping[str, Any]],
    *,
    is_part: bool = False,
) -> SystemRow:
    return SystemRow({**labels, SYSTEM: name}, len(records), summarise(records), is_part)


# ---- what went in ----------------------------------------------------------------------------------


def _is_noisy(column: str) -> bool:
    return column.removesuffix(ERROR).endswith(NOISY)


def _enhanced(system: System) -> System:
    """A system without what went in."""
    return system._replace(
        records=[
            {name: value for name, value in record.items() if not _is_noisy(name)}
            for record in system.records
        ]
    )


def _noisy(systems: Sequence[System]) -> list[System]:
    """What went into the systems, as a system: one where they agree, else one for each."""
    inputs = [
        System(system.name, _noisy_records(system.records))
        for system in systems
        if any(map(_is_noisy, columns_of(system.records)))
    ]
    if not inputs:
        return []
    merged = inputs[0].records
    for other in inputs[1:]:
        if not _agree(merged, other.records):
            return [system._replace(name=f"{NOISY_SYSTEM} ({system.name})") for system in inputs]
        more = _by_id(other.records)
        merged = [{**more[record.get("id")], **record} for record in merged]
    return [System(NOISY_SYSTEM, merged)]


def _noisy_records(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Labels, and the metrics of what went in by the names of the metrics."""
    labels = [column for column in labels_of(records) if not _is_noisy(column)]
    return [
        {name: record[name] for name in labels if name in record}
        | {_renamed(name): value for name, value in record.items() if _is_noisy(name)}
        for record in records
    ]


def _renamed(column: str) -> str:
    metric = column.removesuffix(ERROR)
    return metric.removesuffix(NOISY) + column[len(metric) :]


def _by_id(records: Sequence[Mapping[str, Any]]) -> dict[Any, Mapping[str, Any]]:
    return {record.get("id"): record for record in records}


def _agree(records: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> bool:
    """Whether these are the same signals with the same values of the metrics that both have."""
    mine, theirs = _by_id(records), _by_id(others)
    if mine.keys() != theirs.keys() or not len(mine) == len(records) == len(others):
        return False
    common = [metric for metric in metrics_of(records) if metric in metrics_of(others)]
    return all(
        is_same_value(mine[key].get(metric), theirs[key].get(metric))
        for key in mine
        for metric in common
    )
