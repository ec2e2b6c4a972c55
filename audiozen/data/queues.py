"""Queues of data loaders that spare the training process work for each batch.

Those of Python start a thread that wakes up for each message, and make a new selector for each that is waited for.
"""

from __future__ import annotations

import copy
import multiprocessing
import os
import select
import sys
import weakref
from functools import partial
from multiprocessing.queues import Queue
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.context import BaseContext

assert sys.platform != "win32"  # whose pipes cannot be polled

LENGTH_SIZE = 4
"""Bytes in front of each message."""


class QuickQueue(Queue):  # type: ignore[type-arg]  # has no type arguments at run time
    """The same, but the process that made it sends what is small by itself, as long as that need not wait.

    From the first message that is large or finds no room, all go through the thread, so that they stay in order.
    """

    _reader: Any
    _writer: Any
    _thread: Any
    _closed: bool
    _opid: int
    _sem: Any
    _wlock: Any
    _send_bytes: Callable[[Any], None]

    def _reset(self, after_fork: bool = False) -> None:
        """Called by Python wherever this object comes to be."""
        super()._reset(after_fork)  # type: ignore[misc]  # not in Python's stubs
        # A data loader that becomes garbage tells its workers to end, and by then its connections must not have been
        # closed as the same garbage. Python's thread holds them for as long.
        weakref.finalize(self, _let_go, self._reader, self._writer).atexit = False
        self._poll = _poller(self._reader, select.POLLIN)
        self._has_room = _poller(self._writer, select.POLLOUT)

    def put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        """Send ``obj``; see Python's."""
        if self._thread or self._closed or self._opid != os.getpid() or not self._is_sent(obj):
            super().put(obj, block, timeout)

    def _is_sent(self, obj: Any) -> bool:
        """Whether it could be sent at once."""
        message = ForkingPickler.dumps(obj)
        if LENGTH_SIZE + len(message) > select.PIPE_BUF or not self._wlock.acquire(block=False):
            return False
        try:
            is_sent: bool = self._has_room() and self._sem.acquire(block=False)
            if is_sent:
                self._send_bytes(message)
            return is_sent
        finally:
            self._wlock.release()


def _poller(connection: Any, event: int) -> Callable[..., bool]:
    """A function that waits some seconds for an event, and tells whether there is one."""
    poll = select.poll()
    poll.register(connection, event)
    return partial(_is_ready, poll)


def _is_ready(poll: select.poll, seconds: float = 0.0) -> bool:
    events = poll.poll(max(0.0, 1e3 * seconds))  # less than none would be for ever
    return bool(events) and not events[0][1] & select.POLLNVAL


def _let_go(*connections: Any) -> None:
    """They were held until now."""


def with_quick_queues(context: BaseContext | None) -> BaseContext:
    """A context that starts processes in the same way, with these queues. None stands for the default."""
    quick: Any = copy.copy(context or multiprocessing.get_context())
    # Not ``quick`` itself, which would be garbage then.
    locks = multiprocessing.get_context(quick.get_start_method())
    quick.Queue = partial(QuickQueue, ctx=locks)
    same: BaseContext = quick
    return same
