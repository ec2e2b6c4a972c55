"""The power goes at any moment, and takes with it what was not flushed; also where a disk changes the order."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from audiozen.trainer.checkpoint import CheckpointStore
from tests.faults.disk import (
    Change,
    PowerLoss,
    Recording,
    Tree,
    Unflushed,
    build,
    frozen,
    in_place_of_os,
    power_losses,
    tree_after,
)
from tests.faults.history import HISTORY, MAX_NUM_CHECKPOINTS, Past, check
from tests.faults.table import Row, tally

if TYPE_CHECKING:
    from collections.abc import Iterator

NUM_SAMPLED = 60
KINDS = {"in order": True, "each folder by itself": False}
"""In which order changes of names reach the disk: as in a journal, or any that the flushes allow."""


class Recorded(NamedTuple):
    """What a run did to the disk.

    Attributes:
        log: each change.
        spans: places in the log where each call of ``HISTORY`` began and ended.
    """

    log: list[Change]
    spans: list[tuple[int, int]]

    def past(self, length: int) -> Past:
        """What had been promised when the log was that long."""
        calls = list(zip(HISTORY, self.spans))
        begun = [call for call, (start, _) in calls if start <= length]
        return Past(begun, [call for call, (_, end) in calls if end <= length])


def record() -> Recorded:
    """Let a run do all that it does, without a fault."""
    with tempfile.TemporaryDirectory() as folder:
        recording, spans = Recording(Path(folder)), []
        store = CheckpointStore(
            Path(folder) / "checkpoints", max_num_checkpoints=MAX_NUM_CHECKPOINTS
        )
        with in_place_of_os(recording):
            for call in HISTORY:
                start = len(recording.log)
                call.make(store)
                spans.append((start, len(recording.log)))
    return Recorded(recording.log, spans)


def disks(recorded: Recorded, *, ordered: bool) -> dict[object, tuple[PowerLoss, Tree]]:
    """Every disk that a power loss may leave, each once for each state of the promises."""
    found: dict[object, tuple[PowerLoss, Tree]] = {}
    for loss in power_losses(recorded.log, ordered=ordered):
        tree, past = tree_after(recorded.log, loss), recorded.past(loss.length)
        found.setdefault((frozen(tree), len(past.begun), len(past.done)), (loss, tree))
    return found


def check_disk(loss: PowerLoss, tree: Tree, past: Past) -> None:
    """Check what is there when the power is back, and that the run can go on."""
    del loss  # is in the row's detail
    with tempfile.TemporaryDirectory() as folder, in_place_of_os(Unflushed()):
        build(tree, Path(folder) / "disk")
        check(Path(folder) / "disk" / "checkpoints", past)


def drill(kind: str, *, long: bool, seed: int) -> Row:
    """Each disk that a power loss may leave, or a sample of them."""
    recorded = record()
    cases = list(disks(recorded, ordered=KINDS[kind]).values())
    if not long:
        cases = random.Random(f"{seed} {kind}").sample(cases, NUM_SAMPLED)
    arguments = [(loss, tree, recorded.past(loss.length)) for loss, tree in cases]
    return tally(f"power loss, names {kind}", check_disk, arguments)


def drills(long: bool, seed: int) -> Iterator[Row]:
    """Both orders."""
    for kind in KINDS:
        yield drill(kind, long=long, seed=seed)


@pytest.mark.parametrize("kind", KINDS)
def test_power_loss_leaves_the_old_or_the_new_checkpoint(kind):
    row = drill(kind, long=False, seed=1)
    assert row.survived == row.tried, row.detail
