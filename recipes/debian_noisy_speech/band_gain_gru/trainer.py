"""What a batch of noisy speech means: one loss, and which scores count."""

from __future__ import annotations

from typing import Any

from audiozen.metrics import Scorer
from audiozen.trainer.base_trainer import BaseTrainer

CHEAP = ["si_sdr", "stoi"]
ALL = ["si_sdr", "pesq_wb", "stoi", "dnsmos_sig", "dnsmos_bak", "dnsmos_ovrl"]


class Trainer(BaseTrainer):
    """Trains an enhancer of waveforms; scores validation cheaply, and test in full."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        noisy, clean = batch
        return self.loss_function(self.model(noisy), clean)

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        noisy, _, labels = batch
        enhanced = self.model(noisy)
        for name, before, after in zip(labels["id"], noisy, enhanced):
            self.log_audio(f"{name}/noisy", before, self.sample_rate)
            self.log_audio(f"{name}/enhanced", after, self.sample_rate)
        return self.scores(batch, enhanced, CHEAP)

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        noisy, clean, labels = batch
        enhanced = self.model(noisy)
        self.save_audio(labels["id"], noisy=noisy, enhanced=enhanced, clean=clean)
        return self.scores(batch, enhanced, ALL)

    def scores(self, batch: Any, enhanced: Any, metrics: list[str]) -> Any:
        """Columns of the table: labels, scores, and the scores of what went in. They are computed beside the model."""
        noisy, clean, labels = batch
        scorer = Scorer(metrics, self.sample_rate)
        return {
            **labels,
            "duration": [len(waveform) / self.sample_rate for waveform in noisy],
            "after": scorer.submit(self.metric_pool, enhanced, clean),
            "before": scorer.submit(self.metric_pool, noisy, clean, suffix="_noisy"),
        }
