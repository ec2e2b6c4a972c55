"""The same as ``workers``, for systems where processes are not forked: each worker starts from nothing.

That takes seconds and more memory, and a worker knows only functions of modules that it can import.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import pickle
import signal
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from audiozen.errors import WorkerDied
from audiozen.metrics.answers import answer, cause_of_death

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

NO_MORE = b""


class Workers:
    """A number of worker processes, each at the end of a pipe. Any thread may call them, one thread each.

    Args:
        num: how many.
    """

    def __init__(self, num: int) -> None:
        self._workers = [_started() for _ in range(num)]

    def call(self, worker: int, content: bytes) -> Any:
        """What a function returns in a worker; what it raises is raised.

        Args:
            worker: its number, from 0.
            content: function and arguments, pickled.

        Raises:
            WorkerDied: the worker ended before it had a result. There is another one now.
        """
        if not self._workers[worker].process.is_alive():  # it died when it had nothing to do
            self._replace(worker)
        process, connection = self._workers[worker]
        try:
            connection.send_bytes(content)
            _, succeeded, value = pickle.loads(connection.recv_bytes())  # noqa: S301 - from our own child
        except (EOFError, OSError) as error:
            self._replace(worker)
            raise WorkerDied(cause_of_death(process.exitcode)) from error
        if not succeeded:
            raise value
        return value

    def _replace(self, worker: int) -> None:
        _end(self._workers[worker])
        self._workers[worker] = _started()

    def close(self) -> None:
        """End all of them, when they have done what they are at."""
        for worker in self._workers:
            with contextlib.suppress(OSError):
                worker.connection.send_bytes(NO_MORE)
        for worker in self._workers:
            _end(worker)


class _Worker(NamedTuple):
    process: BaseProcess
    connection: Any
    """Connection on POSIX, PipeConnection on Windows."""


def _started() -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=[theirs], daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _end(worker: _Worker) -> None:
    worker.process.join()
    worker.connection.close()


def _work(connection: Any) -> None:
    """Do one task after the other, until there are no more or the parent has died."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent ends its workers
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
    with contextlib.suppress(EOFError, OSError):
        while (content := connection.recv_bytes()) != NO_MORE:
            connection.send_bytes(answer(0, _done, (content,)))


def _done(content: bytes) -> Any:
    function, args = pickle.loads(content)  # noqa: S301 - from the process that started us
    _take_one_thread()
    return function(*args)


@functools.cache
def _take_one_thread() -> None:
    """Of the libraries that the first task has loaded. Others read the environment."""
    import threadpoolctl

    threadpoolctl.threadpool_limits(limits=1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
