"""What a batch of mixtures means: the order of the sources is found once, for loss, scores and sound."""

from __future__ import annotations

from typing import Any

from audiozen.losses import reorder
from audiozen.metrics import Scorer
from audiozen.trainer.base_trainer import BaseTrainer

CHEAP = ["si_sdr", "si_sdr_i"]
ALL = ["si_sdr", "si_sdr_i", "sdr_bss", "sdr_bss_i"]


class Trainer(BaseTrainer):
    """Trains a separator of waveforms; each source has its row in the tables."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        mixture, sources = batch
        return self.loss_function(self.model(mixture), sources).loss.mean()

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return self.scores(batch, CHEAP)

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return self.scores(batch, ALL)

    def scores(self, batch: Any, metrics: list[str]) -> Any:
        """Columns of the table, and the sound that they are of. They are computed beside the model."""
        mixture, sources, labels = batch
        estimates = self.model(mixture)
        permutation = self.loss_function(estimates, sources).permutation
        # From here on, a row for each source: that of item 0, those of item 1, ...
        signals = {
            "noisy": mixture.repeat_interleave(sources.shape[1], 0),
            "enhanced": reorder(estimates, permutation).flatten(0, 1),
            "clean": sources.flatten(0, 1),
        }
        rows = rows_of(labels, sources.shape[1])
        self.save_audio(rows["id"], **signals)
        for role in ("noisy", "enhanced"):
            for name, waveform in zip(rows["id"], signals[role]):
                self.log_audio(f"{name}/{role}", waveform, self.sample_rate)
        scorer = Scorer(metrics, self.sample_rate)
        enhanced, clean = signals["enhanced"], signals["clean"]
        return {
            **rows,
            "duration": [mixture.shape[-1] / self.sample_rate] * len(enhanced),
            "scores": scorer.submit(self.metric_pool, enhanced, clean, noisy=signals["noisy"]),
        }


def rows_of(labels: Any, num_sources: int) -> dict[str, list[str]]:
    """Labels of mixtures as those of their sources, whose ids end in the number of the source, from 1."""
    numbers = range(1, num_sources + 1)
    return {
        "id": [f"{mixture}_{number}" for mixture in labels["id"] for number in numbers],
        "speaker": [name for names in labels["speakers"] for name in names.split("+")],
        **{
            name: [value for value in labels[name] for _ in numbers]
            for name in ("speakers", "ratio_db")
        },
    }
