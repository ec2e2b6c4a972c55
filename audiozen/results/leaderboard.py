"""All runs of a folder side by side: what each has reached, and what it took. Imports no PyTorch.

::

    for entry in ranked(leaderboard("exp"), "score"):
        print(entry.name, entry.state, entry.best_score)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from audiozen.errors import AudioZENError
from audiozen.results.run import RUNNING, find_runs
from audiozen.tables.records import NOISY, refuse_unknown
from audiozen.tables.summary import summarise

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from audiozen.results.run import Run

__all__ = ["Entry", "leaderboard", "metric_columns", "ranked"]

BROKEN = "broken"
"""State of a run that cannot even tell its state."""

_NOTHING: dict[str, Any] = {}

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One run. What is not known is None."""

    name: str
    """Path of its folder, from the folder that was searched."""
    state: str
    """``running``, ``done``, ``stopped``, ``failed``, ``new`` (it says nothing of itself), or ``broken``."""
    best_metric: str | None = None
    higher_is_better: bool = True
    best_score: float | None = None
    """Best validation score; of ``best_metric`` where one is stated."""
    test_score: float | None = None
    """Mean of ``best_metric`` over all test signals."""
    test_means: dict[str, float] = field(default_factory=dict)
    """Means of all test metrics; called ``DATASET/METRIC`` where there are several datasets."""
    step: int | None = None
    epoch: int | None = None
    started: datetime | None = None
    """Of the last start."""
    seconds: float | None = None
    """From the last start to its end; to now where it is running."""
    parameters: int | None = None
    macs_per_second: float | None = None
    commit: str | None = None
    is_changed: bool | None = None
    """Whether files differed from the commit."""
    message: str = ""
    """What a run that failed said last, and what cannot be read."""


def leaderboard(root: str | Path, now: datetime | None = None) -> list[Entry]:
    """An entry for each run in a folder and the folders below it, by path.

    What cannot be read is told in the entry, and never ends the search.

    Args:
        root: folder of the folders of runs, such as ``exp``; or that of one run.
        now: what the age of running ones is measured to.

    Raises:
        RequestError: there is no such folder.
    """
    now = now or datetime.now(UTC)
    return [_entry(run, Path(root), now) for run in find_runs(root)]


def _entry(run: Run, root: Path, now: datetime) -> Entry:
    read = _Reader()
    status, facts = read(lambda: run.status, _NOTHING), read(lambda: run.environment, _NOTHING)
    complexity = read(lambda: run.complexity, _NOTHING)
    state = read(lambda: run.state, BROKEN)
    best_metric = read(lambda: run.best_metric, None)
    tables = read(run.tables, _NOTHING)
    started = _moment(status.get("started")) or _moment(facts.get("time"))
    ended = now if state == RUNNING else _moment(status.get("ended"))
    git = facts.get("git")
    git = git if isinstance(git, dict) else _NOTHING
    return Entry(
        name=str(run.root.relative_to(root)) if run.root != root else run.name,
        state=state,
        best_metric=best_metric,
        higher_is_better=read(lambda: run.higher_is_better, True),
        best_score=read(lambda: run.best_score, None),
        test_score=_means(tables, merged=True).get(best_metric or ""),
        test_means=_means(tables),
        step=read(lambda: run.step, None),
        epoch=read(lambda: run.epoch, None),
        started=started,
        seconds=(ended - started).total_seconds() if started and ended else None,
        parameters=_number(complexity.get("parameters"), int),
        macs_per_second=_number(complexity.get("macs_per_second"), float),
        commit=_text(git.get("commit")),
        is_changed=git.get("is_changed") if isinstance(git.get("is_changed"), bool) else None,
        message="; ".join([*filter(None, [_text(status.get("message"))]), *read.problems]),
    )


class _Reader:
    """Reads one thing after the other, and keeps what went wrong, each problem once."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def __call__(self, read: Callable[[], T], default: T) -> T:
        try:
            return read()
        except (AudioZENError, OSError) as error:
            if str(error) not in self.problems:
                self.problems.append(str(error))
            return default


def _means(tables: dict[str, Any], *, merged: bool = False) -> dict[str, float]:
    if merged:
        tables = {"": [record for records in tables.values() for record in records]}
    several = len(tables) > 1
    return {
        f"{dataset}/{metric}" if several else metric: summary.mean
        for dataset, records in tables.items()
        for metric, summary in summarise(records).items()
    }


def _moment(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _number(value: object, kind: type[T]) -> T | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return kind(value) if is_number else None  # type: ignore[call-arg]


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


# ---- order -------------------------------------------------------------------------------


def metric_columns(entries: Sequence[Entry], metrics: Sequence[str]) -> list[str]:
    """Names of the test means that are asked for, in the order asked for; of each dataset where there are several.

    Args:
        entries: the runs.
        metrics: such as ``si_sdr``, for all datasets, or ``unseen/si_sdr`` for one.

    Raises:
        RequestError: no run has such a metric.
    """
    there = list(dict.fromkeys(name for entry in entries for name in entry.test_means))
    short = list(dict.fromkeys(name.rpartition("/")[2] for name in there))
    refuse_unknown("test metric", [name for name in metrics if name not in there], short)
    return list(
        dict.fromkeys(
            name
            for metric in metrics
            for name in there
            if metric in (name, name.rpartition("/")[2])
        )
    )


def ranked(entries: Sequence[Entry], by: str = "score") -> list[Entry]:
    """Entries in the order that is asked for; those that have nothing to be sorted by come last.

    Args:
        entries: the runs.
        by: ``score`` (the best first, within the runs of the same metric), ``date`` (the newest first), ``steps``
            (the most first), ``parameters`` and ``macs`` (the fewest first), ``name``, ``state``, or a column of
            `metric_columns` (the best first).

    Raises:
        RequestError: there is no such order.
    """
    if by in ORDERS:
        return sorted(entries, key=lambda entry: (*ORDERS[by](entry), entry.name))
    columns = list(dict.fromkeys(name for entry in entries for name in entry.test_means))
    refuse_unknown("order", [by] if by not in columns else [], [*ORDERS, *columns])
    sign = -1 if _higher_is_better(by) else 1
    return sorted(entries, key=lambda entry: (*_last(entry.test_means.get(by), sign), entry.name))


def _higher_is_better(column: str) -> bool:
    from audiozen.metrics.catalogue import metric_of

    metric = metric_of(column.rpartition("/")[2].removesuffix(NOISY))
    return metric is None or metric.higher_is_better


def _last(value: float | None, sign: int = 1) -> tuple[bool, float]:
    """Numbers in order; None and NaN behind them."""
    if value is None or math.isnan(value):
        return True, 0.0
    return False, sign * value


def _by_score(entry: Entry) -> tuple[Any, ...]:
    kind = (entry.best_metric is None, entry.best_metric or "", entry.higher_is_better)
    is_last, score = _last(entry.best_score, -1 if entry.higher_is_better else 1)
    return (is_last, *kind, score)


ORDERS: dict[str, Callable[[Entry], tuple[Any, ...]]] = {
    "score": _by_score,
    "date": lambda entry: _last(entry.started.timestamp() if entry.started else None, -1),
    "steps": lambda entry: _last(entry.step, -1),
    "parameters": lambda entry: _last(entry.parameters),
    "macs": lambda entry: _last(entry.macs_per_second),
    "state": lambda entry: (entry.state,),
    "name": lambda _: (),
}
"""What runs can be sorted by, besides the columns of test metrics."""
