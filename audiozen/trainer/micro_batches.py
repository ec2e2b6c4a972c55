"""Batches of an epoch in groups, one group per step; so that "step" has one meaning."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from audiozen.data.loader import TrainingLoader


class MicroBatch(NamedTuple):
    """What one forward pass of training sees.

    Attributes:
        batch: as the dataloader gave it.
        batch_idx: its number in the epoch, from 0.
        num_samples: its samples, over all processes; batches where the dataloader counts in batches.
        num_own: how many of them are this process's own. 0: it must not count, and is there only because all processes
            make the same number of forward passes.
    """

    batch: Any
    batch_idx: int
    num_samples: int
    num_own: int


def group_micro_batches(
    loader: TrainingLoader, epoch: int, position: int, group_size: int
) -> Iterator[list[MicroBatch]]:
    """Groups of ``group_size`` micro-batches from ``position`` to the end of the epoch, where one may be shorter."""
    group = []
    for batch, num_samples, num_own in loader.batches(epoch, position):
        group.append(MicroBatch(batch, position // loader.stride, num_samples, num_own))
        position += num_samples
        if len(group) == group_size:
            yield group
            group = []
    if group:
        yield group


def count_steps(num_samples: int, loader: TrainingLoader, group_size: int) -> int:
    """Steps that so many samples make."""
    return math.ceil(num_samples / (loader.stride * group_size))
