"""AudioZEN without the seeds of its samples and steps: what it would cost if no run had to be resumed exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest.mock import patch

from peers import ours

if TYPE_CHECKING:
    from peers.work import Result, Work


def train(work: Work) -> Result:
    """As :mod:`peers.ours`; the generators of Python, NumPy and PyTorch are left as they are."""
    with (
        patch("audiozen.data.seeded_batches.seed_generators", leave),
        patch("audiozen.trainer.base_trainer.seed_generators", leave),
    ):
        return ours.train(work)


def leave(*_parts: int | str) -> None:
    """Nothing is seeded."""
