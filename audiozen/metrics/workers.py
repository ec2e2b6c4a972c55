"""Processes that do what they are told, and one that looks after them.

A process that has threads must not fork at any moment: what another thread holds just then, such as the lock of a
module or of the dynamic linker, nobody in the child will ever give back. So the calling process forks once, in the
thread that asks for workers. Its child, which has no other threads, forks the workers, and another one wherever one
dies. A child that got stuck all the same, before it could say that it is there, is replaced.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import itertools
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any, NoReturn

from audiozen.errors import WorkerDied
from audiozen.metrics.answers import answer, cause_of_death
from audiozen.metrics.blas import blas_libraries

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection

    from threadpoolctl import ThreadpoolController

assert sys.platform == "linux"  # elsewhere, see spawned_workers

NICENESS = 5
"""Workers give way to the process that feeds them: a model that waits for a core holds up everything."""
PATIENCE = 1.0
"""Seconds between two looks at whether another process still lives, where nothing is heard of it."""
PRELOADED = ("pesq",)
"""Imported once for all workers, where they are installed."""

START_TIMEOUT = 30.0
"""Seconds within which the process that looks after the workers has imported what they need."""
NUM_TRIES = 3

NO_MORE = b""
READY = b"ready"
ENDED_WELL = 113
"""Exit code of a worker that was told to end."""


class Workers:
    """A number of worker processes, each at the end of a pipe. Any thread may call them, one thread each.

    Args:
        num: how many.
    """

    def __init__(self, num: int) -> None:
        self._num = num
        self._numbers = itertools.count()
        self._starting, self._reaping = threading.Lock(), threading.Lock()
        self._is_ready = False
        self._fork_keeper()

    def _fork_keeper(self) -> None:
        import threadpoolctl  # here, as the child had better not need to load anything, nor look for libraries

        blas_libraries()
        libraries = threadpoolctl.ThreadpoolController()
        pipes = [multiprocessing.Pipe() for _ in range(self._num + 1)]
        self._news, *self._connections = ours = [end for end, _ in pipes]
        news, *connections = theirs = [end for _, end in pipes]

        def child() -> None:
            for connection in ours:
                connection.close()
            _settle_down(libraries)
            _keep(connections, news)

        self._keeper, self._is_alive = _fork(child), True
        for connection in theirs:
            connection.close()

    def _wait_until_ready(self) -> None:
        """Wait for the first word of the keeper; fork another one where it does not come."""
        with self._starting:
            for _ in range(NUM_TRIES):
                if self._is_ready:
                    return
                if self._news.poll(START_TIMEOUT):
                    self._news.recv_bytes()
                    self._is_ready = True
                else:
                    os.kill(self._keeper, signal.SIGKILL)
                    os.waitpid(self._keeper, 0)
                    self._fork_keeper()
            if not self._is_ready:
                raise EOFError

    def call(self, worker: int, content: bytes) -> Any:
        """What a function returns in a worker; what it raises is raised.

        Args:
            worker: its number, from 0.
            content: function and arguments, pickled.

        Raises:
            WorkerDied: the worker ended before it had a result. There is another one now.
        """
        try:
            self._wait_until_ready()
            connection, number = self._connections[worker], next(self._numbers)
            while connection.poll():  # of one that died when it had nothing to do
                connection.recv_bytes()
            connection.send_bytes(number.to_bytes(8, "big"))
            connection.send_bytes(content)
            succeeded, value = self._await(connection, number)
        except (EOFError, OSError) as error:
            raise WorkerDied("the process that looks after the workers has ended") from error
        if not succeeded:
            raise value
        return value

    def _await(self, connection: Connection, number: int) -> tuple[bool, Any]:
        """The answer to a task, or (without a number) the news that whoever was at it has died."""
        while True:
            while not connection.poll(PATIENCE):
                if not self.are_alive():
                    raise EOFError
            answers, succeeded, value = pickle.loads(connection.recv_bytes())  # noqa: S301 - from our own child
            if answers in (number, None):
                return succeeded, value

    def are_alive(self) -> bool:
        """Whether the process that looks after them is there."""
        with self._reaping:
            if self._is_alive:
                try:
                    process, _ = os.waitpid(self._keeper, os.WNOHANG)
                    self._is_alive = process == 0
                except ChildProcessError:
                    self._is_alive = False
            return self._is_alive

    def close(self) -> None:
        """End all of them, when they have done what they are at."""
        if not self._is_ready:  # nobody has asked it for anything, or it is stuck
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._keeper, signal.SIGKILL)
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.send_bytes(NO_MORE)
        with self._reaping, contextlib.suppress(ChildProcessError):
            if self._is_alive:
                os.waitpid(self._keeper, 0)
            self._is_alive = False
        for connection in (self._news, *self._connections):
            connection.close()


def _fork(child: Callable[[], object]) -> int:
    """Number of a new process that calls ``child`` and ends."""
    for stream in (sys.stdout, sys.stderr):  # else what they hold would be written by both
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads: see above
        process = os.fork()
    if process == 0:
        _end_after(child)
    return process


def _end_after(child: Callable[[], object]) -> NoReturn:
    """Nothing of the parent's must run on here: no ``finally``, no exit handler."""
    try:
        child()
    except BaseException:  # noqa: BLE001 - there is nobody to tell
        os._exit(1)
    os._exit(ENDED_WELL)


# ---- the process that looks after the workers ---------------------------------------------------------


def _keep(connections: Sequence[Connection], news: Connection) -> None:
    """Fork the workers, and another one wherever one dies, until all were told to end or the parent has died."""
    parent = os.getppid()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    workers = {_fork_worker(connection, connections): connection for connection in connections}
    news.send_bytes(READY)
    while workers and os.getppid() == parent:
        signal.sigtimedwait([signal.SIGCHLD], PATIENCE)
        while workers:
            process, status = os.waitpid(-1, os.WNOHANG)
            if process == 0:
                break
            connection = workers.pop(process)
            exit_code = os.waitstatus_to_exitcode(status)
            if exit_code != ENDED_WELL:
                connection.send_bytes(
                    pickle.dumps((None, False, WorkerDied(cause_of_death(exit_code))))
                )
                workers[_fork_worker(connection, connections)] = connection
    for process in workers:  # which nobody waits for any more
        os.kill(process, signal.SIGKILL)


def _settle_down(libraries: ThreadpoolController) -> None:
    """Leave signals to the parent, take one thread, give way, and import what the workers will need.

    Args:
        libraries: those with threads that are loaded. The others read the environment.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent ends its workers
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    gc.freeze()  # what was inherited is not this process's to destroy
    os.nice(NICENESS)
    libraries.limit(limits=1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
    for package in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(package)


# ---- the workers --------------------------------------------------------------------------------------


def _fork_worker(connection: Connection, connections: Sequence[Connection]) -> int:
    def work() -> None:
        for other in connections:
            if other is not connection:
                other.close()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
        with contextlib.suppress(EOFError, OSError):
            _work(connection, keeper)

    keeper = os.getpid()
    return _fork(work)


def _work(connection: Connection, keeper: int) -> None:
    while _is_called(connection, keeper) and (number := connection.recv_bytes()) != NO_MORE:
        function, args = pickle.loads(connection.recv_bytes())  # noqa: S301 - from the process that forked us
        connection.send_bytes(answer(int.from_bytes(number, "big"), function, args))
        del function, args


def _is_called(connection: Connection, keeper: int) -> bool:
    """Wait for a task; False if nobody is there any more."""
    while not connection.poll(PATIENCE):
        if os.getppid() != keeper:
            return False
    return True
