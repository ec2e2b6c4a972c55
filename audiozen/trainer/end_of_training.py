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
        self.max_steps = config.max_steps
        self.max_epochs = config.max_epochs
        self.patience = config.patience
        if self.max_epochs is None and self.max_steps is None:
            self.max_epochs = DEFAULT_MAX_EPOCHS

    def reached(self, state: TrainerState) -> bool:
        """Whether the run is over."""
        return (
            self.num_steps_left(state) <= 0
            or self._reached_max_epochs(state)
            or self._exhausted_patience(state)
        )

    def num_steps_left(self, state: TrainerState) -> float:
        """Steps until ``max_steps``; infinity where that is not set."""
        return math.inf if self.max_steps is None else self.max_steps - state.step

    def _reached_max_epochs(self, state: TrainerState) -> bool:
        if self.max_epochs is None or not state.epoch_is_finished:
            return False
        return state.epoch >= self.max_epochs

    def _exhausted_patience(self, state: TrainerState) -> bool:
        return self.patience is not None and state.validations_without_improvement >= self.patience
