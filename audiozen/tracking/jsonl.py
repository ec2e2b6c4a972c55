"""``metrics.jsonl``: every number of a run in one text file, a JSON object per line.

::

    {"step": 121, "epoch": 3, "time": "2026-08-06T09:15:02.123456+00:00", "train/loss": 0.12}

JSON has no NaN and no infinities: they are written as the strings ``"NaN"``, ``"Infinity"`` and
``"-Infinity"``, which `read_metrics` turns back into floats.
"""

from __future__ import annotations

import errno
import json
import logging
import math
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from audiozen.durable_files import replaced
from audiozen.errors import AudioZENError
from audiozen.tracking.tracker import Tracker

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger(__name__)

_RESERVED = ("step", "epoch", "time")


class JsonlTracker(Tracker):
    """Appends one line per `log_scalars` to a file; sound, pictures and text are left to others.

    A line is handed to the operating system as soon as it is logged, so a killed run loses at most
    the line that it was writing. Half a line at the end is removed when the file is opened. Where a
    line cannot be written as a whole (a full disk), nothing of it stays.

    Args:
        path: created with its folder if missing; else appended to.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._open()

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
        self._append(json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n")

    def rewind(self, step: int) -> None:
        """Cut the lines beyond ``step``, replacing the file as a whole. Others keep their bytes.

        Raises:
            AudioZENError: a line in the file is not a JSON object with a step. Nothing is changed.
        """
        self._file.close()
        try:
            with (
                self.path.open("rb") as old,
                replaced(self.path) as partial,
                partial.open("wb") as new,
            ):
                for number, line in enumerate(old, start=1):
                    if _parsed(line, self.path, number)["step"] <= step:
                        new.write(line)
        finally:
            self._open()

    @override
    def flush(self) -> None:
        os.fsync(self._file.fileno())

    @override
    def close(self) -> None:
        self._file.close()

    def _open(self) -> None:
        _remove_torn_line(self.path)
        self._file = self.path.open("ab", buffering=0)

    def _append(self, line: bytes) -> None:
        start = self._file.seek(0, os.SEEK_END)
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        except OSError:
            self._file.truncate(start)
            raise


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


def _remove_torn_line(path: Path) -> None:
    """Cut what stands behind the last line break: a line whose writer was killed."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        start = _end_of_last_line(file, end)
        if start < end:
            file.truncate(start)
            logger.warning(
                "%s: removed half a line (%d bytes) at the end, left by a run that was killed",
                path,
                end - start,
            )


def _end_of_last_line(file: Any, end: int, block: int = 1 << 16) -> int:
    """Position behind the last line break, 0 where there is none."""
    while end > 0:
        start = max(0, end - block)
        file.seek(start)
        found: int = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
