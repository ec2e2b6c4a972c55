"""Writing beside the training: one piece of work at a time, in a thread."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from typing import TYPE_CHECKING

from audiozen.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

NICENESS = 10
"""The training goes first where both want the same core."""
PATIENCE = 20.0
"""Seconds of waiting after which it is told that we do."""


class BackgroundSave:
    """Writes a checkpoint while the training goes on.

    A save that fails is told at once, from its thread; training goes on, and whoever depends on the checkpoint asks
    :meth:`succeeded`. The thread does not keep the process alive: who wants all of it on the disk asks before leaving.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._has_ended = threading.Event()
        self._has_ended.set()

    def start(self, work: Callable[[], object]) -> None:
        """Do the work in a thread, once that of before has ended.

        Raises:
            BaseException: what that of before raised, unless it was a CheckpointError, which was told.
        """
        self.succeeded()
        self._error = None
        self._has_ended.clear()
        self._thread = threading.Thread(target=self._run, args=[work], name="save", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the system gives us no thread
            self._thread = None
            self._has_ended.set()
            raise

    def succeeded(self) -> bool:
        """Wait for the work; whether the last one did what it should, or there was none.

        Raises:
            BaseException: what the work raised, unless it was a CheckpointError, which was told.
        """
        self.wait()
        if self._error is not None and not isinstance(self._error, CheckpointError):
            raise self._error
        return self._error is None

    def wait(self) -> None:
        """Return when the work has ended, well or not."""
        begin = time.monotonic()
        # Not by Thread.join alone: where a signal handler raises in it, a thread that goes on is taken for one that has
        # ended (CPython before 3.13, gh-90882).
        while not self._has_ended.wait(PATIENCE):
            logger.warning(
                "waiting for a checkpoint to be written, %.0f s so far: the disk is slow, or stands still",
                time.monotonic() - begin,
            )
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self, work: Callable[[], object]) -> None:
        try:
            if sys.platform == "linux":  # elsewhere, threads have no priority of their own
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
            work()
        except CheckpointError as error:
            self._error = error
            logger.error("%s; training goes on, earlier checkpoints are whole", error)  # noqa: TRY400 - told, not traced
        except BaseException as error:  # noqa: BLE001 - raised in the thread that asks
            self._error = error
        finally:
            self._has_ended.set()
