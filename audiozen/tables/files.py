"""Per-signal tables as files: CSV here, JSON lines in `audiozen.tables.jsonl`.

::

    records = [
        {"id": "p232_001", "si_sdr": 15.2, "si_sdr_noisy": 8.4},
        {"id": "p232_002", "si_sdr": nan, "si_sdr_noisy": nan, "si_sdr__error": "silent_reference"},
    ]
    write_table("metrics/test.csv", records)
    assert read_table("metrics/test.csv")[0]["si_sdr"] == 15.2

A record is one signal. Numbers are metrics, strings are labels, and ``<metric>__error`` is the
reason why a metric failed. ``<metric>_noisy`` is the metric of what went into the model.
"""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiozen.durable_files import replaced
from audiozen.errors import AudioZENError, RequestError
from audiozen.tables.jsonl import read_jsonl, write_jsonl
from audiozen.tables.records import Value, columns_of, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = ["Value", "read_csv", "read_table", "write_csv", "write_table"]

SUFFIXES = (".csv", ".jsonl")


def write_table(path: Path | str, records: Sequence[Mapping[str, Any]]) -> None:
    """Write a table in the format that the ending of its name says; see `write_csv`, `write_jsonl`.

    Raises:
        RequestError: the ending is neither ``.csv`` nor ``.jsonl``.
        AudioZENError: a value is not one that a cell can have.
    """
    write = write_jsonl if suffix_of(path) == ".jsonl" else write_csv
    write(path, records)


def read_table(path: Path | str) -> list[dict[str, Value]]:
    """Read a table in the format that the ending of its name says; see `read_csv`, `read_jsonl`.

    Raises:
        RequestError: the ending is neither ``.csv`` nor ``.jsonl``.
        AudioZENError: there is no such file, or something is wrong in it.
    """
    return read_jsonl(path) if suffix_of(path) == ".jsonl" else read_csv(path)


def suffix_of(path: Path | str) -> str:
    """The ending of a table's name.

    Raises:
        RequestError: it is none of a table.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise RequestError(f"{path}: a table is called .csv or .jsonl; choose such a name")
    return suffix


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
    lines = list(csv_lines(records, source=str(path)))
    with replaced(Path(path)) as partial, partial.open("wb") as file:
        file.writelines(line.encode() + b"\n" for line in lines)


def csv_lines(records: Sequence[Mapping[str, Any]], *, source: str = "the table") -> Iterator[str]:
    """Lines of a table as `write_csv` writes it, without their ends: the columns, then the records.

    Raises:
        AudioZENError: a value is not one that a cell can have; the text names ``source``.
    """
    columns = columns_of(records)
    if columns:
        yield ",".join(map(_quoted, columns))
    for record in records if columns else ():
        yield ",".join(_cell(source, column, record.get(column)) for column in columns)


def read_csv(path: Path | str) -> list[dict[str, Value]]:
    """Read what `write_csv` has written, or a table of others.

    In a table whose strings are not quoted, a column of nothing but numbers holds numbers; the
    column ``id`` is text in any case.

    Returns:
        One dict per line with every column: str, float (whole numbers too) or None where the cell
        is empty.

    Raises:
        AudioZENError: there is no such file, it is no text, a column appears twice, or a line does
            not fit the columns.
    """
    path = Path(path)
    try:
        header, *rows = _read_rows(path) or [[]]
    except FileNotFoundError as error:
        raise AudioZENError(f"{path}: no such file; expected a per-signal table") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise AudioZENError(f"{path} is not a table in UTF-8: {error}") from error
    columns = [str(column) for column in header]
    _check_columns(path, columns, rows)
    return [dict(zip(columns, [None if cell == "" else cell for cell in row])) for row in rows]


def _cell(source: str, column: str, value: Any) -> str:
    value = plain(value)
    if value is None:
        return ""
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, (bool, int, float)):
        return repr(int(value) if isinstance(value, bool) else value)
    raise AudioZENError(
        f"{source}, column {column}: {value!r} is not a string, a number or None; "
        "give one value per signal"
    )


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
    return [header, *_with_numbers(header, rows)]


def _with_numbers(header: list[str], rows: list[list[str]]) -> list[list[Any]]:
    """Convert the columns in which every cell that is not empty is a number. An id stays as it is: "001"."""
    if {len(row) for row in rows} != {len(header)}:
        return rows
    columns: Iterable[tuple[str, Sequence[Any]]] = zip(header, zip(*rows))
    cells = [column if name == "id" else _numbers_or_text(column) for name, column in columns]
    return [list(row) for row in zip(*cells)]


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
