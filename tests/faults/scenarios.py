"""Tiny runs to be interrupted, with the features that a resumed run could get wrong."""

from __future__ import annotations

import os
import signal
import zlib
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader, Dataset

from audiozen.data.mixing import colored_noise, mix_at_snr, random_segment
from audiozen.tracking.console import SilentConsole
from audiozen.tracking.jsonl import JsonlTracker
from audiozen.trainer.base_trainer import BaseTrainer
from tests.faults.disk import Operations, in_place_of_os

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from audiozen.tracking.tracker import Tracker

    Place = tuple[str, int]

SAMPLE_RATE = 8000
NUM_SAMPLES = 80
FILE_OPERATION = "at a file operation"
TRAINED = "between training and test"


class Places:
    """The places that a run comes by, told one after the other. At one of them the process may have to end.

    Args:
        trace: file with one line per place; it outlives the process.
        fatal: a place, and at which of its visits the process is killed.
    """

    def __init__(self, trace: Path, fatal: Place | None = None) -> None:
        self._trace = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._fatal = fatal
        self._visits: Counter[str] = Counter()

    def __call__(self, place: str) -> None:
        self._visits[place] += 1
        os.write(self._trace, f"{place}\n".encode())
        if (place, self._visits[place]) == self._fatal:
            os.kill(os.getpid(), signal.SIGKILL)


class ToldOperations(Operations):
    """``os`` for the checkpoints, where each change of the disk is a place."""

    getpid = staticmethod(os.getpid)

    def __init__(self, at: Places) -> None:
        self.at = at

    def do(self, name: str, operation: Any, *args: Any) -> Any:
        self.at(FILE_OPERATION)
        return operation(*args)


class ToldTracker(JsonlTracker):
    """``metrics.jsonl``, where each row is a place."""

    def __init__(self, path: Path, at: Places) -> None:
        super().__init__(path)
        self.at = at

    def log_scalars(self, scalars: Any, *, step: int, epoch: int) -> None:
        self.at("before a row is logged")
        super().log_scalars(scalars, step=step, epoch=epoch)
        self.at("after a row was logged")


# ---- what is trained -------------------------------------------------------------------------------


class Mixtures(Dataset[Any]):
    """Tones in coloured noise, mixed on the fly: segment, colour and level are drawn each time."""

    def __init__(self, num_items: int) -> None:
        pitches = torch.linspace(300, 900, num_items)[:, None]
        self.tones = torch.sin(2 * torch.pi * pitches * torch.arange(4 * NUM_SAMPLES) / SAMPLE_RATE)

    def __len__(self) -> int:
        return len(self.tones)

    def __getitem__(self, index: int) -> Any:
        speech = random_segment(self.tones[index], NUM_SAMPLES)
        noise = colored_noise(NUM_SAMPLES, float(torch.rand(())))
        mixture = mix_at_snr(speech, noise, 20 * float(torch.rand(())), sample_rate=SAMPLE_RATE)
        return mixture.noisy, mixture.clean


def enhancer() -> nn.Module:
    """With dropout, and with buffers that every micro-batch changes."""
    return nn.Sequential(
        nn.Linear(NUM_SAMPLES, 8),
        nn.BatchNorm1d(8, momentum=0.5),
        nn.Tanh(),
        nn.Dropout(0.3),
        nn.Linear(8, NUM_SAMPLES),
    )


class Enhancement(BaseTrainer):
    """Tells where it is, and logs a checksum of what ``training_epoch_end`` received."""

    at: Places

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        is_first = batch_idx % self.config.gradient_accumulation_steps == 0
        self.at("in a training step" if is_first else "between micro-batches")
        losses = self.losses(*batch)
        self.at("before the backward pass")
        return losses

    def losses(self, noisy: torch.Tensor, clean: torch.Tensor) -> dict[str, torch.Tensor]:
        error = self.model(noisy) - clean
        return {"loss": error.square().mean(), "l1": error.abs().mean()}

    def training_epoch_end(self, training_epoch_output: list[Any]) -> None:
        self.at("in training_epoch_end")
        super().training_epoch_end(training_epoch_output)
        self.log("received", float(zlib.crc32(repr(training_epoch_output).encode())))
        self.at("after training_epoch_end")

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        is_first = batch_idx == dataloader_idx == 0
        self.at(f"{'before' if is_first else 'in'} {self.stage}")
        return self.scores(*batch)

    def scores(self, noisy: torch.Tensor, clean: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"mse": (self.model(noisy) - clean).square().mean(-1)}

    def validation_epoch_end(self, validation_epoch_output: list[list[Any]]) -> float:
        self.at(f"in the end of {self.stage}")
        score = super().validation_epoch_end(validation_epoch_output)
        self.at(f"before the score of {self.stage} is recorded")
        return score


class Adversarial(Enhancement):
    """Two models and two optimizers, in steps of their own."""

    automatic_optimization = False

    def losses(self, noisy: torch.Tensor, clean: torch.Tensor) -> dict[str, torch.Tensor]:
        enhanced = self.model["generator"](noisy)
        critic = self.model["critic"]
        told_apart = critic(enhanced.detach()).square().mean() + (critic(clean) - 1).square().mean()
        self.backward(told_apart)
        self.optimizer_step("critic")
        self.at("between two optimizers")
        loss = (enhanced - clean).square().mean() + 0.1 * (critic(enhanced) - 1).square().mean()
        self.backward(loss)
        self.optimizer_step("generator")
        return {"loss": loss, "critic": told_apart}

    def scores(self, noisy: torch.Tensor, clean: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"mse": (self.model["generator"](noisy) - clean).square().mean(-1)}


# ---- the runs ----------------------------------------------------------------------------------------


def plateau(optimizer: Optimizer) -> LRScheduler:
    """Lowers the rate whenever the score does not fall by half, which is almost always."""
    return ReduceLROnPlateau(optimizer, factor=0.7, patience=0, threshold=0.5)  # type: ignore[return-value]


def cosine(optimizer: Optimizer) -> LRScheduler:
    return CosineAnnealingLR(optimizer, T_max=10)


def stairs(optimizer: Optimizer) -> LRScheduler:
    return StepLR(optimizer, step_size=1, gamma=0.5)


@dataclass(frozen=True)
class Scenario:
    """A run.

    Attributes:
        config: settings of the trainer, besides those that all share.
        num_workers: of each dataloader.
        schedule: makes the learning-rate schedule.
        num_validations: how many validation datasets there are.
        trainer: what is trained.
        is_list: whether the training data come as a list of batches, which has no order of its own.
        is_timed: whether it depends on the time which checkpoints are written.
    """

    config: dict[str, Any]
    num_workers: int = 0
    schedule: Callable[[Optimizer], LRScheduler] | None = None
    num_validations: int = 1
    trainer: type[Enhancement] = Enhancement
    is_list: bool = False
    is_timed: bool = field(init=False)

    def __post_init__(self) -> None:
        timed = "minutes" in self.config.get("save_interval", {})
        object.__setattr__(self, "is_timed", timed)

    def run(self, exp_dir: Path, at: Places) -> None:
        """Go on from where the folder stands: train to the end, then test the best checkpoint."""
        metrics = exp_dir / "metrics" / "metrics.jsonl"
        with in_place_of_os(ToldOperations(at)), closing(ToldTracker(metrics, at)) as tracker:
            trainer = self.build(exp_dir, at, tracker)
            trainer.train(
                self.training_data(), [self.loader(5 + n) for n in range(self.num_validations)]
            )
            at(TRAINED)
            trainer.test(self.loader(5))

    def build(self, exp_dir: Path, at: Places, tracker: Tracker) -> Enhancement:
        torch.manual_seed(1)
        names = ("generator", "critic") if self.trainer is Adversarial else ("",)
        models = {name: enhancer() for name in names}
        optimizers = {n: torch.optim.AdamW(m.parameters(), lr=0.01) for n, m in models.items()}
        for optimizer in optimizers.values():
            optimizer.register_step_pre_hook(lambda *_: at("before the optimizer's step"))
            optimizer.register_step_post_hook(lambda *_: at("after the optimizer's step"))
        schedules = {n: self.schedule(o) for n, o in optimizers.items()} if self.schedule else {}
        trainer = self.trainer(
            models if len(models) > 1 else models[""],
            optimizers if len(models) > 1 else optimizers[""],
            lr_scheduler=schedules or None,
            config=SHARED | self.config,
            exp_dir=exp_dir,
            resume=True,
            tracker=tracker,
            console=SilentConsole(),
        )
        trainer.at = at
        return trainer

    def training_data(self) -> Any:
        if not self.is_list:
            return self.loader(13, shuffle=True)
        generator = torch.Generator().manual_seed(3)
        return [torch.randn(2, 2, NUM_SAMPLES, generator=generator).unbind() for _ in range(6)]

    def loader(self, num_items: int, *, shuffle: bool = False) -> DataLoader[Any]:
        return DataLoader(
            Mixtures(num_items),
            batch_size=2,
            drop_last=shuffle,  # batch normalisation needs two
            shuffle=shuffle,
            num_workers=self.num_workers,
            # A process that was spawned spawns, and then each worker imports PyTorch.
            multiprocessing_context="fork" if self.num_workers else None,
        )


SHARED = {
    "max_epochs": 3,
    "best_metric": "mse",
    "higher_is_better": False,
    "log_interval": 2,
    "num_threads": 1,
    "seed": 5,
}
SCENARIOS = {
    "plain": Scenario({}),
    "accumulation": Scenario(
        {"gradient_accumulation_steps": 4, "save_interval": {"steps": 1}}, schedule=cosine
    ),
    "averaged": Scenario({"ema_decay": 0.8, "save_interval": {"steps": 4}}, schedule=plateau),
    "often validated": Scenario(
        {"validation_interval": {"steps": 4}, "save_interval": {"steps": 3}, "patience": 3},
        schedule=plateau,
        num_validations=2,
    ),
    "by minutes": Scenario(
        {"save_interval": {"minutes": 2e-4}, "max_num_checkpoints": 1, "max_grad_norm": 0.1},
        schedule=cosine,
    ),
    "seldom saved": Scenario(
        {
            "save_interval": {"epochs": 2},
            "validation_interval": {"epochs": 2},
            "lr_scheduler_interval": "epoch",
            "max_steps": 15,
        },
        schedule=stairs,
    ),
    "not validated": Scenario({"save_interval": {"steps": 5}}, num_validations=0),
    "adversarial": Scenario(
        {"save_interval": {"steps": 3}, "ema_decay": 0.5}, trainer=Adversarial, schedule=cosine
    ),
    "list of batches": Scenario({"save_interval": {"steps": 2}}, is_list=True),
    "workers": Scenario({"save_interval": {"steps": 4}}, num_workers=2),
    "everything": Scenario(
        {
            "gradient_accumulation_steps": 2,
            "ema_decay": 0.9,
            "save_interval": {"steps": 2, "minutes": 1e-3},
            "validation_interval": {"epochs": 1, "steps": 2},
            "max_grad_norm": 0.5,
        },
        num_workers=2,
        schedule=plateau,
        num_validations=2,
    ),
}
