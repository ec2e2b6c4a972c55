"""Which signals are worth listening to, and what of them fits into a page."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from audiozen.errors import AudioError
from audiozen.report.sound import Signal, encode
from audiozen.run_folder import ENHANCED
from audiozen.tables.records import NOISY, is_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from audiozen.results.run import Record, Run

Item = TypeVar("Item")

BUDGET_BYTES = 12_000_000
"""Of sound and pictures, as they stand in the page."""
CHOSEN, WORST, MEDIAN, BEST = "chosen", "worst", "median", "best"
DEGRADED, DIFFERENT, FAILED, FIXED = "degraded most", "differ most", "failed", "fixed"


@dataclass
class Choice:
    """A signal that was chosen."""

    dataset: str
    signal_id: str
    groups: list[str] = field(default_factory=list)
    """Why: any of the words above, the first being the one that chose it."""


@dataclass(frozen=True)
class Example:
    """A signal with its sound."""

    dataset: str
    signal_id: str
    groups: list[str]
    gain_db: float
    """Common to all signals; 0 unless one of them exceeds full scale."""
    signals: list[Signal]


@dataclass(frozen=True)
class Examples:
    """All that is in the page, and what is not."""

    examples: list[Example]
    num_left_out: int
    """Chosen, but beyond the budget."""
    problems: list[str]
    """Sound that cannot be shown."""
    num_with_sound: dict[str, int]
    """By dataset: signals that all runs have sound of."""


def collect(
    runs: Sequence[Run],
    tables: Sequence[Mapping[str, Sequence[Record]]],
    metric: str | None,
    *,
    higher_is_better: bool,
    num: int,
    ids: Sequence[str] = (),
    budget: int = BUDGET_BYTES,
) -> Examples:
    """Choose examples in all datasets and encode them, most telling first, until the budget is used up.

    Args:
        runs: whose sound is shown.
        tables: of each run, records by dataset.
        metric: what decides which are best and worst; None: there are only fixed ones.
        higher_is_better: its direction.
        num: how many of each kind, per dataset.
        ids: further signals, which come first.
        budget: bytes of sound and pictures.
    """
    candidates = {
        dataset: with_sound(runs, [table[dataset] for table in tables if dataset in table], dataset)
        for dataset in dict.fromkeys(chain.from_iterable(tables))
    }
    choices = _in_turn(
        choose(dataset, records, metric, higher_is_better=higher_is_better, num=num, ids=ids)
        for dataset, records in candidates.items()
    )
    counts = {dataset: len(records) for dataset, records in candidates.items()}
    found = Examples([], 0, [], counts)
    for number, choice in enumerate(choices):
        try:
            signals, gain_db = encode(files_of(runs, choice.dataset, choice.signal_id))
        except AudioError as error:
            found.problems.append(str(error))
            continue
        budget -= sum(signal.num_bytes for signal in signals)
        if budget < 0:
            return replace(found, num_left_out=len(choices) - number)
        example = Example(choice.dataset, choice.signal_id, choice.groups, gain_db, signals)
        found.examples.append(example)
    return found


def with_sound(
    runs: Sequence[Run], tables: Sequence[Sequence[Record]], dataset: str
) -> dict[str, list[Record]]:
    """Signals that are in all tables and that all runs have enhanced sound of: their records, one per run."""
    by_id = [_first_of_each_id(table) for table in tables]
    if len(tables) != len(runs) or not tables:
        return {}
    return {
        signal_id: [records[signal_id] for records in by_id]
        for signal_id in by_id[0]
        if all(signal_id in records for records in by_id)
        and all(ENHANCED in run.sounds(signal_id, dataset) for run in runs)
    }


def _first_of_each_id(table: Sequence[Record]) -> dict[str, Record]:
    found: dict[str, Record] = {}
    for record in table:
        found.setdefault(str(record.get("id")), record)
    return found


def files_of(runs: Sequence[Run], dataset: str, signal_id: str) -> dict[str, Path]:
    """Sound files of a signal by role: one ``enhanced`` per run, the others from the first run that has them.

    Of several runs, the roles are ``enhanced 1``, ``enhanced 2`` and so on.
    """
    found = [run.sounds(signal_id, dataset) for run in runs]
    enhanced = {
        ENHANCED if len(runs) == 1 else f"{ENHANCED} {number}": sounds[ENHANCED]
        for number, sounds in enumerate(found, start=1)
        if ENHANCED in sounds
    }
    others: dict[str, Path] = {}
    for sounds in found:
        others = {role: path for role, path in sounds.items() if role != ENHANCED} | others
    before = {role: path for role, path in others.items() if role in ("noisy", "mixture")}
    return before | enhanced | others


def choose(
    dataset: str,
    candidates: Mapping[str, Sequence[Record]],
    metric: str | None,
    *,
    higher_is_better: bool,
    num: int,
    ids: Sequence[str] = (),
) -> list[Choice]:
    """Choose signals of one dataset, most telling first.

    Args:
        dataset: its name.
        candidates: by id, one record per run.
        metric: of which the mean over the runs decides.
        higher_is_better: its direction.
        num: how many of each kind.
        ids: these come first.

    Returns:
        First those of ``ids``, then one of each kind in turn; a signal that is of several kinds is there once.
    """
    sign = 1 if higher_is_better else -1
    kinds = {CHOSEN: [signal_id for signal_id in ids if signal_id in candidates]}
    kinds |= _by_score(candidates, metric, sign, num) if metric else {}
    kinds[FIXED] = _spread(sorted(candidates), num)
    chosen: dict[str, Choice] = {}
    first = [(CHOSEN, signal_id) for signal_id in kinds.pop(CHOSEN)]
    for kind, signal_id in chain(first, _in_turn([(k, i) for i in kinds[k]] for k in kinds)):
        choice = chosen.setdefault(signal_id, Choice(dataset, signal_id))
        choice.groups.append(kind)
    return list(chosen.values())


def _by_score(
    candidates: Mapping[str, Sequence[Record]], metric: str, sign: int, num: int
) -> dict[str, list[str]]:
    """Ids by kind. A score is the mean over the runs; "worst" is the worst first."""
    scores = {key: sign * _mean(records, metric) for key, records in candidates.items()}
    ranked = sorted((key for key in scores if not math.isnan(scores[key])), key=scores.__getitem__)
    middle = max(0, (len(ranked) - num) // 2)
    kinds = {
        WORST: ranked[:num],
        BEST: ranked[::-1][:num],
        MEDIAN: ranked[middle : middle + num],
        DEGRADED: _least(candidates, lambda records: sign * _gain(records, metric), num, below=0),
        FAILED: [key for key in candidates if math.isnan(scores[key])][:num],
    }
    if any(len(records) > 1 for records in candidates.values()):
        kinds[DIFFERENT] = _least(candidates, lambda records: -_range(records, metric), num, 0)
    return kinds


def _least(
    candidates: Mapping[str, Sequence[Record]],
    value_of: Callable[[Sequence[Record]], float],
    num: int,
    below: float,
) -> list[str]:
    values = {key: value_of(records) for key, records in candidates.items()}
    return sorted((key for key in values if values[key] < below), key=values.__getitem__)[:num]


def _mean(records: Sequence[Record], metric: str) -> float:
    return sum(_value(record, metric) for record in records) / len(records)


def _gain(records: Sequence[Record], metric: str) -> float:
    return _mean(records, metric) - _mean(records, metric + NOISY)


def _range(records: Sequence[Record], metric: str) -> float:
    values = [_value(record, metric) for record in records]
    return math.nan if any(map(math.isnan, values)) else max(values) - min(values)


def _value(record: Record, metric: str) -> float:
    value: Any = record.get(metric)
    return float(value) if is_number(value) else math.nan


def _spread(ids: Sequence[str], num: int) -> list[str]:
    """So many, spread evenly: they depend on the ids alone, and are the same in each experiment."""
    num = min(num, len(ids))
    return [ids[(2 * index + 1) * len(ids) // (2 * num)] for index in range(num)]


def _in_turn(lists: Iterable[Iterable[Item]]) -> list[Item]:
    """The first of each, then the second of each, and so on."""
    rows = [list(items) for items in lists]
    longest = max(map(len, rows), default=0)
    return [items[place] for place in range(longest) for items in rows if place < len(items)]
