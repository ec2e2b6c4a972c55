from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from audiozen.data.loader import EvaluationLoader, TrainingLoader
from audiozen.data.workers import dead_workers_told, move_to_shared_memory, worker_death
from audiozen.errors import TrainingError


class Dying(Dataset):
    """Sample 3 kills who loads it."""

    def __init__(self, number: signal.Signals) -> None:
        self.number = number

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> int:
        if index == 3:
            os.kill(os.getpid(), self.number)
            time.sleep(10)
        return index


class Exiting(Dying):
    def __getitem__(self, index: int) -> int:
        if index == 3:
            os._exit(3)
        return index


# PyTorch counts free descriptors when a connection breaks, and its own signal handler interrupts it there.
interrupted_anywhere = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore:unclosed file:ResourceWarning"
)


def death_of(batches, seconds: float = 0) -> str:
    """What is told of it; seconds: how long each batch is worked on. A death meanwhile is always told in full."""
    try:
        with dead_workers_told():
            for _ in batches:
                time.sleep(seconds)
    except TrainingError as error:
        return str(error)
    return "nothing"


def loader(dataset: Dataset, **options) -> TrainingLoader:
    return TrainingLoader(DataLoader(dataset, num_workers=1, **options), seed=0)


# ---- a worker that dies -----------------------------------------------------------------------


@pytest.mark.parametrize("make", [TrainingLoader, EvaluationLoader])
def test_killed_worker_is_told_with_the_likely_cause_and_what_to_do(make):
    some = make(DataLoader(Dying(signal.SIGKILL), num_workers=1), seed=0)
    told = death_of(some.batches(0) if make is TrainingLoader else some, 0.3)
    assert told.startswith("a data-loader worker (process ")
    assert " was killed (Killed), most likely by the kernel, because memory ran out" in told
    assert "lower num_workers, prefetch_factor or batch_size" in told
    assert told.endswith("Go on from the last checkpoint with --resume.")


def test_bus_error_is_blamed_on_shared_memory():
    told = death_of(loader(Dying(signal.SIGBUS)).batches(0), 0.3)
    assert (
        "was killed (Bus error), most likely because the shared memory in /dev/shm is full" in told
    )
    assert "mount a larger /dev/shm" in told


@pytest.mark.parametrize(
    ("dataset", "how"),
    [
        (Dying(signal.SIGSEGV), "was killed (Segmentation fault)"),
        (Exiting(signal.SIGKILL), "ended with exit code 3"),
    ],
)
def test_other_deaths_are_blamed_on_the_code(dataset, how):
    told = death_of(loader(dataset).batches(0), 0.3)
    assert (
        f"{how}, most likely by a library that the dataset uses; num_workers=0 shows where" in told
    )


@interrupted_anywhere
@pytest.mark.parametrize("num_workers", [1, 2])
@pytest.mark.parametrize("delay", [0.0, 0.01, 0.3])
def test_worker_is_told_to_be_dead_whatever_the_main_process_does(num_workers, delay):
    dataloader = DataLoader(Dying(signal.SIGKILL), num_workers=num_workers)
    told = death_of(TrainingLoader(dataloader, seed=0).batches(0), delay)
    assert told.startswith("a data-loader worker ")


@interrupted_anywhere
@pytest.mark.parametrize("handler", ["PyTorch's", "none"])
def test_worker_that_dies_while_it_hands_over_a_batch_is_told(handler):
    before = multiprocessing.active_children()
    batches = loader(Sound()).batches(0)
    next(batches)
    (worker,) = (child for child in multiprocessing.active_children() if child not in before)
    time.sleep(0.2)  # the next batches are announced; to fetch them, the worker must answer
    os.kill(worker.pid, signal.SIGSTOP)
    usual = signal.getsignal(signal.SIGCHLD)
    if handler == "none":
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    threading.Timer(0.2, worker.kill).start()
    try:
        assert death_of(batches).startswith("a data-loader worker ")
    finally:
        signal.signal(signal.SIGCHLD, usual)


class Sound(Dying):
    def __init__(self) -> None:
        pass

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.zeros(100)


def test_broken_connection_of_something_else_stays_what_it_is():
    with pytest.raises(ConnectionResetError), dead_workers_told():
        raise ConnectionResetError


def test_death_that_became_another_error_is_still_told():
    with (
        pytest.raises(TrainingError, match=r"\(process 7\) was killed \(Killed\)"),
        dead_workers_told(),
    ):
        save_badly()


def save_badly() -> None:
    try:
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
    except RuntimeError as error:
        raise OSError("cannot save") from error


def test_death_that_pytorch_finds_by_itself_is_known():
    error = worker_death(RuntimeError("DataLoader worker (pid(s) 12, 13) exited unexpectedly"))
    assert str(error).startswith("a data-loader worker (process 12, 13) died, most likely by")


@pytest.mark.parametrize(
    "error", [RuntimeError("mat1 and mat2 cannot be multiplied"), ValueError("DataLoader worker")]
)
def test_other_errors_stay_what_they_are(error):
    assert worker_death(error) is None
    with pytest.raises(type(error)) as caught, dead_workers_told():
        raise error
    assert caught.value is error


# ---- shared memory ----------------------------------------------------------------------------

LARGE = """
import torch
from torch.utils.data import DataLoader, Dataset
from audiozen.data import slots
from audiozen.data.loader import TrainingLoader
from audiozen.data.workers import dead_workers_told
from audiozen.errors import TrainingError

class Large(Dataset):
    def __len__(self):
        return 4
    def __getitem__(self, index):
        return torch.ones(2**20)

slots.SLOT_SIZE = {slot_size}
dataloader = DataLoader(Large(), num_workers=1, {options})
try:
    with dead_workers_told():
        print(len(list(TrainingLoader(dataloader, seed=0).batches(0))))
except TrainingError as error:
    print(error)
"""

OPTIONS = {"collated by PyTorch": "batch_size=2", "collated by users": "collate_fn=tuple"}


def in_a_small_shared_memory(code: str) -> subprocess.CompletedProcess[str]:
    """Run code where ``/dev/shm`` has 1 MiB; nobody else sees it."""
    mounted = 'mount -t tmpfs -o size=1m tmpfs /dev/shm || exit 77; exec "$0" "$@"'
    command = ["unshare", "--mount", "sh", "-c", mounted, sys.executable, "-c", code]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:
        pytest.skip("unshare is not installed")
    if run.returncode == 77 or "unshare" in run.stderr:
        pytest.skip(f"nothing can be mounted here: {run.stderr.strip()}")
    assert run.returncode == 0, run.stderr
    return run


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_full_shared_memory_is_told_and_nothing_waits_for_ever(options):
    run = in_a_small_shared_memory(LARGE.format(options=options, slot_size=4096))
    if torch.__version__ < "2.10":  # which asks for no room before it writes
        killed = (
            r"a data-loader worker \(process \d+\) was killed \(Bus error\), most likely because"
        )
        assert re.match(killed, run.stdout)
    else:
        full = "the shared memory through which data-loader workers hand over"
        assert run.stdout.startswith(full)
        assert "No space left on device" in run.stdout
    assert "mount a larger /dev/shm (docker run --shm-size=8g), or lower num_workers" in run.stdout


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_batches_in_slots_need_no_more_shared_memory_than_there_is(options):
    run = in_a_small_shared_memory(LARGE.format(options=options, slot_size=2**28))
    assert run.stdout == ("2\n" if "batch_size" in options else "4\n")


def test_tensors_anywhere_in_a_batch_are_shared_and_keep_their_values():
    owner = torch.arange(6.0)
    parts = {"a": [owner[::2], np.zeros(3)], "b": torch.nn.Parameter(torch.ones(2)), "c": {"d": 1}}
    move_to_shared_memory(parts)
    assert parts["a"][0].is_shared()
    assert parts["b"].is_shared()
    assert parts["a"][0].tolist() == [0, 2, 4]


class Unsendable(Dying):
    def __getitem__(self, index: int):
        return lambda: index


def test_batch_that_cannot_be_sent_is_an_error_and_nothing_waits_for_ever():
    dataloader = DataLoader(Unsendable(signal.SIGKILL), num_workers=1, collate_fn=list)
    with pytest.raises(Exception, match=r"pickle|local object"):
        list(TrainingLoader(dataloader, seed=0).batches(0))
