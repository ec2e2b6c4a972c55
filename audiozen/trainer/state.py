"""Everything that a run must remember, in one object. The trainer owns it; checkpoints carry it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from audiozen.errors import CheckpointError

__all__ = ["TrainerState"]


@dataclass
class TrainerState:
    """Where a run stands.

    A *step* is one optimizer update, an *epoch* one pass over the training data. Both count from 1; 0 means that none
    has been made.
    """

    epoch: int = 0
    """The epoch in progress, or the last finished one."""
    epoch_is_finished: bool = True
    """Whether the last step of ``epoch`` has been made."""
    position: int = 0
    """Samples of the epoch that were consumed, over all processes (batches, for data without an order of its own)."""
    step: int = 0
    """Steps made since the beginning."""

    saved_step: int = 0
    """Step of the newest checkpoint."""
    validated_step: int = 0
    """Step of the weights that were validated last."""

    best_score: float | None = None
    """Best score so far. None before the first that is a number."""
    best_checkpoint: str | None = None
    """Name of the checkpoint that reached it."""
    validations_without_improvement: int = 0
    """Validations since then."""
    validation_is_pending: bool = False
    """Whether the weights were saved for a validation whose outcome is not recorded yet."""

    def start_epoch(self) -> None:
        """Begin the next epoch, or go on with the one that was interrupted."""
        if self.epoch_is_finished:
            self.epoch += 1
            self.position = 0
            self.epoch_is_finished = False

    def add_score(self, score: float, checkpoint: str, *, higher_is_better: bool) -> bool:
        """Take note of a validation; True if its score is the best so far. NaN never is."""
        self.validated_step = self.step
        improves = not math.isnan(score) and (
            self.best_score is None
            or (score > self.best_score if higher_is_better else score < self.best_score)
        )
        if improves:
            self.best_score, self.best_checkpoint = score, checkpoint
        self.validations_without_improvement = (
            0 if improves else self.validations_without_improvement + 1
        )
        return improves

    @property
    def checkpoint_name(self) -> str:
        """What a checkpoint of this moment is called."""
        name = f"epoch_{self.epoch:04d}"
        return name if self.epoch_is_finished else f"{name}_step_{self.step:08d}"

    def state_dict(self) -> dict[str, Any]:
        """Every field, for a checkpoint."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over every field.

        Raises:
            CheckpointError: fields are unknown, so a later version of AudioZEN wrote them.
        """
        unknown = set(state) - {field.name for field in fields(self)}
        if unknown:
            names = ", ".join(sorted(unknown))
            raise CheckpointError(
                f"the trainer's state has unknown fields: {names}; update AudioZEN"
            )
        for name, value in state.items():
            setattr(self, name, value)
