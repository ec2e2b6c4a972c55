"""Worker processes of data loaders: how they start, what they send, and what is told when one dies."""

from __future__ import annotations

import errno
import os
import pickle
import re
import signal
import sys
import threading
import time
import traceback
from contextlib import contextmanager
from multiprocessing import parent_process
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import get_worker_info

from audiozen.errors import TrainingError
from audiozen.processes.memory import keep_freed_memory
from audiozen.system.signals import known_signals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_SECONDS_TO_DIE = 1.0

# What PyTorch says. It raises the first one from a signal handler: wherever the main process happens to be.
_DEATH = re.compile(
    r"DataLoader worker \(pid(?:\(s\))? (?P<pid>[\d, ]+)\) "
    r"(?:is killed by signal: (?P<signal>[^.]+)|exited unexpectedly(?: with exit code (?P<code>\d+))?)"
)
_NO_SHARED_MEMORY = re.compile(r"unable to (?:\w+ )+(?:shared memory|file <?/torch_)[^\n]*")

_LARGER = (
    "mount a larger /dev/shm (docker run --shm-size=8g), or lower num_workers, prefetch_factor or "
    "batch_size"
)
_CAUSES = {
    "Killed": "most likely by the kernel, because memory ran out (its log, dmesg, says so); lower "
    "num_workers, prefetch_factor or batch_size, or ask for more memory",
    "Bus error": f"most likely because the shared memory in /dev/shm is full; {_LARGER}",
}
_OTHER_CAUSE = (
    "most likely by a library that the dataset uses; num_workers=0 shows where, and PYTHONFAULTHANDLER=1 "
    "prints where a worker was"
)
_GO_ON = "Go on from the last checkpoint with --resume."


def worker_death(error: BaseException) -> TrainingError | None:
    """What an error means, if it tells that a worker process died or that shared memory is full.

    Args:
        error: any. What caused it is looked at as well: PyTorch may tell of a death twice, and the first time better.

    Returns:
        The error to raise in its place: which process, why probably, and what to do. None: it means something else.
    """
    chain = _origin_first(error)
    if any(_is_about_semaphores(e) for e in chain):
        return TrainingError(
            f"data-loader workers cannot be started, as the shared memory is full: {_LARGER}. {_GO_ON}"
        )
    told = "\n".join(str(e) for e in chain if isinstance(e, RuntimeError))
    if full := _NO_SHARED_MEMORY.search(told):
        return TrainingError(
            "the shared memory through which data-loader workers hand over their batches is full "
            f"({full[0]}): {_LARGER}. {_GO_ON}"
        )
    death = _DEATH.search(told)
    return None if death is None else TrainingError(_death_text(death))


def _origin_first(error: BaseException | None) -> list[BaseException]:
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.insert(0, error)
        error = error.__cause__ or error.__context__
    return chain


def _is_about_semaphores(error: BaseException) -> bool:
    """Whether the queues of a worker could not be made, which lie in shared memory."""
    if not isinstance(error, OSError) or error.errno != errno.ENOSPC:
        return False
    frames = traceback.extract_tb(error.__traceback__)
    return any(Path(frame.filename).name == "synchronize.py" for frame in frames)


def _death_text(death: re.Match[str]) -> str:
    who = f"a data-loader worker (process {death['pid']})"
    if death["signal"]:
        cause = _CAUSES.get(death["signal"], _OTHER_CAUSE)
        return f"{who} was killed ({death['signal']}), {cause}. {_GO_ON}"
    how = f"ended with exit code {death['code']}" if death["code"] else "died"
    return f"{who} {how}, {_OTHER_CAUSE}. {_GO_ON}"


@contextmanager
def dead_workers_told() -> Iterator[None]:
    """Inside, the death of a data-loader worker is a TrainingError that says why probably, and what to do.

    To be put around everything that runs while there are workers: PyTorch tells of a death from a signal handler, so
    its RuntimeError may come out of any line of the main thread.
    """
    try:
        yield
    except Exception as error:
        try:
            death = worker_death(error) or _death_that_follows(error)
        except RuntimeError as told:  # by the signal handler, a moment later
            death = worker_death(told)
        if death is None:
            raise
        raise death from error


def _death_that_follows(error: Exception) -> TrainingError | None:
    """A worker that dies while it hands over a batch breaks the connection, and is told a moment later, if at all."""
    if not isinstance(error, ConnectionError | EOFError) or not _is_of_a_worker(error):
        return None
    time.sleep(MAX_SECONDS_TO_DIE)  # ends when PyTorch's signal handler raises
    return TrainingError(
        f"a data-loader worker died ({type(error).__name__} while it handed over a batch), most likely because memory "
        f"ran out, or by a library that the dataset uses. {_GO_ON}"
    )


def _is_of_a_worker(error: Exception) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    return any(frame.name == "_try_get_data" for frame in frames)


def move_to_shared_memory(batch: Any) -> None:
    """Move the tensors of a batch to where another process finds them.

    PyTorch does it in a thread of the worker, whose errors reach nobody: where shared memory is full, or the batch
    has something that cannot be pickled, the main process waits for ever.
    """
    _TensorSharer(_Nowhere()).dump(batch)


class _TensorSharer(ForkingPickler):
    """Meets everything in an object as pickling it does, shares the tensors, and keeps no byte."""

    def __init__(self, target: _Nowhere) -> None:
        # Large arrays are handed to the callback instead of being copied.
        super().__init__(target, pickle.HIGHEST_PROTOCOL, True, lambda _: False)

    def persistent_id(self, part: Any) -> str | None:
        if not isinstance(part, torch.Tensor):
            return None
        if part.layout == torch.strided and part.device.type == "cpu":
            part.share_memory_()  # type: ignore[no-untyped-call]  # PyTorch states no types
        return "tensor"


class _Nowhere:
    def write(self, content: Any) -> int:
        return len(content)


class WorkerStart:
    """Runs first in each worker: signals, memory, the dataset that users know, then their
    ``worker_init_fn``.

    Args:
        worker_init_fn: what the user gave, or None.
    """

    def __init__(self, worker_init_fn: Callable[[int], None] | None) -> None:
        self._worker_init_fn = worker_init_fn

    def __call__(self, worker_id: int) -> None:
        """Called by PyTorch, with the number of the worker."""
        _leave_signals_to_the_main_process()
        keep_freed_memory()
        info: Any = get_worker_info()
        # A worker_init_fn opens or sets something on get_worker_info().dataset, which is frozen,
        # and means its own.
        object.__setattr__(info, "dataset", info.dataset.dataset)
        if self._worker_init_fn is not None:
            self._worker_init_fn(worker_id)


def _leave_signals_to_the_main_process() -> None:
    """Keep a worker alive when all processes are told to stop.

    Schedulers, terminals and ``systemd`` signal workers as well, and the main process, which wants
    to end an epoch or an evaluation in good order, would find them dead.
    """
    for number in known_signals("SIGINT", "SIGUSR1", "SIGBREAK"):
        signal.signal(number, lambda *_: None)
    if sys.platform == "linux":  # elsewhere, nobody learns who sent a signal
        # Only a thread that waits for a signal learns who sent it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_the_main_process_says_so, daemon=True).start()


def _end_when_the_main_process_says_so() -> None:
    main_process = parent_process()
    assert main_process is not None
    if sys.platform == "linux":
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != main_process.pid:
            pass
    os._exit(0)
