"""Locks on open files. The system lets go of them when the process ends, however it ends.

Processes that it has started do not hold them, which ``flock`` would let them do.
"""

from __future__ import annotations

import os
import struct
import sys
import time

if sys.platform == "win32":
    import msvcrt

    _PLACE = (1 << 31) - 2
    """The byte that is locked. Nobody else can read it, so it lies as far behind the content as a C long reaches."""
    _RETRY = 0.01

    def lock(descriptor: int, *, wait: bool) -> None:
        """Take the lock on a file that is open for writing.

        Args:
            descriptor: of the file.
            wait: until it is free.

        Raises:
            PermissionError, BlockingIOError: another process has it, and we do not wait.
            OSError: the file system has no locks.
        """
        while True:
            try:
                _change(descriptor, msvcrt.LK_NBLCK)
            except PermissionError:
                if not wait:
                    raise
                time.sleep(_RETRY)
            else:
                return

    def unlock(descriptor: int) -> None:
        """Give the lock back."""
        _change(descriptor, msvcrt.LK_UNLCK)

    def is_locked(descriptor: int) -> bool:
        """Whether another process has the lock. It is tried, so that for a moment nobody else can take it."""
        try:
            _change(descriptor, msvcrt.LK_NBLCK)
        except PermissionError:
            return True
        _change(descriptor, msvcrt.LK_UNLCK)
        return False

    def _change(descriptor: int, operation: int) -> None:
        before = os.lseek(descriptor, 0, os.SEEK_CUR)
        os.lseek(descriptor, _PLACE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, operation, 1)
        finally:
            os.lseek(descriptor, before, os.SEEK_SET)

else:
    import fcntl

    # struct flock, as fcntl(2) has it: the place of its type, and an exclusive lock on everything.
    if sys.platform == "darwin":
        _LOCK, _LOCK_TYPE, _WHOLE_FILE = "qqihh", 3, (0, 0, 0, fcntl.F_WRLCK, os.SEEK_SET)
    else:
        _LOCK, _LOCK_TYPE, _WHOLE_FILE = "hhqqi4x", 0, (fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)

    def lock(descriptor: int, *, wait: bool) -> None:
        """Take the lock on a file that is open for writing.

        Args:
            descriptor: of the file.
            wait: until it is free.

        Raises:
            PermissionError, BlockingIOError: another process has it, and we do not wait.
            OSError: the file system has no locks.
        """
        fcntl.lockf(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))

    def unlock(descriptor: int) -> None:
        """Give the lock back."""
        fcntl.lockf(descriptor, fcntl.LOCK_UN)

    def is_locked(descriptor: int) -> bool:
        """Whether another process has the lock.

        It is asked about and not tried: whoever tried it would have it for a moment, in which nobody else can take it.
        """
        answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, struct.pack(_LOCK, *_WHOLE_FILE))
        return bool(struct.unpack(_LOCK, answer)[_LOCK_TYPE] != fcntl.F_UNLCK)
