"""The simplest trainer that trains and validates."""

from __future__ import annotations

from audiozen.trainer.base_trainer import BaseTrainer


class Regression(BaseTrainer):
    """Learns a linear map; validates the squared error per item."""

    def training_step(self, batch, batch_idx):
        x, y = batch
        return (self.model(x) - y).square().mean()

    def validation_step(self, batch, batch_idx):
        x, y = batch
        return {"mse": (self.model(x) - y).square().mean(-1)}
