"""How long does a checkpoint keep the training waiting, and how much slower are the steps while it is written?

    python benchmarks/saving_stall.py --megabytes 300 --saves 8 --threads 1

Trains a small model that carries a state of the wanted size, saves every so many steps, and prints medians and ratios:
of the stall against one copy of the same bytes between two buffers that are kept, taken in the same run right before
each save; and of the steps made while a checkpoint is being written against the others.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from audiozen.testing import NoisyTones
from audiozen.tracking.console import SilentConsole
from audiozen.trainer.base_trainer import BaseTrainer

STEPS_BETWEEN = 300


class Ballast:
    """A state of many tensors, which rides along in the checkpoints."""

    def __init__(self, num_bytes: int, num_tensors: int = 400) -> None:
        size = num_bytes // 4 // num_tensors
        self.tensors = {f"tensor_{number}": torch.randn(size) for number in range(num_tensors)}

    def state_dict(self) -> dict[str, torch.Tensor]:
        """All of it."""
        return self.tensors

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Take it up again."""
        self.tensors = state


class TimedTrainer(BaseTrainer):
    """Takes the time of steps, saves and plain copies."""

    def __init__(self, *args: Any, num_bytes: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register("ballast", Ballast(num_bytes))
        self.here, self.there = torch.randn(num_bytes // 4), torch.zeros(num_bytes // 4)
        self.copies: list[float] = []
        self.stalls: list[float] = []
        self.durations: list[float] = []
        self.steps: dict[bool, list[float]] = {True: [], False: []}

    def training_step(self, batch: Any, batch_idx: int) -> Any:  # noqa: ARG002 - a hook
        """Mean squared error."""
        noisy, clean = batch
        return (self.model(noisy.unsqueeze(1)).squeeze(1) - clean).square().mean()

    def update(self, micro_batches: Any) -> None:
        """One step, timed; one in which a writing begins or ends is left out."""
        is_writing = self.is_writing()
        start = time.perf_counter()
        super().update(micro_batches)
        duration = time.perf_counter() - start
        if is_writing == self.is_writing():
            self.steps[is_writing].append(duration)

    def is_writing(self) -> bool:
        """Whether a checkpoint is on its way to the disk."""
        thread = self.saving._thread
        return thread is not None and thread.is_alive()

    def save_checkpoint(self) -> None:
        """A plain copy, then the save."""
        start = time.perf_counter()
        self.there.copy_(self.here)
        middle = time.perf_counter()
        super().save_checkpoint()
        end = time.perf_counter()
        self.copies.append(middle - start)
        self.stalls.append(end - middle)

    def _write(self, staged: Any) -> None:
        start = time.perf_counter()
        super()._write(staged)
        self.durations.append(time.perf_counter() - start)


def train(folder: Path, options: argparse.Namespace) -> TimedTrainer:
    """One run."""
    channels = options.channels
    model = nn.Sequential(
        nn.Conv1d(1, channels, 33, padding=16), nn.ReLU(), nn.Conv1d(channels, 1, 33, padding=16)
    )
    trainer = TimedTrainer(
        model,
        torch.optim.Adam(model.parameters()),
        num_bytes=options.megabytes * 1_000_000,
        config={
            "max_steps": (options.saves + 1) * STEPS_BETWEEN,
            "save_interval": {"steps": STEPS_BETWEEN, "epochs": 1000},
            "num_threads": options.threads,
            "max_num_checkpoints": 1,
        },
        exp_dir=folder,
        console=SilentConsole(),
    )
    trainer.train(DataLoader(NoisyTones(800), batch_size=8))
    return trainer


def main() -> None:
    """Run, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=300)
    parser.add_argument("--saves", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch")
    parser.add_argument("--channels", type=int, default=32, help="of the model: longer steps")
    parser.add_argument("--folder", type=Path, help="on which disk; default: a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        trainer = train(Path(folder), options)
    stalls, copies = trainer.stalls[1:], trainer.copies[1:]  # the first makes the buffers
    writing, alone = trainer.steps[True], trainer.steps[False]
    ratios = [stall / copy for stall, copy in zip(stalls, copies)]
    slower = statistics.mean(writing) / statistics.mean(alone)
    print(f"{options.megabytes} MB, {options.threads} thread(s), {len(stalls)} saves; milliseconds")
    show("copy of these bytes", statistics.median(copies))
    show("stall of a save", statistics.median(stalls))
    print(f"ratio {statistics.median(ratios):.2f} (median of {listed(ratios)})")
    show("durable after", statistics.median(trainer.durations))
    show("step, nothing written, mean", statistics.mean(alone))
    show("step while writing, mean", statistics.mean(writing))
    print(f"ratio {slower:.2f} ({len(writing)} steps while writing, {len(alone)} others)")
    show("longest step, nothing written", max(alone))
    show("longest step while writing", max(writing))


def show(name: str, seconds: float) -> None:
    """One line of the table."""
    print(f"{name:<32}{seconds * 1e3:10.2f}")


def listed(ratios: list[float]) -> str:
    """Numbers in a row."""
    return " ".join(f"{ratio:.2f}" for ratio in ratios)


if __name__ == "__main__":
    main()
