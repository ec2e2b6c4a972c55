"""What must hold of a checkpoint, however many processes wrote it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from audiozen.trainer.checkpoint import CheckpointStore
from tests.distributed.launch import succeed

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import sys
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from audiozen import BaseTrainer

class Trainer(BaseTrainer):
    def training_step(self, batch, batch_idx):
        x, y = batch
        return (self.model(x) - y).square().mean()

    def validation_step(self, batch, batch_idx):
        x, y = batch
        return {"mse": (self.model(x) - y).square().mean(-1)}

torch.manual_seed(0)
x = torch.randn(24, 4)
data = TensorDataset(x, x[:, :2])
model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Linear(8, 2))
trainer = Trainer(
    model, torch.optim.Adam(model.parameters()), exp_dir=sys.argv[1],
    config={"max_steps": 4, "num_threads": 1, "ema_decay": 0.9, "higher_is_better": False},
)
trainer.train(DataLoader(data, batch_size=3, shuffle=True), DataLoader(data, batch_size=8))
"""


def train(exp_dir: Path, num_processes: int) -> None:
    script = exp_dir.with_suffix(".py")
    script.write_text(SCRIPT)
    succeed([script, exp_dir], num_processes, exp_dir.with_suffix(".output"))


def shape_of(exp_dir: Path) -> tuple[dict[str, list[str]], list[str]]:
    """Names of everything in the newest checkpoint, and its document without the numbers."""
    store = CheckpointStore(exp_dir / "checkpoints")
    path = store.find("latest")
    tensors = {
        file.name: sorted(re.findall(r'"([^"]+)": ?\{"dtype"', file.read_bytes().decode("latin-1")))
        for file in path.glob("*.safetensors")
    }
    document = json.loads((path / "training_state.json").read_text())
    return tensors, sorted(paths_in(document))


def paths_in(document: object, path: str = "") -> list[str]:
    if isinstance(document, dict):
        return [p for key, value in document.items() for p in paths_in(value, f"{path}/{key}")]
    if isinstance(document, list):
        return [p for i, value in enumerate(document) for p in paths_in(value, f"{path}/{i}")]
    return [path]


def test_checkpoint_does_not_tell_how_many_processes_wrote_it(tmp_path):
    train(tmp_path / "one", 1)
    train(tmp_path / "two", 2)
    one, two = shape_of(tmp_path / "one"), shape_of(tmp_path / "two")
    assert one == two
    assert "model.safetensors" in one[0]
    assert len(one[1]) > 20
    text = (tmp_path / "two" / "checkpoints" / "latest" / "training_state.json").read_text()
    assert not re.search("rank|world|process", text)
