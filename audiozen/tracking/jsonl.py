"""``metrics.jsonl``: every number of a run in one text file, a JSON object per line.

::

    {"step": 121, "epoch": 3, "time": "2026-08-06T09:15:02.123456+00:00", "train/loss": 0.12}

JSON has no NaN and no infinities: they are written as the strings ``"NaN"``, ``"Infinity"`` and
``"-Infinity"``, which `read_metrics` turns back into floats.
"""

from __future__ import annotations

import errno
import io
import json
import logging
import math
import os
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from audiozen.durable_files import flush, make_folders, replaced
from audiozen.errors import AudioZENError
from audiozen.system.files import REPLACES_OPEN_FILES, read_at
from audiozen.system.locks import lock, unlock
from audiozen.tracking.append import append
from audiozen.tracking.tracker import Tracker

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["JsonlTracker", "read_metrics"]

logger = logging.getLogger(__name__)

_RESERVED = ("step", "epoch", "time")
_BLOCK_SIZE = 1 << 20
_NO_LOCKS_HERE = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


class JsonlTracker(Tracker):
    """Appends one line per `log_scalars` to a file; sound, pictures and text are left to others.

    A line is handed to the operating system as soon as it is logged, so a killed run loses at most the line that it
    was writing. Half a line at the end, which a killed run may leave, is removed before the next one is written. Where
    a line cannot be written as a whole (a full disk), nothing of it stays.

    Several processes may have the file open, as where a checkpoint is tested while training goes on: each change is
    made under a lock, to the file that is at the path then. Where a file system has no locks, it is made without.

    Args:
        path: created with its folder if missing; else appended to.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        make_folders(self.path.parent)
        self._file = self._open()
        with self._locked():
            self._remove_leftovers()

    def log_scalars(self, scalars: Mapping[str, float], *, step: int, epoch: int) -> None:
        """Append one line.

        Raises:
            AudioZENError: a scalar is named ``step``, ``epoch`` or ``time``.
        """
        taken = [name for name in _RESERVED if name in scalars]
        if taken:
            raise AudioZENError(
                f"{self.path}: a scalar cannot be named {taken[0]!r}, which each line has "
                f"already; log it by another name, such as 'train/{taken[0]}'"
            )
        row: dict[str, Any] = {
            "step": int(step),
            "epoch": int(epoch),
            "time": datetime.now(UTC).isoformat(),
        }
        row.update((name, _encoded(float(value))) for name, value in scalars.items())
        with self._locked():
            append(self._file, _line(row))

    def rewind(self, step: int) -> None:
        """Cut the lines beyond ``step``, replacing the file as a whole. Others keep their bytes.

        Raises:
            AudioZENError: a line in the file is not a JSON object with a step. Nothing is changed.
        """
        with self._locked():
            lines = (line for block in self._blocks() for line in io.BytesIO(block))
            self._replace(
                line
                for number, line in enumerate(lines, start=1)
                if _parsed(line, self.path, number)["step"] <= step
            )

    @override
    def supersede(self, names: Iterable[str], *, step: int) -> None:
        superseded = set(names) - set(_RESERVED)
        mark = f'"step": {int(step)},'.encode()  # searched for first: most lines need not be parsed

        def edited(block: bytes) -> bytes:
            if mark not in block:
                return block
            lines = io.BytesIO(block)
            return b"".join(
                _without(superseded, line, step) if mark in line else line for line in lines
            )

        with self._locked():
            if any(edited(block) != block for block in self._blocks()):
                self._replace(edited(block) for block in self._blocks())

    @override
    def flush(self) -> None:
        try:
            os.fsync(self._file.fileno())
        except (ValueError, OSError) as error:
            # Another thread closes the file where it was replaced, which flushes it.
            if isinstance(error, OSError) and error.errno != errno.EBADF:
                raise

    @override
    def close(self) -> None:
        self._file.close()

    def _open(self) -> io.FileIO:
        is_new = not self.path.exists()
        file = self.path.open("a+b", buffering=0)
        if is_new:
            flush(self.path.parent)
        return file

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """The file that is at the path, without half a line, and with nobody else who writes to it."""
        _lock(self._file)
        while not _is_at(self._file, self.path):  # another process replaced it
            _unlock(self._file)
            self._reopen()
            _lock(self._file)
        try:
            self._remove_torn_line()
            yield
        finally:
            _unlock(self._file)

    # Below, the lock is held. Closing any other descriptor of the file would end it, so there is only the one.

    def _replace(self, content: Iterable[bytes]) -> None:
        if not REPLACES_OPEN_FILES:
            self._write_over(b"".join(content))
            return
        with replaced(self.path) as partial, partial.open("wb") as new:
            new.writelines(content)
        self._reopen()

    def _write_over(self, content: bytes) -> None:
        with self.path.open("r+b", buffering=0) as file:
            file.write(content)
            file.truncate()

    def _reopen(self) -> None:
        stale, self._file = self._file, self._open()
        stale.close()

    def _blocks(self) -> Iterator[bytes]:
        """The content in blocks of whole lines."""
        position, rest = 0, b""
        while block := read_at(self._file.fileno(), _BLOCK_SIZE, position):
            position += len(block)
            end = block.rfind(b"\n") + 1
            if end == 0:
                rest += block
            else:
                yield rest + block[:end]
                rest = block[end:]

    def _remove_torn_line(self) -> None:
        """Cut what stands behind the last line break: a line whose writer was killed."""
        end = self._file.seek(0, os.SEEK_END)
        start = _end_of_last_line(self._file, end)
        if start < end:
            self._file.truncate(start)
            logger.warning(
                "%s: removed half a line (%d bytes) at the end, left by a run that was killed",
                self.path,
                end - start,
            )

    def _remove_leftovers(self) -> None:
        """Remove new contents whose writers were killed before they took the file's place."""
        for path in self.path.parent.glob(".*.partial"):
            if path.name.startswith(f".{self.path.name}."):
                path.unlink(missing_ok=True)


def read_metrics(path: Path | str) -> list[dict[str, Any]]:
    """The lines of a ``metrics.jsonl``, in the order in which they were logged.

    Half a line at the end, which a run that is being written or was killed may have, is left out.

    Returns:
        One dict per line: ``step`` and ``epoch`` (int), ``time`` (UTC, ISO 8601) and a float per
        scalar.

    Raises:
        AudioZENError: there is no such file, or a line in it is not a JSON object.
    """
    path = Path(path)
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError as error:
        raise AudioZENError(f"{path}: no such file; a run writes it when it logs") from error
    *whole, _torn = lines
    return [_decoded(_parsed(line, path, number)) for number, line in enumerate(whole, start=1)]


def _encoded(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _decoded(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value if name in _RESERVED else float(value) for name, value in row.items()}


def _parsed(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            return row
        problem = "not an object with a step"
    except ValueError as error:
        problem = f"not JSON ({error})"
    raise AudioZENError(f"{path}, line {number}: {problem}; remove or repair that line")


def _line(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _without(names: set[str], line: bytes, step: int) -> bytes:
    """A line of this step without the scalars of these names; nothing where none is left."""
    try:
        row = json.loads(line)
    except ValueError:
        return line  # readers name it
    if not isinstance(row, dict) or row.get("step") != step or not names & row.keys():
        return line
    kept = {name: value for name, value in row.items() if name not in names}
    return _line(kept) if kept.keys() - _RESERVED else b""


def _lock(file: io.FileIO) -> None:
    with _if_there_are_locks():
        lock(file.fileno(), wait=True)


def _unlock(file: io.FileIO) -> None:
    with _if_there_are_locks():
        unlock(file.fileno())


@contextmanager
def _if_there_are_locks() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_LOCKS_HERE:
            raise


def _is_at(file: io.FileIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _end_of_last_line(file: io.FileIO, end: int) -> int:
    """Position behind the last line break, 0 where there is none."""
    size = 1  # almost always, it is the last byte
    while end > 0:
        start = max(0, end - size)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end, size = start, 1 << 16
    return 0
