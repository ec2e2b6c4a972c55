"""Every operation on the disk fails once, in every way: with an error, half done, or with the end of the process."""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from audiozen.trainer.checkpoint import CheckpointStore
from tests.faults.disk import FAILURES, Failing, Gone, Unflushed, in_place_of_os
from tests.faults.history import HISTORY, MAX_NUM_CHECKPOINTS, Past, check, check_reading
from tests.faults.table import Row, tally

if TYPE_CHECKING:
    from collections.abc import Iterator

NUM_SAMPLED = 30


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
        except Gone:
            return
        if not succeeded:
            look(root, past)


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
