"""``status.json``: how the run in a folder is getting on, written by the run itself for those who look at it."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from audiozen.errors import Preempted
from audiozen.record import write_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

logger = logging.getLogger(__name__)

MAX_LENGTH = 1000


@contextmanager
def run_status(path: Path) -> Iterator[None]:
    """Within this context the run is ``running``; afterwards it is ``done``, ``stopped`` (resume it) or ``failed``.

    A run that is killed stays ``running``; that nobody holds the lock of its folder then gives it away. A disk that
    refuses the file is told, and ends nothing.
    """
    started = _now()
    _write(path, "running", started)
    try:
        yield
    except (Preempted, KeyboardInterrupt) as error:
        _write(path, "stopped", started, ended=_now(), message=str(error) or "interrupted")
        raise
    except BaseException as error:
        message = f"{type(error).__name__}: {error}"
        _write(path, "failed", started, ended=_now(), message=message[:MAX_LENGTH])
        raise
    _write(path, "done", started, ended=_now())


def _write(
    path: Path, state: str, started: str, *, ended: str | None = None, message: str = ""
) -> None:
    status = {"state": state, "started": started, "ended": ended, "message": message}
    try:
        write_json(path, status)
    except OSError as error:
        logger.warning("%s could not be written: %s", path, error)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
