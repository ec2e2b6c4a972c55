"""Where a study is written down: a text file that any number of processes and machines append to."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from audiozen.durable_files import make_folders
from audiozen.errors import RequestError
from audiozen.system.files import BINARY
from audiozen.system.locks import lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class JournalLock:
    """Held by one process at a time, which may take it again while it has it.

    The operating system lets go of it when the process ends, however it ends. Half a line, as a full disk or a power
    cut leaves it at the end of the journal, is removed by whoever holds the lock next.

    Args:
        journal: what it guards. The lock is a file beside it, as closing any file gives up all locks on that file.
    """

    def __init__(self, journal: Path) -> None:
        self.journal = journal
        self.path = journal.with_name(f"{journal.name}.lock")
        self._depth, self._descriptor = 0, -1

    def acquire(self) -> bool:
        """Wait for it."""
        if self._depth == 0:
            self._descriptor = self._locked()
            self._remove_half_a_line()
        self._depth += 1
        return True

    def release(self) -> None:
        """Give it up, where it was taken once."""
        self._depth -= 1
        if self._depth == 0:
            os.close(self._descriptor)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within this context no other process writes to the journal.

        Raises:
            RequestError: the folder cannot be written, or its file system has no locks.
        """
        self.acquire()
        try:
            yield
        finally:
            self.release()

    def _locked(self) -> int:
        try:
            make_folders(self.path.parent)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | BINARY, 0o666)
            lock(descriptor, wait=True)
        except OSError as error:
            raise RequestError(
                f"{self.path} cannot be locked: {error.strerror}; choose another [meta] save_dir, which can be written "
                "and has locks"
            ) from error
        return descriptor

    def _remove_half_a_line(self) -> None:
        if not self.journal.exists():
            return
        with self.journal.open("r+b") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 1))
            if file.read(1) in (b"\n", b""):
                return
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)


class Journal:
    """The journal of a study.

    Args:
        path: the file, which is made where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self.lock = JournalLock(path)
        with self.lock.held():
            backend = JournalFileBackend(str(path), lock_obj=self.lock)  # type: ignore[arg-type]  # its base is not public
            self.storage = JournalStorage(backend)
