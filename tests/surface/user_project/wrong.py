"""Mistakes that a type checker finds, each on a line that says which error it is."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from audiozen import BaseTrainer, CheckpointStore, Experiment, TrainerConfig
from audiozen.data.audio import read_audio
from audiozen.metrics import Scorer, pesq_wb, si_sdr

signal = torch.zeros(16_000)
model = nn.Linear(1, 1)

si_sdr(signal)  # wrong: call-arg
si_sdr(signal, "clean.wav")  # wrong: arg-type
pesq_wb(signal, signal, sample_rate="16k")  # wrong: arg-type
Scorer("si_sdr", 16_000.0)  # wrong: arg-type
read_audio("a.wav", channel="left")  # wrong: arg-type
TrainerConfig(max_epoch=2)  # wrong: call-arg
TrainerConfig(max_epochs="2")  # wrong: arg-type
TrainerConfig(precision="fp8")  # wrong: arg-type
TrainerConfig(max_epochs=2).max_epochs = 3  # wrong: misc
BaseTrainer()  # wrong: call-arg
BaseTrainer(model, resume="yes")  # wrong: arg-type
BaseTrainer(model, optimzer=None)  # wrong: call-arg
Experiment.from_file()  # wrong: call-arg
CheckpointStore("exp").save("epoch_0001", epoch=1, step=10)  # wrong: call-arg
score: str = BaseTrainer(model).validate([])  # wrong: assignment
names: list[Path] = CheckpointStore("exp").names()  # wrong: assignment
BaseTrainer(model).trian([])  # wrong: attr-defined


class Trainer(BaseTrainer):
    def training_step(self, batch: Tensor) -> Tensor:  # wrong: override
        return batch

    def test_epoch_end(self, test_epoch_output: list[list[float]]) -> str:  # wrong: override
        return self.state.stp  # wrong: attr-defined, no-any-return
