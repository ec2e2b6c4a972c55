"""What does a batch cost the training process that comes from a worker, and does training wait for it?

    python benchmarks/batches_from_workers.py --rounds 11 --batches 200 --steps 300

First table: batches of 32 signals of 4 s at 16 kHz (8.2 MB) from two workers, in turn,

- through PyTorch's ``DataLoader``
- through ``TrainingLoader`` without slots, as where the system has none
- through ``TrainingLoader``

The workers do next to nothing. Per batch: processor time of the training process with all its threads to receive it;
page faults there; and batches per second: medians of the rounds. One number per page of each batch is read, so that its
pages are there, and then another one of each, which tells what reading takes by itself: twice that does not count. The
first and last batches of a round do not count, in which workers start and end and memory is new. Ends with 1 where not
all give the same bits.

Second table: the recipe ``band_gain_gru`` is trained for some steps, its samples mixed by two workers; how much of the
time the training process waits in ``next`` of its loader, after the first step. The same without workers.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from audiozen.data import dataloaders
from audiozen.data.loader import TrainingLoader
from audiozen.experiment import Experiment
from audiozen.tracking.console import SilentConsole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RECIPE = Path(__file__).parents[1] / "recipes/debian_noisy_speech/band_gain_gru/baseline.toml"
BATCH_SIZE, LENGTH = 32, 4 * 16000
NUM_WORKERS = 2
WARM_UP = 20
"""Batches that do not count, at the beginning and at the end."""
PAGE = 1024
"""Numbers of 32 bits in a page."""
MAX_MILLISECONDS = 0.5
MAX_WAITING = 0.03


class Signals(Dataset[Tensor]):
    """Signals of noise that are there, each with its number in front."""

    def __init__(self, num_signals: int) -> None:
        self.noise, self.num_signals = torch.randn(LENGTH), num_signals

    def __len__(self) -> int:
        return self.num_signals

    def __getitem__(self, index: int) -> Tensor:
        self.noise[0] = index
        return self.noise.clone()


class Cost(NamedTuple):
    """Of one batch.

    Attributes:
        milliseconds: of a processor, in the training process.
        faults: of pages there.
        rate: batches per second.
    """

    milliseconds: float
    faults: float
    rate: float


# ---- 8 MB from workers -----------------------------------------------------------------------------


def plain(dataloader: DataLoader[Any]) -> Iterator[Tensor]:
    """Batches as PyTorch hands them out."""
    return iter(dataloader)


def seeded(dataloader: DataLoader[Any]) -> Iterator[Tensor]:
    """Batches as a trainer gets them."""
    return (dealt.batch for dealt in TrainingLoader(dataloader, seed=0).batches(epoch=0))


def without_slots(dataloader: DataLoader[Any]) -> Iterator[Tensor]:
    """As they come where there are no slots; the workers start here."""
    with patch.object(dataloaders, "made_slots", return_value=None):
        batches = seeded(dataloader)
        first = next(batches)
    yield first
    yield from batches


WAYS: dict[str, Callable[[DataLoader[Any]], Iterator[Tensor]]] = {
    "torch DataLoader": plain,
    "TrainingLoader, no slots": without_slots,
    "TrainingLoader": seeded,
}


def batches_of(way: str, num_batches: int) -> Iterator[Tensor]:
    """So many batches from two workers, in order."""
    signals = Signals(BATCH_SIZE * num_batches)
    return WAYS[way](DataLoader(signals, batch_size=BATCH_SIZE, num_workers=NUM_WORKERS))


def measure(way: str, num_batches: int) -> Cost:
    """One round."""
    batches = batches_of(way, WARM_UP + num_batches + WARM_UP)
    seconds_to_read(islice(batches, WARM_UP))
    before = time.process_time(), num_faults(), time.perf_counter()
    reading = seconds_to_read(islice(batches, num_batches))
    after = time.process_time(), num_faults(), time.perf_counter()
    seconds, faults, wall = (end - begin for begin, end in zip(before, after))
    return Cost(1e3 * (seconds - reading) / num_batches, faults / num_batches, num_batches / wall)


def seconds_to_read(batches: Iterator[Tensor]) -> float:
    """Look at each page of each batch, twice. Processor time of that, page faults apart."""
    seconds = 0.0
    for batch in batches:
        numbers = batch.view(-1)
        numbers[::PAGE].sum()
        begin = time.thread_time()
        numbers[PAGE // 2 :: PAGE].sum()  # which are as new to this core as the first ones were
        seconds += 2 * (time.thread_time() - begin)
    return seconds


def num_faults() -> int:
    """Pages that this process had to be given, so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def digest(way: str) -> str:
    """Of more batches than there are slots."""
    found = hashlib.sha256()
    for batch in batches_of(way, 30):
        found.update(batch.numpy().tobytes())
    return found.hexdigest()


def show_costs(num_rounds: int, num_batches: int) -> None:
    """The first table."""
    rounds = [{way: measure(way, num_batches) for way in WAYS} for _ in range(num_rounds)]
    megabytes = 4 * BATCH_SIZE * LENGTH / 1e6
    print(
        f"batches of {megabytes:.1f} MB from {NUM_WORKERS} workers, {num_batches} in each of {num_rounds} rounds"
    )
    print(f"{'':<26}{'ms of main':>12}{'faults':>10}{'batches/s':>11}{'ms, ratio':>11}")
    for way in WAYS:
        cost = Cost(*map(statistics.median, zip(*(costs[way] for costs in rounds))))
        ratio = statistics.median(
            costs[way].milliseconds / costs["torch DataLoader"].milliseconds for costs in rounds
        )
        wanted = f"   wanted: {MAX_MILLISECONDS} ms" if way == "TrainingLoader" else ""
        print(
            f"{way:<26}{cost.milliseconds:>12.3f}{cost.faults:>10.0f}{cost.rate:>11.0f}{ratio:>11.3f}{wanted}"
        )


# ---- training ----------------------------------------------------------------------------------------


class Clock:
    """Seconds that pass in ``next`` of a loader, and between the first and the last of them."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.wall = 0.0

    def timed(self, batches: Callable[..., Iterator[Any]], *args: Any) -> Iterator[Any]:
        """The same batches."""
        source, first = batches(*args), None
        while True:
            begin = time.perf_counter()
            batch = next(source, None)
            end = time.perf_counter()
            if batch is None:
                return
            first = end if first is None else first
            self.waits.append(end - begin)
            self.wall = end - first
            yield batch

    def share(self) -> float:
        """Of the time that was waited, after the first batch, for which the workers start."""
        return sum(self.waits[1:]) / self.wall


@contextmanager
def training_watched() -> Iterator[Clock]:
    """Inside, each ``TrainingLoader`` is watched by the clock."""
    clock, batches = Clock(), TrainingLoader.batches

    def watched(loader: TrainingLoader, *args: Any) -> Iterator[Any]:
        return clock.timed(partial(batches, loader), *args)

    with patch.object(TrainingLoader, "batches", watched):
        yield clock


def train(num_steps: int, num_workers: int) -> Clock:
    """The first steps of the recipe, without validation."""
    with tempfile.TemporaryDirectory() as folder, training_watched() as clock:
        settings = {
            "meta.save_dir": folder,
            "trainer.args.max_steps": num_steps,
            "train_dataset.dataloader.num_workers": num_workers,
        }
        experiment = Experiment.from_file(RECIPE, [f"{k}={v}" for k, v in settings.items()])
        trainer = experiment.build_trainer()
        trainer.session.console = SilentConsole()
        trainer.train(experiment.train_dataloader())
    return clock


def show_waiting(num_steps: int) -> None:
    """The second table."""
    print(f"training of {RECIPE.parent.name}, {num_steps} steps")
    print(f"{'':<26}{'ms per step':>12}{'waiting':>10}{'median wait, ms':>18}")
    for num_workers in (0, NUM_WORKERS):
        clock = train(num_steps, num_workers)
        per_step = 1e3 * clock.wall / (num_steps - 1)
        wait = 1e3 * statistics.median(clock.waits[1:])
        wanted = f"   wanted: < {MAX_WAITING:.0%}" if num_workers else ""
        print(
            f"{f'{num_workers} workers':<26}{per_step:>12.2f}{clock.share():>10.1%}{wait:>18.3f}{wanted}"
        )


def parse() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11, help="of the first table")
    parser.add_argument("--batches", type=int, default=200, help="that are counted in a round")
    parser.add_argument("--steps", type=int, default=300, help="of training")
    return parser.parse_args()


def main() -> None:
    """Measure, and print."""
    options = parse()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"PyTorch {torch.__version__}, load {os.getloadavg()[0]:.1f} at the start")
    digests = set()
    for way in WAYS:
        torch.manual_seed(0)
        digests.add(digest(way))
    print(f"batches are {'the same' if len(digests) == 1 else 'NOT the same'} in all ways")
    show_costs(options.rounds, options.batches)
    show_waiting(options.steps)
    sys.exit(len(digests) != 1)


if __name__ == "__main__":
    main()
