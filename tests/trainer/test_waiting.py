"""No step waits for the device: what is read to the host is read where something is shown, logged or saved.

On the CPU nothing can be waited for, so there it is refused to read a number at all.
"""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from audiozen.testing import RecordingTracker
from audiozen.tracking.console import SilentConsole
from audiozen.trainer import training_request
from audiozen.trainer.base_trainer import BaseTrainer
from audiozen.trainer.cuda_graphs import NUM_WARM_UP
from tests.trainer.emulated_graphs import emulate

FIRST_STEPS = NUM_WARM_UP + 1
"""They set up what stays, and may wait."""
NUM_STEPS = 12


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request, monkeypatch):
    if request.param == "cpu":
        emulate(monkeypatch)
        monkeypatch.setattr(training_request, "graph_problems", lambda *_, **__: [])
    yield request.param
    torch.cuda.set_sync_debug_mode("default")


class Watched(BaseTrainer):
    """Whoever waits for the device between the first steps and the end of the epoch is refused."""

    watched_steps: ClassVar[list[int]] = []

    def training_step(self, batch, batch_idx):
        x, y = batch
        return {"loss": (self.model(x) - y).square().mean(), "mean": x.mean()}

    def update(self, micro_batches):
        super().update(micro_batches)
        if torch.cuda.get_sync_debug_mode() not in (0, "default"):
            self.watched_steps.append(self.state.step)

    def after_step(self):
        super().after_step()
        if self.state.step == FIRST_STEPS:
            torch.cuda.set_sync_debug_mode("error")

    def _call_training_epoch_end(self):
        torch.cuda.set_sync_debug_mode("default")
        super()._call_training_epoch_end()


def train(exp_dir, device, cls=Watched, *, optimizer=None, schedule=False, loading=None, **config):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Dropout(0.2), nn.Linear(8, 2))
    model.to(device)
    make = optimizer or (lambda weights: torch.optim.AdamW(weights, fused=True))
    optimizer = make(model.parameters())
    trainer = cls(
        model,
        optimizer,
        lr_scheduler=torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.8) if schedule else None,
        config={"device": device, "max_epochs": 1, "log_interval": 1000, "num_threads": 1} | config,
        exp_dir=exp_dir,
        tracker=RecordingTracker(),
        console=SilentConsole(),
    )
    Watched.watched_steps.clear()
    num_micro_batches = NUM_STEPS * trainer.config.gradient_accumulation_steps
    data = TensorDataset(
        torch.randn(num_micro_batches * 2, 4), torch.randn(num_micro_batches * 2, 2)
    )
    trainer.train(DataLoader(data, batch_size=2, shuffle=True, **(loading or {})))


HOW = {
    "fp32": {},
    "bf16": {"precision": "bf16"},
    "clipping": {"max_grad_norm": 0.5},
    "moving average": {"ema_decay": 0.9},
    "accumulation": {"gradient_accumulation_steps": 3},
    "schedule": {"schedule": True},
    "skip": {"on_nonfinite": "skip"},
    "ignore": {"on_nonfinite": "ignore"},
    "all": {
        "precision": "bf16",
        "max_grad_norm": 0.5,
        "ema_decay": 0.9,
        "gradient_accumulation_steps": 2,
        "schedule": True,
        "on_nonfinite": "skip",
    },
    "graphs": {"cuda_graphs": True},
    "graphs, all": {
        "cuda_graphs": True,
        "precision": "bf16",
        "max_grad_norm": 0.5,
        "ema_decay": 0.9,
        "schedule": True,
        "on_nonfinite": "skip",
    },
    "plain SGD": {"optimizer": lambda weights: torch.optim.SGD(weights, lr=0.1)},
}


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_no_step_waits_for_the_device(tmp_path, device, how):
    train(tmp_path, device, **how)
    assert Watched.watched_steps == list(range(FIRST_STEPS + 1, NUM_STEPS + 1))


@pytest.mark.gpu
@pytest.mark.parametrize(
    "loading",
    [{}, {"pin_memory": True}, {"num_workers": 2}, {"num_workers": 2, "pin_memory": True}],
    ids=str,
)
@pytest.mark.parametrize(
    "make", [torch.optim.AdamW, torch.optim.Adam, torch.optim.RMSprop, torch.optim.Adagrad]
)
def test_neither_loading_nor_an_optimizer_as_pytorch_chooses_it_waits(tmp_path, loading, make):
    train(tmp_path, "cuda", optimizer=make, loading=loading, max_grad_norm=0.5)
    assert Watched.watched_steps == list(range(FIRST_STEPS + 1, NUM_STEPS + 1))


@pytest.mark.gpu
def test_fp16_with_a_fused_optimizer_does_not_wait(tmp_path):
    train(tmp_path, "cuda", precision="fp16", max_grad_norm=0.5)
    assert len(Watched.watched_steps) == NUM_STEPS - FIRST_STEPS


def test_a_hook_that_waits_is_found(tmp_path, device):
    class Waiting(Watched):
        def training_step(self, batch, batch_idx):
            output = super().training_step(batch, batch_idx)
            output["loss"].item()
            return output

    with pytest.raises(RuntimeError, match="synchronizing CUDA operation"):
        train(tmp_path, device, Waiting)


def test_a_trainer_that_logs_each_loss_is_found(tmp_path, device):
    with pytest.raises(RuntimeError, match="synchronizing CUDA operation"):
        train(tmp_path, device, log_interval=1)
