"""Every operation on the disk fails once, in every way: with an error, half done, or with the end of the process."""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from audiozen.trainer.checkpoint import CheckpointStore
from tests.faults.disk import FAILURES, Failing, Gone, Unflushed, in_place_of_os
from tests.faults.history import HISTORY, MAX_NUM_CHECKPOINTS, Past, check, check_reading
from tests.faults.table import Row, tally

if TYPE_CHECKING:
    from collections.abc import Iterator

NUM_SAMPLED = 12
CHANGES_OF_THE_DISK = (
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.symlink",
    "os.link",
    "os.truncate",
)
"""What Python tells its audit hooks of, besides ``open``."""


class Watched(Unflushed):
    """Notes what changes the disk in another way than through ``durable_files``."""

    def __init__(self) -> None:
        self.inside = False
        self.past: list[str] = []

    def do(self, name: str, operation: Any, *args: Any) -> Any:
        self.inside = True
        try:
            return super().do(name, operation, *args)
        finally:
            self.inside = False

    def hear(self, event: str, args: tuple[Any, ...]) -> None:
        """An audit hook."""
        writes = event == "open" and bool(args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        writes = writes and args[0] != os.devnull  # files that are read ahead are sent there
        if not self.inside and (writes or event in CHANGES_OF_THE_DISK):
            self.past.append(f"{event} {args}")


def operations_past_the_seam() -> list[str]:
    """What a store does that neither these drills nor a recording would see. Its hook stays in the process."""
    watched = Watched()
    with tempfile.TemporaryDirectory() as folder, in_place_of_os(watched):
        root = Path(folder) / "checkpoints"
        sys.addaudithook(watched.hear)
        make_calls(root, Past())
        watched.do("unlink", os.unlink, root / "six" / "model.safetensors")
        CheckpointStore(root).newest_good()
        found = list(watched.past)
        watched.inside = True  # hears no more
    return found


def fail_at(n: int, failure: str) -> None:
    """Let the n-th operation fail, and check what is there then, and in the end."""
    failing, past = Failing(n, failure), Past()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "checkpoints"
        with in_place_of_os(failing):
            make_calls(root, past)
        assert failing.failed, f"there are fewer than {n} operations"
        with in_place_of_os(Unflushed()):
            check(root, past)


def make_calls(root: Path, past: Past) -> None:
    """All calls, one after the other, as long as there is a process."""
    store = CheckpointStore(root, max_num_checkpoints=MAX_NUM_CHECKPOINTS)
    for call in HISTORY:
        try:
            succeeded = past.attempt(call, store)
            if not succeeded:
                look(root, past)
                past.attempt(call, store)  # as a trainer does that depends on it
        except Gone:
            return


def look(root: Path, past: Past) -> None:
    """What a run that is started at this moment would find, without changing anything."""
    with tempfile.TemporaryDirectory() as folder, in_place_of_os(Unflushed()):
        copy = Path(folder) / "checkpoints"
        if root.exists():
            shutil.copytree(root, copy, symlinks=True)
        check_reading(copy, past)


def num_operations() -> int:
    """How many operations there are where none fails."""
    counting, past = Failing(0, FAILURES[0]), Past()
    with tempfile.TemporaryDirectory() as folder, in_place_of_os(counting):
        make_calls(Path(folder) / "checkpoints", past)
    assert past.done == HISTORY
    return counting.count


def drill(failure: str, *, long: bool, seed: int) -> Row:
    """Each operation with one failure; or a sample of them."""
    places = range(1, num_operations() + 1)
    if not long:
        places = sorted(random.Random(f"{seed} {failure}").sample(places, NUM_SAMPLED))
    return tally(f"file operation: {failure}", fail_at, [(n, failure) for n in places])


def drills(long: bool, seed: int) -> Iterator[Row]:
    """All failures."""
    for failure in FAILURES:
        yield drill(failure, long=long, seed=seed)


@pytest.mark.parametrize("failure", FAILURES)
def test_whatever_operation_fails_the_old_or_the_new_checkpoint_is_there(failure):
    row = drill(failure, long=False, seed=1)
    assert row.survived == row.tried, row.detail


def test_no_operation_is_made_elsewhere(fresh_process):
    assert fresh_process.submit(operations_past_the_seam).result() == []
