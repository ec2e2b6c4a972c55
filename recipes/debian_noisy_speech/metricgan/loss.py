"""What the two models learn from: verdicts of the discriminator, and signals with the score that they should get."""

from __future__ import annotations

import logging
import math
import random
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from audiozen.errors import MetricError, RequestError
from audiozen.metrics.measure import require

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = logging.getLogger(__name__)

Scored = tuple[Tensor, Tensor, float]
"""An estimate and its reference, each of shape ``(time,)``, and its score: 0 for a PESQ of 1, 1 for one of 4.5."""


def require_pesq() -> None:
    """Refuse to go on where nothing could be learnt.

    Raises:
        RequestError: the package is not installed; the text says how to.
    """
    try:
        require("pesq", extra="pesq")
    except MetricError as error:
        raise RequestError(f"the discriminator learns from PESQ, but {error}") from error


def adversarial_loss(verdicts: Tensor, enhanced: Tensor, clean: Tensor) -> Tensor:
    """How far the discriminator is from taking the enhanced signals for clean: a scalar. Lower is better."""
    del enhanced, clean
    return (verdicts - 1).square().mean()


def with_scores(estimates: Tensor, references: Tensor, columns: dict[str, Any]) -> list[Scored]:
    """Those signals of a batch that have a PESQ. One for which it fails is told, and the others go on.

    Args:
        estimates: shape ``(batch, time)``.
        references: same shape.
        columns: what a :class:`~audiozen.metrics.Scorer` says of them.
    """
    scores = [(value - 1) / 3.5 for value in columns["pesq_wb"]]
    if num_failed := sum(map(math.isnan, scores)):
        reasons = ", ".join(sorted(set(columns["pesq_wb__error"]) - {""}))
        logger.warning(
            "%d of %d signals have no PESQ and are left out: %s", num_failed, len(scores), reasons
        )
    return [item for item in zip(estimates, references, scores) if not math.isnan(item[-1])]


def as_batch(
    items: Sequence[Scored], device: torch.device | str
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Estimates and references, each of shape ``(batch, time)``, and scores, of shape ``(batch,)``."""
    estimates, references, scores = zip(*items)
    signals = (
        torch.stack([signal.to(device) for signal in role]) for role in (estimates, references)
    )
    return tuple(signals), torch.tensor(scores, device=device)


class History:
    """A choice of all signals that were ever added, each of them as likely to be in it as any other.

    All random draws come from Python's generator, which the trainer seeds for each step.

    Args:
        size: the most signals that it holds.
        portion: how much of it is drawn at a time, in [0, 1].

    Raises:
        RequestError: one of the two is outside of its range.
    """

    def __init__(self, size: int, portion: float) -> None:
        if size < 0 or not 0 <= portion <= 1:
            raise RequestError(
                f"size must be at least 0 and portion in [0, 1], got {size} and {portion}"
            )
        self.size, self.portion = size, portion
        self.num_seen = 0
        self.items: list[Scored] = []

    def add(self, items: Sequence[Scored]) -> None:
        """Once it is full, some take the place of others."""
        for estimate, reference, score in items:
            self.num_seen += 1
            kept = estimate.clone(), reference.clone(), score  # without the batch around them
            if len(self.items) < self.size:
                self.items.append(kept)
            elif (place := random.randrange(self.num_seen)) < self.size:
                self.items[place] = kept

    def draw(self) -> list[Scored]:
        """Some of the signals, each at most once."""
        return random.sample(self.items, round(self.portion * len(self.items)))

    def state_dict(self) -> dict[str, Any]:
        """All that a checkpoint needs."""
        return {"num_seen": self.num_seen, "items": list(self.items)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.num_seen, self.items = state["num_seen"], list(state["items"])
