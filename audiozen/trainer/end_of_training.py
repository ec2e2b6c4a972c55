"""When training is over."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from audiozen.config.schema import TrainerConfig
    from audiozen.trainer.state import TrainerState

DEFAULT_MAX_EPOCHS = 100


class EndOfTraining:
    """Answers "is there anything left to train?" from the state alone, so a resumed run answers the same.

    Args:
        config: its ``max_steps``, ``max_epochs`` and ``patience``. With neither of the first two: 100 epochs.
    """

    def __init__(self, config: TrainerConfig) -> None:
        is_endless = config.max_epochs is None and config.max_steps is None
        self.max_epochs = DEFAULT_MAX_EPOCHS if is_endless else or_infinity(config.max_epochs)
        self.max_steps = or_infinity(config.max_steps)
        self.patience = or_infinity(config.patience)

    def reached(self, state: TrainerState) -> bool:
        """Whether the run is over."""
        return (
            state.step >= self.max_steps
            or (state.epoch_is_finished and state.epoch >= self.max_epochs)
            or state.validations_without_improvement >= self.patience
        )

    def next_step(self, step: int) -> float:
        """The step at which ``max_steps`` is reached; infinity where it is not set, or reached before ``step``."""
        return self.max_steps if step < self.max_steps else math.inf

    def next_time(self) -> float:
        """The clock ends nothing."""
        return math.inf

    def num_steps_left(self, state: TrainerState) -> float:
        """Steps until ``max_steps``; infinity where that is not set."""
        return self.max_steps - state.step


def or_infinity(limit: int | None) -> float:
    """A limit that may not be set."""
    return math.inf if limit is None else limit
