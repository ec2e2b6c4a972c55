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
import pickle
import queue
import sys
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

from audiozen.errors import RequestError, WorkerDied
from audiozen.processes.cores import num_cores

__all__ = ["MetricPool"]

if sys.platform == "linux":
    from audiozen.metrics.workers import Workers
else:
    from audiozen.metrics.spawned_workers import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")
R = TypeVar("R")

MAX_PENDING_BYTES = 64 << 20
"""What waits to be computed: 128 signals of 4 s at 16 kHz."""


class MetricPool:
    """Runs functions in worker processes. They start with the first task, and end when the pool is closed.

    A worker that dies (PESQ can abort) takes only the task with it that it was at: its future raises
    :class:`~audiozen.errors.WorkerDied`, and another worker takes the place. BLAS, OpenMP and PyTorch have one thread
    in each worker. Workers are started by the first ``submit``. On Linux they are forked, so they know functions of any
    module; elsewhere they know those of modules that they can import.

    Args:
        num_workers: None: one per core that this process may use, on Linux; elsewhere none. 0: tasks run in this
            process, when they are submitted.
        max_pending_bytes: submitting waits while what has not been computed is larger than this.

    Raises:
        RequestError: a negative number of workers.
    """

    def __init__(
        self, num_workers: int | None = None, *, max_pending_bytes: int = MAX_PENDING_BYTES
    ) -> None:
        if num_workers is None:
            num_workers = num_cores() if sys.platform == "linux" else 0
        if num_workers < 0:
            raise RequestError(f"num_workers must be at least 0, got {num_workers}")
        self.num_workers = num_workers
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._room = _Room(max_pending_bytes)
        self._workers: Workers | None = None
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
        if self._workers is None:
            self._start()
        self._tasks.put(_Task(future, content))
        return future

    def close(self, *, cancel: bool = False) -> None:
        """End the workers when they have done what was submitted; with ``cancel``, what they have begun.

        The pool may be used again afterwards.
        """
        if self._workers is None:
            return
        if cancel:
            self._cancel()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()
        self._workers.close()
        self._workers, self._threads = None, []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close(cancel=kind is not None)

    def _start(self) -> None:
        workers = self._workers = Workers(self.num_workers)
        for number in range(self.num_workers):
            arguments = (self._tasks, workers, number)
            self._threads.append(threading.Thread(target=_serve, args=arguments, daemon=True))
            self._threads[-1].start()

    def _cancel(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                task = self._tasks.get_nowait()
                if task is not None:
                    task.future.cancel()


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


def _serve(tasks: queue.SimpleQueue[_Task | None], workers: Workers, number: int) -> None:
    """Hand one task after the other to one worker, in a thread of its own."""
    while (task := tasks.get()) is not None:
        if task.future.set_running_or_notify_cancel():
            _settle(task.future, lambda content=task.content: workers.call(number, content))  # type: ignore[misc]
        del task  # else its arrays would be kept until the next one comes


def _settle(future: Future[T], call: Callable[[], T]) -> None:
    try:
        future.set_result(call())
    except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
        future.set_exception(error)
