"""What a page says about one run: plain data, collected from its folder.

What cannot be read, or is not there, becomes a note with the command that makes it: a page is shown in any case.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, cast

from audiozen.errors import AudioZENError
from audiozen.report.curves import Curve, Number, curves_of, number
from audiozen.report.notes import (
    Note,
    on_code,
    on_cost,
    on_curves,
    on_shared_ids,
    on_state,
    on_tables,
    on_time,
)
from audiozen.report.origin import commands_of, facts_of
from audiozen.results.run import NEW
from audiozen.tables.records import ERROR, FACTS, columns_of, is_number, plain
from audiozen.tables.summary import UNKNOWN, summarise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from audiozen.results.run import Record, Run

Result = TypeVar("Result")
ID, LABEL, FACT, METRIC = "id", "label", "fact", "metric"


@dataclass(frozen=True)
class Column:
    """A column of a per-signal table."""

    name: str
    kind: str
    """``id``, ``label``, ``fact`` or ``metric``."""
    values: list[Any]
    """One per signal: text or a number; None where it is missing or NaN."""
    reasons: dict[int, str] = field(default_factory=dict)
    """Why a value is missing, by row."""


@dataclass(frozen=True)
class Means:
    """One metric over a dataset."""

    metric: str
    mean: Number
    std: Number
    num: int
    num_failed: int
    reasons: dict[str, int]


@dataclass(frozen=True)
class Dataset:
    """The test of one dataset."""

    name: str
    num_signals: int
    columns: list[Column]
    means: list[Means]


@dataclass(frozen=True)
class Experiment:
    """All that a page says about a run, apart from sound."""

    name: str
    folder: str
    state: str
    message: str
    description: str
    step: int | None
    epoch: int | None
    best_metric: str | None
    """What decides the best checkpoint."""
    higher_is_better: bool
    best: dict[str, Any]
    """``score``, ``checkpoint`` and ``step`` of the best checkpoint; empty where there is none."""
    complexity: dict[str, Any]
    notes: list[Note]
    curves: list[Curve]
    datasets: list[Dataset]
    settings: dict[str, str]
    """By dotted name, as TOML."""
    settings_text: str
    environment: dict[str, str]
    commands: list[str]
    """What to type to run it again."""


def collect(run: Run) -> Experiment:
    """Read all that a page says about a run.

    Args:
        run: in any state.
    """
    notes: list[Note] = []  # those of _try come first: the others build on what could be read
    config = _try(notes, lambda: run.config, {})
    environment = _try(notes, lambda: run.environment, {})
    curves = _try(notes, lambda: curves_of(run.scalars()), [])
    tables = _try(notes, lambda: run.tables("test"), {})
    best = _try(notes, lambda: _best(run), {})
    complexity = _try(notes, lambda: run.complexity, {})
    state = _try(notes, lambda: run.state, NEW)
    status = _try(notes, lambda: run.status, {})
    valid = _try(notes, lambda: run.tables("valid"), {})
    notes += [
        *on_state(state, environment),
        *on_curves(curves, environment),
        *on_tables(tables, valid, environment),
        *on_shared_ids(valid, tables),
        *on_time(run, tables, environment),
        *on_code(environment),
        *on_cost(complexity),
    ]
    return Experiment(
        name=run.name,
        folder=str(run.root.resolve()),
        state=state,
        message=str(status.get("message") or ""),
        description=str(config.get("meta", {}).get("description") or ""),
        step=_try(notes, lambda: run.step, None),
        epoch=_try(notes, lambda: run.epoch, None),
        best_metric=_try(notes, lambda: run.best_metric, None),
        higher_is_better=_try(notes, lambda: run.higher_is_better, True),
        best=best,
        complexity=complexity,
        notes=notes,
        curves=curves,
        datasets=[_dataset(name, records) for name, records in tables_of(run).items()],
        settings=dict(_flat(config)),
        settings_text=run.folder.config.read_text(encoding="utf-8") if config else "",
        environment=facts_of(environment),
        commands=commands_of(environment),
    )


def tables_of(run: Run) -> dict[str, list[Record]]:
    """The tables that scores are taken from, by dataset: of the test, or else of the validation of the best checkpoint.

    What cannot be read is left out.
    """
    tables: dict[str, list[Record]] = _try([], lambda: run.tables("test"), {})
    if any(tables.values()):
        return tables
    prefix = f"valid_{run.best_checkpoint}"
    names = {prefix: "validation"}
    valid: dict[str, list[Record]] = _try([], lambda: run.tables("valid"), {})
    return {names.get(name, f"validation {name}"): table for name, table in valid.items() if table}


def _try(notes: list[Note], read: Callable[[], Result], default: Any) -> Result:
    """What can be read; otherwise the default, and a note that says why."""
    try:
        return read()
    except AudioZENError as error:
        if Note(str(error)) not in notes:
            notes.append(Note(str(error)))
        return cast("Result", default)


# ---- scores ------------------------------------------------------------------------------


def _best(run: Run) -> dict[str, Any]:
    name = run.best_checkpoint
    score = run.best_score
    if name is None:
        return {}
    return {
        "score": None if score is None else number(score),
        "checkpoint": name,
        "step": _step_of(run.folder.checkpoints / name),
    }


def _step_of(checkpoint: Path) -> int | None:
    try:
        step = json.loads((checkpoint / "manifest.json").read_bytes()).get("step")
    except (OSError, ValueError):
        return None
    return step if isinstance(step, int) else None


def _dataset(name: str, records: Sequence[Record]) -> Dataset:
    summaries = summarise(records)
    means = [
        Means(
            metric,
            number(summary.mean),
            number(summary.std),
            summary.num,
            summary.num_failed,
            dict(summary.reasons),
        )
        for metric, summary in summaries.items()
    ]
    columns = [
        _column(column, METRIC if column in summaries else _kind(column, records), records)
        for column in _in_order(records, summaries)
    ]
    return Dataset(name, len(records), columns, means)


def _in_order(records: Sequence[Record], metrics: Mapping[str, Any]) -> list[str]:
    """Columns of a table without those of reasons: id, labels, facts, metrics."""
    columns = [name for name in columns_of(records) if not name.endswith(ERROR)]
    columns = list(dict.fromkeys([*columns, *metrics]))
    ranks = (ID, LABEL, FACT, METRIC)
    kinds = {name: METRIC if name in metrics else _kind(name, records) for name in columns}
    return sorted(columns, key=lambda name: ranks.index(kinds[name]))


def _kind(column: str, records: Sequence[Record]) -> str:
    if column == "id":
        return ID
    values = [record.get(column) for record in records]
    return FACT if column in FACTS and all(_is_like_number(value) for value in values) else LABEL


def _is_like_number(value: Any) -> bool:
    """Whether a cell is a number, also one that was written as text, or empty."""
    try:
        float(plain(value) if value is not None else 0)
    except ValueError:
        return False
    return True


def _column(name: str, kind: str, records: Sequence[Record]) -> Column:
    values = [_cell(record.get(name), kind) for record in records]
    reasons = {}
    for row, record in enumerate(records):
        reason = record.get(name + ERROR)
        if values[row] is None and (reason or is_number(record.get(name))):
            reasons[row] = str(reason or UNKNOWN)
    return Column(name, kind, values, reasons)


def _cell(value: Any, kind: str) -> Any:
    if value is None:
        return "" if kind in (ID, LABEL) else None
    if kind in (ID, LABEL):
        return f"{value:g}" if isinstance(value, float) else str(value)
    return number(float(plain(value))) if _is_like_number(value) else None


# ---- settings ----------------------------------------------------------------------------


def _flat(tables: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Settings by dotted name; a list of tables is numbered."""
    for key, value in tables.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _flat(value, f"{name}.")
        elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            for index, item in enumerate(value):
                yield from _flat(item, f"{name}.{index}.")
        else:
            yield name, _toml({"": value}).partition("=")[2].strip()


def _toml(tables: Mapping[str, Any]) -> str:
    import tomli_w

    return tomli_w.dumps(tables)
