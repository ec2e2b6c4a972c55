"""What a batch of spoken words means: one loss, whether the word was found, and which was taken for which."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch

from audiozen.tables.files import write_csv
from audiozen.trainer.base_trainer import BaseTrainer
from audiozen.trainer.score_table import ScoreTable


class Trainer(BaseTrainer):
    """Trains a model that has ``classes``, the names of its logits."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        waveform, labels = batch
        numbers = [self.modules[""].classes.index(label) for label in labels["label"]]
        return self.loss_function(self.model(waveform), torch.tensor(numbers, device=self.device))

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        waveform, labels = batch
        numbers = self.model(waveform).argmax(1).tolist()
        predicted = [self.modules[""].classes[number] for number in numbers]
        accuracy = [float(one == other) for one, other in zip(predicted, labels["label"])]
        return {**labels, "predicted": predicted, "accuracy": accuracy}

    def validation_epoch_end(self, validation_epoch_output: list[list[Any]]) -> float:
        """Also write ``metrics/confusion_*.csv``: a row per class, a column per class that was predicted."""
        score = super().validation_epoch_end(validation_epoch_output)
        name, classes = f"confusion_{self.stage}_{self.weights.name}", self.modules[""].classes
        for dataset, records in ScoreTable(self.datasets, validation_epoch_output).records.items():
            write_csv(self.folder.table(name, dataset), confusion(records, classes))
        return score


def confusion(records: list[dict[str, Any]], classes: list[str]) -> list[dict[str, Any]]:
    """How often each class was taken for each: a record per class that was said, a count per class that was heard."""
    counts = Counter((record["label"], record["predicted"]) for record in records)
    return [{"label": said} | {heard: counts[said, heard] for heard in classes} for said in classes]
