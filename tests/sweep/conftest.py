"""A recipe that trains in no time, the space of a sweep over it, and ways to disturb it."""

from __future__ import annotations

from pathlib import Path

import pytest

from audiozen.cli.main import main

EXPERIMENT = """
[meta]
seed = 3

[trainer]
path = "trainer.Trainer"

[trainer.args]
max_epochs = 3
num_threads = 1
num_metric_workers = 1
best_metric = "error"
higher_is_better = false

[model]
path = "torch.nn.Linear"
args = {in_features = 3, out_features = 1}

[optimizer]
path = "torch.optim.SGD"
args = {lr = 0.1}

[train_dataset]
path = "data.Line"
args = {num_signals = 8}
dataloader = {batch_size = 4}

[[validate_dataset]]
path = "data.Line"
args = {num_signals = 4}
dataloader = {batch_size = 4}
"""

SPACE = """
"optimizer.args.lr" = {low = 1e-4, high = 1e-1, log = true}
"optimizer.args.momentum" = [0.0, 0.5]
"""

DATA = """
import torch

class Line(torch.utils.data.Dataset):
    def __init__(self, num_signals: int):
        self.num_signals = num_signals

    def __len__(self):
        return self.num_signals

    def __getitem__(self, index):
        x = torch.linspace(-1, 1, 3) * (index + 1) / self.num_signals
        return x, x.sum() + x[:1]
"""

TRAINER = """
import os
from pathlib import Path

import torch

from audiozen.trainer.base_trainer import BaseTrainer

class Trainer(BaseTrainer):
    def __init__(self, *args, shift=0.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.shift = shift
        with Path("workers.txt").open("a") as file:
            file.write(f"{self.exp_dir.name} {os.getpid()}\\n")

    def training_step(self, batch, batch_idx):
        x, y = batch
        return ((self.model(x) - y) ** 2).mean()

    def validation_step(self, batch, batch_idx):
        x, y = batch
        exec(Path("disturbance.py").read_text(), {"trainer": self})
        return {"error": ((self.model(x) - y) ** 2).mean(1) + self.shift}
"""


class Recipe:
    """The recipe in a folder, beside which commands are run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "recipe"
        self.folder.mkdir()
        self.config = self.folder / "baseline.toml"
        self.space = self.folder / "sweep.toml"
        self.config.write_text(EXPERIMENT)
        self.space.write_text(SPACE)
        (self.folder / "data.py").write_text(DATA)
        (self.folder / "trainer.py").write_text(TRAINER)
        self.disturb()

    def disturb(self, program: str = "") -> None:
        """Let a program, which knows the ``trainer``, be run in each validation step from now on."""
        (self.folder.parent / "disturbance.py").write_text(program)

    def words(self, *arguments: str) -> list[str]:
        """The command, for an argument list."""
        return ["sweep", str(self.config), *arguments]

    def sweep(self, *arguments: str) -> int:
        """Run the command in this process."""
        return main(self.words(*arguments))


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """The recipe; the current folder is beside it."""
    monkeypatch.chdir(tmp_path)
    return Recipe(tmp_path)
