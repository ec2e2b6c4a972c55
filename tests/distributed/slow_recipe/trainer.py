"""A small training whose steps take long enough to be hit in the middle."""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from audiozen import BaseTrainer

FOLDER = "STEPS_FOLDER"
"""Variable: a folder. Each step that begins leaves a file of its number there, each process one with its own."""


class Vectors(Dataset[Tensor]):
    """Random vectors, drawn anew each time."""

    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> Tensor:
        return torch.randn(16)


class Trainer(BaseTrainer):
    """Learns to repeat its input."""

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        folder = Path(os.environ[FOLDER])
        (folder / f"process_{self.rank}").write_text(str(os.getpid()))
        if self.is_main_process:
            (folder / str(self.state.step + 1)).touch()
        time.sleep(0.1)
        return self.error(batch).mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> dict[str, Tensor]:
        return {"mse": self.error(batch)}

    def error(self, batch: Tensor) -> Tensor:
        return (self.model(batch) - batch).square().mean(-1)


class Model(nn.Sequential):
    """One hidden layer, with dropout."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(16, 32), nn.Dropout(0.2), nn.Linear(32, 16))
