"""One run at a time in an experiment's folder."""

from __future__ import annotations

import errno
import logging
import os
import socket
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from audiozen.durable_files import make_folders
from audiozen.errors import RequestError
from audiozen.system.files import BINARY
from audiozen.system.locks import lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

logger = logging.getLogger(__name__)

LOCK = ".lock"
UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)

_held: set[Path] = set()


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Within this context, no other process trains into ``folder``; the folder is made where it is missing.

    The operating system lets go of the lock when the process ends, however it ends; processes that it has started, such
    as those of a dataloader, do not hold it. Inside of another such context of this process, nothing changes.

    Raises:
        RequestError: another process is there (the text says which), or the folder cannot be written.
    """
    path = folder.resolve() / LOCK
    if path in _held:
        yield
        return
    descriptor = _opened(folder, path)
    try:
        _lock(descriptor, path)
        _held.add(path)
        yield
    finally:
        _held.discard(path)
        os.close(descriptor)


def _opened(folder: Path, path: Path) -> int:
    try:
        make_folders(folder)
        return os.open(path, os.O_RDWR | os.O_CREAT | BINARY, 0o666)
    except OSError as error:
        raise RequestError(
            f"{folder} cannot be written: {error.strerror}; choose another folder, or make it writable"
        ) from error


def _lock(descriptor: int, path: Path) -> None:
    try:
        lock(descriptor, wait=False)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, _about_this_process().encode())
    except (BlockingIOError, PermissionError) as error:
        raise RequestError(
            f"{path.parent} is in use by {_holder(path)}; wait for it, stop it, or choose another folder"
        ) from error
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise RequestError(f"{path} cannot be written: {error.strerror}") from error
        logger.warning(
            "%s cannot be locked (%s): do not start two runs there", path.parent, error.strerror
        )


def _about_this_process() -> str:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return f"process {os.getpid()} on {socket.gethostname()}, started {now}\n"


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip() or "another process"
    except OSError:
        return "another process"
