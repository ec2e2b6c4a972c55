"""A trainer of a user."""

from __future__ import annotations

from typing import Any, assert_type

from torch import Tensor

from audiozen import BaseTrainer
from audiozen.losses import neg_si_sdr
from audiozen.metrics import Scorer, si_sdr, stoi

Batch = tuple[Tensor, Tensor, list[str]]


class Trainer(BaseTrainer):
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        noisy, clean, _ = batch
        loss = neg_si_sdr(self.model(noisy), clean)
        self.log("train/loss", assert_type(loss, Tensor))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        noisy, clean, names = batch
        enhanced: Tensor = self.model(noisy)
        self.log_audio(names[0], enhanced[0], self.sample_rate)
        self.save_audio(names, noisy=noisy, enhanced=enhanced, clean=clean)
        assert_type(stoi(enhanced, clean, sample_rate=self.sample_rate), Tensor)
        slow = Scorer(["pesq_wb"], sample_rate=self.sample_rate)
        submitted = slow.submit(self.metric_pool, enhanced, clean)
        return {
            "id": names,
            "si_sdr": assert_type(si_sdr(enhanced, clean), Tensor),
            "slow": submitted,
        }

    def validation_epoch_end(self, validation_epoch_output: list[list[Any]]) -> float:
        score = assert_type(super().validation_epoch_end(validation_epoch_output), float)
        assert_type(self.state.step, int)
        assert_type(self.is_main_process, bool)
        return score


class Separate(Trainer):
    """Hooks that look at the number of the dataset."""

    def validation_step(
        self, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> dict[str, Any]:
        return super().validation_step(batch, batch_idx)

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        return super().validation_step(batch, batch_idx)

    def predict_step(self, batch: Batch, batch_idx: int) -> None:
        return None


class Adversary(BaseTrainer):
    """Two models, two optimizers, steps of its own."""

    automatic_optimization = False

    def training_step(self, batch: Tensor, batch_idx: int) -> dict[str, Tensor]:
        assert isinstance(self.model, dict)
        loss: Tensor = self.model["generator"](batch).mean()
        self.zero_grad()
        self.backward(loss)
        self.optimizer_step("generator")
        return {"loss": loss}
