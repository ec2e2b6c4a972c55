"""Worker processes that compute slow metrics while the model goes on.

::

    with MetricPool() as pool:
        scorer = Scorer(["si_sdr", "pesq_wb", "stoi"])
        futures = [scorer.submit(pool, model(noisy), clean) for noisy, clean in batches]
        tables = [future.result() for future in futures]

What is computed does not depend on the number of workers: each task sees its own arguments only.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import multiprocessing
import os
import pickle
import queue
import signal
import sys
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

from audiozen.errors import RequestError, WorkerDied
from audiozen.processes.cores import num_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import BaseContext

T = TypeVar("T")
R = TypeVar("R")

logger = logging.getLogger(__name__)

MAX_PENDING_BYTES = 64 << 20
"""What waits to be computed: 128 signals of 4 s at 16 kHz."""
NICENESS = 5
"""Workers give way to the process that feeds them: a model that waits for a core holds up everything."""
PATIENCE = 1.0
"""Seconds between two looks at whether the other side still lives, where nothing is heard of it."""

_NO_MORE = b""

_starting = threading.Lock()
"""Processes are forked one at a time: a child must not inherit the pipe of another that is being made."""


class MetricPool:
    """Runs functions in worker processes. Workers start with the first task, and are used again.

    A worker that dies (PESQ can abort) takes only the task with it that it was at: its future raises
    :class:`~audiozen.errors.WorkerDied`, and another worker takes the place. BLAS, OpenMP and PyTorch
    have one thread in each worker.

    Workers are forked where the system forks, so that they know functions of any module; elsewhere
    they import it, as those of PyTorch's dataloaders do.

    Args:
        num_workers: None: one per core that this process may use. 0: tasks run in this process, when they are
            submitted.
        max_pending_bytes: submitting waits while what has not been computed is larger than this.

    Raises:
        RequestError: a negative number of workers.
    """

    def __init__(
        self, num_workers: int | None = None, *, max_pending_bytes: int = MAX_PENDING_BYTES
    ) -> None:
        self.num_workers = num_cores() if num_workers is None else num_workers
        if self.num_workers < 0:
            raise RequestError(f"num_workers must be at least 0, got {num_workers}")
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._room = _Room(max_pending_bytes)
        self._threads: list[threading.Thread] = []

    def submit(self, function: Callable[..., T], *args: Any) -> Future[T]:
        """Let a worker call ``function(*args)``; wait first if too much is pending.

        Args:
            function: of a module, and such that it can be pickled, as its arguments and result.
            args: copied here; they may be changed as soon as this has returned.

        Returns:
            Raises, when asked for its result, what the function raised, or :class:`~audiozen.errors.WorkerDied`.
        """
        future: Future[T] = Future()
        if self.num_workers == 0:
            _settle(future, lambda: function(*args))
            return future
        content = pickle.dumps((function, args), protocol=pickle.HIGHEST_PROTOCOL)
        self._room.enter(len(content))
        future.add_done_callback(lambda _: self._room.leave(len(content)))
        self._start()
        self._tasks.put(_Task(future, content))
        return future

    def close(self, *, cancel: bool = False) -> None:
        """End the workers when they have done what was submitted; with ``cancel``, what they have begun.

        The pool may be used again afterwards.
        """
        threads, self._threads = self._threads, []
        if cancel:
            self._cancel()
        for _ in threads:
            self._tasks.put(None)
        for thread in threads:
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close(cancel=kind is not None)

    def _start(self) -> None:
        while len(self._threads) < self.num_workers:
            thread = threading.Thread(target=_serve, args=(self._tasks,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _cancel(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                task = self._tasks.get_nowait()
                if task is not None:
                    task.future.cancel()


class _Task(NamedTuple):
    future: Future[Any]
    content: bytes
    """Function and arguments, pickled."""


class _Room:
    """Lets in what fits. Something that is larger than everything gets in alone."""

    def __init__(self, size: int) -> None:
        self._size, self._taken = size, 0
        self._changed = threading.Condition()

    def enter(self, size: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._taken == 0 or self._taken + size <= self._size)
            self._taken += size

    def leave(self, size: int) -> None:
        with self._changed:
            self._taken -= size
            self._changed.notify()


def gathered(parts: Sequence[Any], finish: Callable[[list[Any]], R]) -> Future[R]:
    """A future of what ``finish`` makes of all results.

    Args:
        parts: futures, and results that are there already.
        finish: gets the results in the order of the parts; a :class:`~audiozen.errors.WorkerDied` is one of them.
    """
    combined: Future[R] = Future()
    futures = [part for part in parts if isinstance(part, Future)]
    num_pending, counting = len(futures), threading.Lock()

    def result_of(part: Any) -> Any:
        try:
            return part.result() if isinstance(part, Future) else part
        except WorkerDied as error:
            return error

    def count_down(_: object = None) -> None:
        nonlocal num_pending
        with counting:
            num_pending -= 1
            is_last = num_pending == 0
        if is_last:
            _settle(combined, lambda: finish([result_of(part) for part in parts]))

    num_pending += 1  # this function itself
    for future in futures:
        future.add_done_callback(count_down)
    count_down()
    return combined


# ---- in the threads of the process that submits: one thread for each worker ------------------------


def _serve(tasks: queue.SimpleQueue[_Task | None]) -> None:
    """Hand one task after the other to a worker of this thread's own."""
    worker: _Worker | None = None
    while (task := tasks.get()) is not None:
        if not task.future.set_running_or_notify_cancel():
            continue
        if worker is None:
            worker = _Worker()
        _settle(task.future, lambda task=task, worker=worker: worker.call(task.content))  # type: ignore[misc]
        if not worker.is_alive():
            worker = None
        del task  # else its arrays would be kept until the next one comes
    if worker is not None:
        worker.stop()


def _settle(future: Future[T], call: Callable[[], T]) -> None:
    try:
        future.set_result(call())
    except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
        future.set_exception(error)


class _Worker:
    """A process that does one task after the other, and the pipe to it."""

    def __init__(self) -> None:
        context = _context()
        with _starting:
            self._connection, theirs = context.Pipe()
            # What a Process of this context is, its stubs do not say.
            self._process = context.Process(  # type: ignore[attr-defined]
                target=_work, args=(theirs, os.getpid()), daemon=True
            )
            self._process.start()
            theirs.close()

    def call(self, content: bytes) -> Any:
        """What the function in a task returns; what it raises is raised.

        Raises:
            WorkerDied: the process ended before it had a result.
        """
        try:
            self._connection.send_bytes(content)
            while not self._connection.poll(PATIENCE):
                if not self._process.is_alive():
                    raise EOFError
            succeeded, value = pickle.loads(self._connection.recv_bytes())  # noqa: S301 - from our own process
        except (EOFError, OSError) as error:
            self._process.join()
            raise WorkerDied(_cause_of_death(self._process.exitcode)) from error
        if not succeeded:
            raise value
        return value

    def is_alive(self) -> bool:
        """Whether it can take another task."""
        return bool(self._process.is_alive())

    def stop(self) -> None:
        """End it; it has nothing to do."""
        with contextlib.suppress(OSError):
            self._connection.send_bytes(
                _NO_MORE
            )  # closing says nothing: the child has a copy of this end
        self._process.join()
        self._connection.close()


def _context() -> BaseContext:
    return multiprocessing.get_context("fork" if sys.platform == "linux" else None)


def _cause_of_death(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"the process that computed it was ended by {signal.Signals(-exit_code).name}"
    return f"the process that computed it ended with the exit code {exit_code}"


# ---- in the workers ---------------------------------------------------------------------------------


def _work(connection: Connection, parent: int) -> None:
    _settle_down()
    with contextlib.suppress(EOFError, BrokenPipeError):
        while _is_called(connection, parent) and (content := connection.recv_bytes()) != _NO_MORE:
            connection.send_bytes(_outcome(*pickle.loads(content)))  # noqa: S301 - from the parent


def _settle_down() -> None:
    """Leave signals to the parent, take one thread, and give way."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent ends its workers
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    gc.freeze()  # what was inherited is not this process's to destroy
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    limit_threads()


def limit_threads() -> None:
    """One thread for BLAS, OpenMP and, where it is loaded, PyTorch: several workers share the cores."""
    import threadpoolctl

    threadpoolctl.threadpool_limits(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _is_called(connection: Connection, parent: int) -> bool:
    """Wait for a task; False if the parent died, whose pipe others may hold open."""
    while not connection.poll(PATIENCE):
        if os.getppid() != parent:
            return False
    return True


def _outcome(function: Callable[..., Any], args: tuple[Any, ...]) -> bytes:
    """Whether it succeeded, and what it returned or raised, pickled."""
    try:
        return pickle.dumps((True, function(*args)))
    except Exception as error:  # noqa: BLE001 - it is raised in the process that asks for the result
        return pickle.dumps((False, _portable(error)))


def _portable(error: Exception) -> Exception:
    """An error that arrives as it is, or else its text."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - what was just written
    except Exception:  # noqa: BLE001 - exceptions of other packages may do anything
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
