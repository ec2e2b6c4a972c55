"""Batches of an epoch in groups, one group per step; so that "step" has one meaning."""

from __future__ import annotations

import math
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from audiozen.data.loader import TrainingLoader
    from audiozen.data.seeded_batches import DealtBatch


def group_micro_batches(
    loader: TrainingLoader, epoch: int, position: int, group_size: int
) -> Iterator[Sequence[DealtBatch]]:
    """Groups of ``group_size`` micro-batches from ``position`` to the end of the epoch, where one may be shorter."""
    batches = loader.batches(epoch, position)
    return zip(batches) if group_size == 1 else _grouped(batches, group_size)


def _grouped(batches: Iterator[DealtBatch], group_size: int) -> Iterator[Sequence[DealtBatch]]:
    while group := list(islice(batches, group_size)):
        yield group


def count_steps(num_samples: int, loader: TrainingLoader, group_size: int) -> int:
    """Steps that so many samples make."""
    return math.ceil(num_samples / (loader.stride * group_size))
