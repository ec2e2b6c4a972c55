"""Per-signal tables: written and read as CSV, summarised, and printed.

::

    records = [
        {"id": "p232_001", "si_sdr": 15.2, "si_sdr_noisy": 8.4},
        {"id": "p232_002", "si_sdr": nan, "si_sdr_noisy": nan, "si_sdr__error": "silent_reference"},
    ]
    write_csv("metrics/test.csv", records)
    print(format_summary("test", summarise(records)))

A record is one signal. Numbers are metrics, strings are labels, and ``<metric>__error`` is the
reason why a metric failed. ``<metric>_noisy`` is the metric of what went into the model.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from audiozen.durable_files import replaced
from audiozen.errors import AudioZENError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Value: TypeAlias = str | float | None
"""A cell: a label, a number, or nothing."""

_ERROR = "__error"
_NOISY = "_noisy"
_UNKNOWN = "no reason given"


# Files --------------------------------------------------------------------------------------------


def write_csv(path: Path | str, records: Sequence[Mapping[str, Any]]) -> None:
    """Write one line per record, replacing the file as a whole.

    Columns are all keys, in the order in which they first appear. Strings are quoted and numbers
    are not, so that a label "001" stays a label. Floats are written so that reading gives the same
    bits; NaN is ``nan``.

    Args:
        path: created with its folder if missing.
        records: values are strings, numbers (also NumPy's, and tensors without an axis), bools
            (written as 0 and 1) or None (an empty cell).

    Raises:
        AudioZENError: a value is of another kind.
    """
    path = Path(path)
    columns = _columns(records)
    rows = [[_cell(path, column, record.get(column)) for column in columns] for record in records]
    with replaced(path) as partial, partial.open("wb") as file:
        for row in [[_quoted(column) for column in columns], *rows] if columns else []:
            file.write((",".join(row) + "\n").encode())


def read_csv(path: Path | str) -> list[dict[str, Value]]:
    """Read what `write_csv` has written, or a table of others.

    In a table whose strings are not quoted, a column of nothing but numbers holds numbers.

    Returns:
        One dict per line with every column: str, float (whole numbers too) or None where the cell
        is empty.

    Raises:
        AudioZENError: there is no such file, a column appears twice, or a line does not fit the
        columns.
    """
    path = Path(path)
    try:
        header, *rows = _read_rows(path) or [[]]
    except FileNotFoundError as error:
        raise AudioZENError(f"{path}: no such file; expected a per-signal table") from error
    columns = [str(column) for column in header]
    _check_columns(path, columns, rows)
    return [dict(zip(columns, [None if cell == "" else cell for cell in row])) for row in rows]


def _columns(records: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(column for record in records for column in record))


def _cell(path: Path, column: str, value: Any) -> str:
    value = _plain(value)
    if value is None:
        return ""
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, (bool, int, float)):
        return repr(int(value) if isinstance(value, bool) else value)
    raise AudioZENError(
        f"{path}, column {column}: {value!r} is not a string, a number or None; "
        "give one value per signal"
    )


def _plain(value: Any) -> Any:
    """Numbers of NumPy and PyTorch as Python's."""
    return value.item() if getattr(value, "ndim", None) == 0 else value


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _read_rows(path: Path) -> list[list[Any]]:
    """Rows of str (quoted) and float (not quoted)."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        try:
            return [row for row in csv.reader(file, quoting=csv.QUOTE_NONNUMERIC) if row]
        except ValueError:  # text without quotes: not ours, or saved by a spreadsheet
            file.seek(0)
            header, *rows = (row for row in csv.reader(file) if row)
    return [header, *_with_numbers(rows)]


def _with_numbers(rows: list[list[str]]) -> list[list[Any]]:
    """Convert the columns in which every cell that is not empty is a number."""
    if len({len(row) for row in rows}) != 1:
        return rows
    columns: Iterable[Sequence[Any]] = zip(*rows)
    return [list(row) for row in zip(*[_numbers_or_text(column) for column in columns])]


def _numbers_or_text(cells: Sequence[str]) -> Sequence[Any]:
    try:
        return [float(cell) if cell else "" for cell in cells]
    except ValueError:
        return cells


def _check_columns(path: Path, columns: list[str], rows: list[list[Any]]) -> None:
    twice = [column for column, count in Counter(columns).items() if count > 1]
    if twice:
        raise AudioZENError(
            f"{path}: column {twice[0]!r} appears twice in the first line; rename one"
        )
    for number, row in enumerate(rows, start=1):
        if len(row) != len(columns):
            raise AudioZENError(
                f"{path}, record {number}: {len(row)} cells for {len(columns)} columns; "
                "write the table again"
            )


# Summary ------------------------------------------------------------------------------------------


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
        By metric, in the order of the columns. A metric is a column with a number in it, or one
        that has only reasons.
    """
    metrics = dict.fromkeys(
        column.removesuffix(_ERROR)
        for column in _columns(records)
        if column.endswith(_ERROR) or any(_is_number(record.get(column)) for record in records)
    )
    return {metric: _summary(metric, records) for metric in metrics}


def _is_number(value: Any) -> bool:
    return isinstance(_plain(value), (bool, int, float))


def _summary(metric: str, records: Sequence[Mapping[str, Any]]) -> Summary:
    values, reasons = [], Counter[str]()
    for record in records:
        value, reason = record.get(metric), record.get(metric + _ERROR)
        if _is_number(value) and not math.isnan(number := float(_plain(value))):
            values.append(number)
        elif reason or _is_number(value):
            reasons[str(reason or _UNKNOWN)] += 1
    mean = sum(values) / len(values) if values else math.nan
    return Summary(mean, len(values), reasons.total(), dict(reasons.most_common()))


# Text ---------------------------------------------------------------------------------------------


def format_summary(title: str, summary: Mapping[str, Summary], *, markdown: bool = False) -> str:
    """A table of means for people.

    Where metrics have a ``_noisy`` partner, both means and the difference of the two stand in one
    row; others have one value. ``n`` and ``failed`` count the signals of the model's output. †
    marks means (and differences of such) from which failed signals are missing; below the table
    stands why they failed.

    Args:
        title: stands above the table.
        summary: from `summarise`.
        markdown: make it a Markdown table instead of plain text.

    Returns:
        Lines with no line break at the end.
    """
    if not summary:
        return f"{title}\n\nno metrics"
    paired = [name for name in summary if name + _NOISY in summary]
    partners = {name + _NOISY for name in paired}
    rows = [_row(name, summary) for name in summary if name not in partners]
    header: tuple[str, ...] = ("metric", "noisy", "enhanced", "difference", "n", "failed")
    if not paired:
        header, rows = _single(header), [_single(row) for row in rows]
    layout = _markdown if markdown else _plain_text
    heading = f"### {title}" if markdown else title
    return "\n".join([heading, "", *layout(header, rows), *_reasons(summary, markdown)])


def _row(name: str, summary: Mapping[str, Summary]) -> tuple[str, ...]:
    enhanced, noisy = summary[name], summary.get(name + _NOISY)
    counts = (str(enhanced.num), str(enhanced.num_failed or ""))
    if noisy is None:
        digits = _decimals(enhanced.mean)
        return (name, "", _number(enhanced.mean, digits) + _mark(enhanced), "", *counts)
    digits = _decimals(noisy.mean, enhanced.mean)
    return (
        name,
        _number(noisy.mean, digits) + _mark(noisy),
        _number(enhanced.mean, digits) + _mark(enhanced),
        _number(enhanced.mean - noisy.mean, digits, sign="+") + _mark(noisy, enhanced),
        *counts,
    )


def _single(row: tuple[str, ...]) -> tuple[str, ...]:
    """The row of a table without noisy partners."""
    name, _, value, _, *counts = row
    return (name, "mean" if value == "enhanced" else value, *counts)


def _decimals(*values: float) -> int | None:
    """Decimals that give the largest value four digits; None where only an exponent can show it."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    if largest == 0:
        return 3
    if not 1e-4 <= largest < 1e7:
        return None
    return min(6, max(0, 3 - math.floor(math.log10(largest))))


def _number(value: float, decimals: int | None, sign: str = "") -> str:
    if math.isnan(value):
        return "-"
    return f"{value:{sign}.3e}" if decimals is None else f"{value:{sign}.{decimals}f}"


def _mark(*summaries: Summary) -> str:
    return "†" if any(summary.num_failed for summary in summaries) else ""


def _plain_text(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    columns = [
        _aligned(column, left=number == 0) for number, column in enumerate(zip(header, *rows))
    ]
    first, *others = ["  ".join(cells).rstrip() for cells in zip(*columns)]
    width = max(len(line) for line in (first, *others))
    return [first, "─" * width, *others]


def _aligned(cells: tuple[str, ...], *, left: bool) -> list[str]:
    """Pad to one width. Room for a † is left in all cells, so that digits stand in line."""
    header, *values = cells
    if any(value.endswith("†") for value in values):
        cells = (header, *(value if value.endswith("†") else value + " " for value in values))
    width = max(map(len, cells))
    return [cell.ljust(width) if left else cell.rjust(width) for cell in cells]


def _markdown(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    rule = ("---",) + ("---:",) * (len(header) - 1)
    escaped = [tuple(cell.replace("|", "\\|") for cell in row) for row in rows]
    return ["| " + " | ".join(row) + " |" for row in (header, rule, *escaped)]


def _reasons(summary: Mapping[str, Summary], markdown: bool) -> list[str]:
    """What stands below the table: a line per metric and reason."""
    lines = [
        f"{name}: {reason} ({count})"
        for name, metric in summary.items()
        for reason, count in metric.reasons.items()
    ]
    if not lines:
        return []
    bullet = "- " if markdown else "  "
    return [
        "",
        "† mean over the other signals. Failed:",
        *([""] if markdown else []),
        *(bullet + line for line in lines),
    ]
