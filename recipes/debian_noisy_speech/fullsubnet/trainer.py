"""What FullSubNet learns from a batch of noisy speech. How it is scored is as for the band-gain GRU."""

from __future__ import annotations

from typing import Any

from band_gain_gru.trainer import Trainer as EnhancementTrainer
from model import compress, drop_band, ideal_ratio_mask


class Trainer(EnhancementTrainer):
    """Trains the compressed mask; scores the enhanced waveform, cheaply in validation and in full in test."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        noisy, clean = batch
        target = compress(ideal_ratio_mask(self.stft(noisy), self.stft(clean)))
        return self.loss_function(self.model(noisy), drop_band(target, self.model.num_groups))
