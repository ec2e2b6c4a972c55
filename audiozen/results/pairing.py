"""The same signals of two systems, side by side, or the reason why they are not the same."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from audiozen.errors import RequestError
from audiozen.tables.records import NOISY, columns_of, is_same_value, label_text, labels_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from audiozen.results.run import Record
    from audiozen.results.scores import Scores
    from audiozen.tables.records import Value

NUM_SHOWN = 10

_NOT_OF_THE_DATA = ("id", "trimmed")


class Table(NamedTuple):
    """Records of one system on one dataset."""

    name: str
    records: Sequence[Record]


class Pairs(NamedTuple):
    """Records of the same signals, sorted by their ids, which no system has a say in."""

    dataset: str
    first: list[Record]
    second: list[Record]
    notes: list[str]
    """What those who read the comparison have to know."""


def pair_systems(first: Scores, second: Scores, *, common: bool = False) -> list[Pairs]:
    """Pair two systems dataset by dataset; where both have only one, whatever it is called.

    Args:
        first: system A.
        second: system B.
        common: take the datasets and signals that both have, in place of a refusal.

    Raises:
        RequestError: the datasets differ, their signals differ, or signals cannot be told apart.
    """
    datasets = _datasets(first, second, common=common)
    return [
        _pair_tables(
            dataset if len(datasets) > 1 else "",
            Table(first.name, first.tables[dataset]),
            Table(second.name, second.tables[other]),
            common=common,
        )._replace(dataset=dataset)
        for dataset, other in datasets
    ]


def _datasets(first: Scores, second: Scores, *, common: bool) -> list[tuple[str, str]]:
    if len(first.tables) == len(second.tables) == 1:
        return list(zip(first.tables, second.tables))
    shared = [name for name in first.tables if name in second.tables]
    if not shared or (not common and first.tables.keys() != second.tables.keys()):
        raise RequestError(
            f"the datasets differ: {first.name} has {', '.join(first.tables)}; {second.name} has "
            f"{', '.join(second.tables)}" + (_COMMON if shared else "")
        )
    return [(name, name) for name in shared]


_COMMON = ". Compare what both have with --common"


def _pair_tables(dataset: str, first: Table, second: Table, *, common: bool) -> Pairs:
    where = f"{dataset}: " if dataset else ""
    one, other = _by_id(where, first), _by_id(where, second)
    ids = sorted(one.keys() & other.keys())
    if not ids or (not common and one.keys() != other.keys()):
        raise RequestError(where + _different_ids(first.name, one, second.name, other))
    pairs = Pairs(dataset, [one[key] for key in ids], [other[key] for key in ids], [])
    notes = [
        *_numbered(one),
        *_left_out(first.name, len(one) - len(ids)),
        *_left_out(second.name, len(other) - len(ids)),
        *_other_inputs(pairs),
        *_other_labels(pairs),
    ]
    return pairs._replace(notes=notes)


def _by_id(where: str, table: Table) -> dict[str, Record]:
    if not table.records:
        raise RequestError(f"{where}{table.name} has no signals")
    if any(record.get("id") is None for record in table.records):
        raise RequestError(
            f"{where}{table.name} has signals without an id; they cannot be told apart. Let the steps return "
            '"id", one per signal'
        )
    ids = [label_text(record["id"]) for record in table.records]
    twice = [key for key, count in Counter(ids).items() if count > 1]
    if twice:
        raise RequestError(
            f"{where}{table.name} has several signals of the same id ({_shown(twice)}); make the ids unique"
        )
    return dict(zip(ids, table.records))


def _shown(ids: Iterable[str]) -> str:
    shown = sorted(ids)
    more = f" and {len(shown) - NUM_SHOWN} more" if len(shown) > NUM_SHOWN else ""
    return ", ".join(shown[:NUM_SHOWN]) + more


def _different_ids(
    first_name: str, first: dict[str, Record], second_name: str, second: dict[str, Record]
) -> str:
    sides = [
        f"{len(only)} only in {name}: {_shown(only)}"
        for name, only in (
            (first_name, first.keys() - second.keys()),
            (second_name, second.keys() - first.keys()),
        )
        if only
    ]
    num_shared = len(first.keys() & second.keys())
    summary = f"the signals differ; {num_shared} are in both" + (_COMMON if num_shared else "")
    return "\n  ".join([summary, *sides])


def _numbered(records: dict[str, Record]) -> list[str]:
    if list(records) != [str(number) for number in range(len(records))]:
        return []
    warning = (
        "warning: the ids are numbers in the order of the table, so signals are paired by order"
    )
    return [f'{warning}. Let the steps return "id" to be sure that they are the same']


def _left_out(name: str, num: int) -> list[str]:
    return [f"{num} signals that only {name} has are left out"] if num else []


def _other_inputs(pairs: Pairs) -> list[str]:
    """Whether the systems got the same signals, by the scores of what went into them."""
    return [
        f"warning: {column} differs for {len(differing)} of {len(pairs.first)} signals "
        f"({_example(column, pairs, differing)}): the systems did not get the same input"
        for column in _shared_columns(pairs)
        if column.endswith(NOISY)
        if (differing := _differing(column, pairs))
    ]


def _other_labels(pairs: Pairs) -> list[str]:
    """Whether what is said of the signals is the same: another type of noise is other data."""
    return [
        f"warning: {column} differs for {len(differing)} of {len(pairs.first)} signals "
        f"({_example(column, pairs, differing)}); are they the same data?"
        for column in labels_of([*pairs.first, *pairs.second])
        if column in _shared_columns(pairs) and column not in _NOT_OF_THE_DATA
        if (differing := _differing(column, pairs))
    ]


def _shared_columns(pairs: Pairs) -> list[str]:
    others = set(columns_of(pairs.second))
    return [column for column in columns_of(pairs.first) if column in others]


def _differing(column: str, pairs: Pairs) -> list[int]:
    values = zip(pairs.first, pairs.second)
    return [
        number
        for number, (one, other) in enumerate(values)
        if not is_same_value(one.get(column), other.get(column))
    ]


def _example(column: str, pairs: Pairs, differing: list[int]) -> str:
    one, other = pairs.first[differing[0]], pairs.second[differing[0]]
    return f"{one['id']}: {_short(one.get(column))} and {_short(other.get(column))}"


def _short(value: Value | None) -> str:
    return f"{value:g}" if isinstance(value, float) else label_text(value)
