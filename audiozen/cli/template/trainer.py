"""What a batch means. The loop, the checkpoints and the tables are AudioZEN's."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from audiozen.metrics import si_sdr
from audiozen.trainer.base_trainer import BaseTrainer

Batch = tuple[Tensor, Tensor, list[str]]  # noisy and clean, each (batch, time); names


class Trainer(BaseTrainer):
    """Trains the model to turn noisy signals into clean ones."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch."""
        noisy, clean, _ = batch
        return self.loss_function(self.model(noisy), clean)

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Scores of one batch, one per signal. The test takes the same."""
        noisy, clean, names = batch
        enhanced = self.model(noisy)
        self.save_audio(names, noisy=noisy, enhanced=enhanced, clean=clean)
        self.log_audio(names[0], enhanced[0], self.sample_rate)
        return {
            "id": names,
            "si_sdr": si_sdr(enhanced, clean),
            "si_sdr_noisy": si_sdr(noisy, clean),
        }
