"""Does a long run stay as small as it began?

    python benchmarks/long_run.py --steps 1000000
    python benchmarks/long_run.py --steps 100000 --single-epoch

Trains a tiny model for many steps, with three scalars a step, logs, checkpoints and validations. Prints resident
memory, open files, threads and the time of a step at ten points, the slope of the memory after the first fifth, and
what ``metrics.jsonl`` has grown by. Ends with 1 where something grows that must not.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from audiozen.tracking.console import SilentConsole
from audiozen.tracking.defaults import default_tracker
from audiozen.tracking.tracker import Tracker, Trackers
from audiozen.trainer.base_trainer import BaseTrainer

NUM_SAMPLES = 50
NUM_SHOWN = 10
MAX_BYTES_PER_STEP = 1000


class Sample(NamedTuple):
    """What the process takes up at one step."""

    step: int
    seconds: float
    resident: int
    descriptors: int
    threads: int


def take_sample(step: int) -> Sample:
    """Look at this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names only
    resident = pages * resource.getpagesize()
    return Sample(step, time.perf_counter(), resident, descriptors, threading.active_count())


class RowCounter(Tracker):
    """Counts what the other trackers are given."""

    def __init__(self) -> None:
        self.num_rows = 0

    def log_scalars(self, scalars: Any, *, step: int, epoch: int) -> None:  # noqa: ARG002 - of a tracker
        """One more."""
        self.num_rows += 1


class SampledTrainer(BaseTrainer):
    """Takes a sample every so many steps, while no checkpoint is being written."""

    def __init__(self, *args: Any, steps_between: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.steps_between = steps_between
        self.samples: list[Sample] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:  # noqa: ARG002 - a hook
        """Squared error, and two more scalars."""
        features, target = batch
        if self.state.step % self.steps_between == 0:
            self.saving.wait()
            self.samples.append(take_sample(self.state.step))
        estimate = self.model(features)
        loss = (estimate - target).square().mean()
        return {"loss": loss, "mean": estimate.mean(), "num_items": len(features)}

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:  # noqa: ARG002 - a hook
        """Minus the squared error of each item."""
        features, target = batch
        return {"score": -(self.model(features) - target).square().mean(1)}


def train(folder: Path, options: argparse.Namespace) -> tuple[SampledTrainer, int]:
    """One run, and how many rows its trackers were given."""
    num_epochs = 1 if options.single_epoch else options.epochs
    model = nn.Linear(4, 1)
    counter = RowCounter()
    with Trackers([default_tracker(folder), counter]) as tracker:
        trainer = SampledTrainer(
            model,
            torch.optim.SGD(model.parameters(), lr=1e-3),
            steps_between=max(1, options.steps // NUM_SAMPLES),
            config={
                "max_epochs": num_epochs,
                "log_interval": options.log_interval,
                "save_interval": {"steps": max(1, options.steps // options.saves)},
                "validation_interval": {"steps": max(1, options.steps // options.validations)},
                "num_threads": 1,
            },
            exp_dir=folder,
            tracker=tracker,
            console=SilentConsole(),
        )
        trainer.train(
            DataLoader(random_pairs(options.steps // num_epochs), batch_size=1, shuffle=True),
            DataLoader(random_pairs(16), batch_size=8),
        )
    return trainer, counter.num_rows


def random_pairs(num_items: int) -> TensorDataset:
    """Items to train on, and what to make of each."""
    return TensorDataset(torch.randn(num_items, 4), torch.randn(num_items, 1))


def slope(samples: list[Sample]) -> float:
    """Growth of the resident memory in bytes per step, by least squares."""
    steps = [sample.step for sample in samples]
    return statistics.linear_regression(steps, [sample.resident for sample in samples]).slope


def show(samples: list[Sample]) -> None:
    """A line for each of ten points."""
    print(f"{'step':>10}{'resident MB':>13}{'open files':>12}{'threads':>9}{'us per step':>13}")
    shown = samples[:: max(1, len(samples) // NUM_SHOWN)]
    for before, sample in zip([None, *shown], shown):
        elapsed = "" if before is None else f"{microseconds_per_step(before, sample):.0f}"
        print(
            f"{sample.step:>10}{sample.resident / 1e6:>13.2f}{sample.descriptors:>12}{sample.threads:>9}{elapsed:>13}"
        )


def microseconds_per_step(first: Sample, last: Sample) -> float:
    """Mean over the steps between two samples, all that happens there included."""
    return (last.seconds - first.seconds) / (last.step - first.step) * 1e6


def problems(settled: list[Sample], num_rows: int, num_lines: int) -> list[str]:
    """What grew that must not; ``settled`` are the samples after the first fifth."""
    found = []
    if slope(settled) > MAX_BYTES_PER_STEP:
        found.append(f"memory grows by more than {MAX_BYTES_PER_STEP} bytes per step")
    for name in ("descriptors", "threads"):
        numbers = {getattr(sample, name) for sample in settled}
        if len(numbers) > 1:
            found.append(f"the number of {name} changes: {sorted(numbers)}")
    if num_lines != num_rows:
        found.append(f"metrics.jsonl has {num_lines} lines for {num_rows} rows")
    return found


def parse_arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--single-epoch", action="store_true", help="all steps in one epoch")
    parser.add_argument("--log-interval", type=int, default=50)
    parser.add_argument("--saves", type=int, default=100)
    parser.add_argument("--validations", type=int, default=20)
    return parser.parse_args()


def main() -> int:
    """Run, print, and judge."""
    with tempfile.TemporaryDirectory() as folder:
        trainer, num_rows = train(Path(folder), parse_arguments())
        content = (Path(folder) / "metrics" / "metrics.jsonl").read_bytes()
    samples, num_lines = trainer.samples, content.count(b"\n")
    settled = samples[len(samples) // 5 :]
    show(samples)
    print(f"memory: {slope(settled):.1f} bytes per step after the first fifth")
    print(f"time: {microseconds_per_step(samples[0], samples[-1]):.0f} microseconds per step")
    print(f"metrics.jsonl: {num_lines} lines, {len(content) / num_lines:.1f} bytes per line")
    found = problems(settled, num_rows, num_lines)
    for problem in found:
        print(f"FAILED: {problem}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
