"""A leaderboard as people and programs read it."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from audiozen.tables.files import csv_lines
from audiozen.tables.jsonl import jsonl_lines
from audiozen.tables.layout import LAYOUTS, row

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from rich.console import Console

    from audiozen.results.leaderboard import Entry

Format: TypeAlias = Literal["text", "markdown", "csv", "jsonl"]

_COLOURS = {
    "running": "cyan",
    "done": "green",
    "stopped": "yellow",
    "failed": "red",
    "broken": "red",
}
_GAP = 2
_FOLDED = 30

NAME = "name"


class Column(NamedTuple):
    """One column for people."""

    name: str
    cells: list[str]
    rank: int = 0
    """The larger, the sooner it is left out where there is no room; 0: never."""

    @property
    def width(self) -> int:
        """Characters that it needs: of the longest cell. Names may be folded."""
        longest = max(map(len, (self.name, *self.cells)))
        return min(longest, _FOLDED) if self.name == NAME else longest


def format_leaderboard(
    entries: Sequence[Entry], metrics: Sequence[str] = (), form: Format = "text"
) -> str:
    """All runs in one of the formats, without a line break at the end.

    Args:
        entries: in the order in which they are to stand.
        metrics: test means that are shown besides, as `metric_columns` calls them.
        form: ``csv`` and ``jsonl`` have every field of each `Entry`, with all digits.
    """
    if form in ("csv", "jsonl"):
        records = [_record(entry, metrics) for entry in entries]
        return "\n".join(csv_lines(records) if form == "csv" else jsonl_lines(records))
    columns = columns_of(entries, metrics)
    header, *lines = zip(*[(column.name, *column.cells) for column in columns])
    title = "1 run" if len(entries) == 1 else f"{len(entries)} runs"
    table = LAYOUTS[form].table(title, [row(*cells) for cells in (header, *lines)], 2)
    bullet = "- " if form == "markdown" else "  "
    said = [f"{bullet}{message}" for message in messages(entries)]
    return "\n".join([*table, *(["", *said] if said else [])])


def print_leaderboard(entries: Sequence[Entry], metrics: Sequence[str], console: Console) -> None:
    """Show all runs on a terminal. Columns for which it is too narrow are left out, and named."""
    from rich.table import Table
    from rich.text import Text

    columns, left_out = fitting(columns_of(entries, metrics), console.width)
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold")
    for column in columns:
        is_label = column.rank == 0
        table.add_column(
            column.name,
            justify="left" if is_label else "right",
            overflow="fold",
            no_wrap=column.name != NAME,
        )
    for number, entry in enumerate(entries):
        cells = [Text(column.cells[number]) for column in columns]
        cells[1].stylize(_COLOURS.get(entry.state, ""))
        table.add_row(*cells)
    console.print(table)
    if left_out:
        console.print(Text(f"no room for: {', '.join(left_out)}", style="dim"))
    for message in messages(entries):
        console.print(Text(message, style="red"))


def fitting(columns: Sequence[Column], width: int) -> tuple[list[Column], list[str]]:
    """The columns that there is room for, and the names of the others.

    Args:
        columns: all.
        width: of the terminal, in characters.
    """
    kept, left_out = list(columns), []
    while sum(column.width + _GAP for column in kept) - _GAP > width:
        least = max(kept, key=lambda column: column.rank)
        if least.rank == 0:
            break
        kept.remove(least)
        left_out.append(least.name)
    return kept, [column.name for column in columns if column.name in left_out]


def messages(entries: Sequence[Entry]) -> list[str]:
    """What runs that failed or cannot be read have to say, a line each."""
    return [
        f"{entry.name}: {' '.join(entry.message.split())}" for entry in entries if entry.message
    ]


def columns_of(entries: Sequence[Entry], metrics: Sequence[str] = ()) -> list[Column]:
    """All columns for people. Those without a single entry are left out."""

    def column(name: str, rank: int, cell: Callable[[Entry], str]) -> Column:
        return Column(name, [cell(entry) for entry in entries], rank)

    asked = [
        column(name, 1, lambda entry, name=name: _score(entry.test_means.get(name)))  # type: ignore[misc]
        for name in metrics
    ]
    columns = [
        column(NAME, 0, lambda entry: entry.name),
        column("state", 0, lambda entry: entry.state),
        column("metric", 3, lambda entry: entry.best_metric or ""),
        column("best", 1, lambda entry: _score(entry.best_score)),
        column("test", 2, lambda entry: _score(entry.test_score)),
        *asked,
        column("steps", 4, lambda entry: "" if entry.step is None else str(entry.step)),
        column("epoch", 9, lambda entry: "" if entry.epoch is None else str(entry.epoch)),
        column("started", 5, lambda entry: _date(entry.started)),
        column("took", 10, lambda entry: _duration(entry.seconds)),
        column("parameters", 6, lambda entry: _count(entry.parameters)),
        column("MAC/s", 7, lambda entry: _count(entry.macs_per_second)),
        column("commit", 8, _commit),
    ]
    return [column for column in columns if column.rank == 0 or any(column.cells)]


def _score(value: float | None) -> str:
    return "" if value is None else "-" if math.isnan(value) else f"{value:.4g}"


def _date(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M}"


def _duration(seconds: float | None) -> str:
    """The two largest units.

    >>> _duration(59.6), _duration(200), _duration(7300), _duration(200_000)
    ('1 min 0 s', '3 min 20 s', '2 h 1 min', '2 d 7 h')
    """
    if seconds is None:
        return ""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def _count(value: float | None) -> str:
    """Three digits and a prefix.

    >>> _count(78_728), _count(999_999), _count(1_234_000_000), _count(640)
    ('78.7 k', '1 M', '1.23 G', '640')
    """
    if value is None:
        return ""
    for size, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size * 0.9995:
            return f"{float(f'{value / size:.3g}'):g} {prefix}"
    return f"{value:.3g}"


def _commit(entry: Entry) -> str:
    return f"{entry.commit[:7]}{'+' if entry.is_changed else ''}" if entry.commit else ""


def _record(entry: Entry, metrics: Sequence[str]) -> dict[str, Any]:
    """Every field as a cell of a file."""
    record = asdict(entry)
    means = record.pop("test_means")
    record["started"] = entry.started.isoformat() if entry.started else None
    return {**record, **{name: means.get(name) for name in metrics}}
