"""Per-signal tables as JSON lines: an object per signal.

::

    {"id": "p232_001", "si_sdr": 15.2, "si_sdr_noisy": 8.4}
    {"id": "p232_002", "si_sdr": null, "si_sdr__error": "silent_reference"}

JSON has no NaN and no infinity. NaN is ``null``, which other programs read as a missing value, and
infinity is ``1e999``, which they read as infinity; a cell that is empty has no key. So strings are
labels and nothing else, also "NaN".
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiozen.durable_files import replaced
from audiozen.errors import AudioZENError
from audiozen.tables.records import columns_of, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from audiozen.tables.records import Value

__all__ = ["read_jsonl", "write_jsonl"]


def write_jsonl(path: Path | str, records: Sequence[Mapping[str, Any]]) -> None:
    """Write one line per record, replacing the file as a whole.

    Floats are written so that reading gives the same bits.

    Args:
        path: created with its folder if missing.
        records: values are strings, numbers (also NumPy's, and tensors without an axis), bools
            (written as 0 and 1) or None (no key).

    Raises:
        AudioZENError: a value is of another kind.
    """
    lines = list(jsonl_lines(records, source=str(path)))
    with replaced(Path(path)) as partial, partial.open("wb") as file:
        file.writelines(line.encode() + b"\n" for line in lines)


def jsonl_lines(
    records: Sequence[Mapping[str, Any]], *, source: str = "the table"
) -> Iterator[str]:
    """Lines of a table as `write_jsonl` writes it, without their ends.

    Raises:
        AudioZENError: a value is not one that a cell can have; the text names ``source``.
    """
    for record in records:
        cells = [
            f"{json.dumps(column)}: {_cell(source, column, value)}"
            for column, value in record.items()
            if value is not None
        ]
        yield "{" + ", ".join(cells) + "}"


def read_jsonl(path: Path | str) -> list[dict[str, Value]]:
    """Read what `write_jsonl` has written, or a table of others.

    A ``null`` is NaN, but in a column of strings it is an empty cell.

    Returns:
        One dict per line with every column: str, float (whole numbers too) or None where the cell
        is empty.

    Raises:
        AudioZENError: there is no such file, or a line is not an object of strings and numbers.
    """
    path = Path(path)
    try:
        lines = path.read_text("utf-8-sig").split("\n")
    except FileNotFoundError as error:
        raise AudioZENError(f"{path}: no such file; expected a per-signal table") from error
    except UnicodeDecodeError as error:
        raise AudioZENError(f"{path} is not a table in UTF-8: {error}") from error
    rows = [_parsed(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    readers = {column: _reader(column, rows) for column in columns_of(rows)}
    return [{column: read(row) for column, read in readers.items()} for row in rows]


def _cell(source: str, column: str, value: Any) -> str:
    value = plain(value)
    if isinstance(value, str):
        return json.dumps(value)
    if not isinstance(value, (bool, int, float)):
        raise AudioZENError(
            f"{source}, column {column}: {value!r} is not a string, a number or None; "
            "give one value per signal"
        )
    if isinstance(value, float) and not math.isfinite(value):
        return "null" if math.isnan(value) else "1e999" if value > 0 else "-1e999"
    return repr(int(value) if isinstance(value, bool) else value)


def _parsed(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line, object_pairs_hook=_without_repetition)
        if isinstance(row, dict):
            return {name: _plain_value(name, value) for name, value in row.items()}
        problem = "not an object"
    except (ValueError, OverflowError) as error:
        problem = str(error)
    raise AudioZENError(f"{path}, line {number}: {problem}; write the table again")


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError(f"a key appears twice among {[name for name, _ in pairs]}")
    return row


def _plain_value(name: str, value: Any) -> str | float | None:
    if isinstance(value, (dict, list)):
        raise ValueError(f"{name!r} is not a string, a number or null")  # noqa: TRY004 - for _parsed
    return value if isinstance(value, str) or value is None else float(value)


def _reader(column: str, rows: Sequence[Mapping[str, Any]]) -> Callable[[Mapping[str, Any]], Value]:
    """How the cells of a column are read."""
    values = [row[column] for row in rows if row.get(column) is not None]
    null = None if values and all(isinstance(value, str) for value in values) else math.nan

    def read(row: Mapping[str, Any]) -> Value:
        value = row.get(column, "")
        return None if value == "" else null if value is None else value

    return read
