"""What do training and evaluation by AudioZEN cost above plain loops of PyTorch, on two processes?

    python benchmarks/several_processes.py --rounds 40 --steps 20

Starts two processes as torchrun does, with one thread each, which exchange over gloo. In both, trainer and plain loop
take turns inside one training, of so many steps each: trainer, loop, loop, trainer, trainer, loop, ... The first two
of each do not count. Both have a model of their own with the same weights at the start, Adam, clipping, and a
``DataLoader`` without workers that hands out batches of a list. The plain loop is the model in
``DistributedDataParallel`` or ``fully_shard`` with default settings, and the lines that a step needs. The trainer's
turns have all that it does in the course of an epoch: losses logged to its trackers, processes that meet. Set-up and
checkpoint are in no turn. The watch, a thread of the trainer, goes on in all of them; so what it has of a core is
printed besides.

An evaluation is a ``trainer.validate`` outside of a training: from its call to the score on every process, with tables
and trackers; against a loop in which each process takes every second signal and tells nobody.

A turn lasts as long as on the slowest process. Ratios are of neighbouring turns: median and quartiles. Ends with 1
where both have not made the same weights and scores.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from functools import partial
from itertools import chain, cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Subset

from audiozen.acoustics import si_sdr
from audiozen.processes.cores import num_cores
from audiozen.testing import NoisyTones
from audiozen.tracking.console import SilentConsole
from audiozen.trainer.base_trainer import BaseTrainer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from audiozen.processes.group import Group

NUM_PROCESSES = 2
NUM_BATCHES = 16
"""Different ones; they come again and again."""
NUM_SIGNALS = 200
WARM_UP = 2
"""Turns of each that do not count."""
MAX_GRAD_NORM = 5.0
TOLERANCE = 1e-5
GATHERS = ("gather_object", "all_gather_object")


class Masking(nn.Module):
    """A small enhancement model: learned filter bank, GRU, mask. Waveforms ``(batch, time)`` in, the same shape out."""

    def __init__(self, channels: int = 128, width: int = 512, hop: int = 256) -> None:
        super().__init__()
        self.encoder = nn.Conv1d(1, channels, width, stride=hop)
        self.gru = nn.GRU(channels, channels, batch_first=True)
        self.mask = nn.Linear(channels, channels)
        self.decoder = nn.ConvTranspose1d(channels, 1, width, stride=hop)

    def forward(self, noisy: Tensor) -> Tensor:
        """Enhance the waveforms."""
        features = self.encoder(noisy.unsqueeze(1)).transpose(1, 2)
        mask = self.mask(self.gru(features)[0]).sigmoid()
        enhanced: Tensor = self.decoder((features * mask).transpose(1, 2))
        return enhanced.sum(1)  # over the only channel; FSDP2 warns of models that return a view


class Size(NamedTuple):
    """A model, and what it is trained with.

    Attributes:
        name: on the command line.
        make: makes the model.
        num_samples: length of a signal.
        batch_size: signals in a batch.
        wanted: highest ratios that we want, by strategy.
    """

    name: str
    make: Callable[[], nn.Module]
    num_samples: int
    batch_size: int
    wanted: dict[str, float]

    @property
    def description(self) -> str:
        """In words."""
        model = self.make()
        num_weights = sum(p.numel() for p in model.parameters())
        return (
            f"{type(model).__name__} with {num_weights:,} weights, "
            f"{self.batch_size} signals of {self.num_samples} samples in a batch"
        )


SMALL = Size("small", Masking, 512 + 61 * 256, 4, {"ddp": 1.03, "fsdp": 1.05})  # 1 s at 16 kHz
TINY = Size("tiny", partial(nn.Linear, 64, 64), 64, 4, {})
SIZES = {size.name: size for size in (SMALL, TINY)}


# ---- the same work, twice ------------------------------------------------------------------------


def same_model(size: Size) -> nn.Module:
    """A model with the same weights each time, on every process."""
    torch.manual_seed(0)
    return size.make()


def adam(model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of both."""
    return torch.optim.Adam(model.parameters(), lr=1e-4)


def mean_square(estimate: Tensor, clean: Tensor) -> Tensor:
    """The loss of both."""
    return (estimate - clean).square().mean()


def ready_batches(size: Size, num_batches: int) -> list[Any]:
    """A list for both; it holds each of the different batches many times."""
    signals = NoisyTones(NUM_BATCHES * size.batch_size, num_samples=size.num_samples)
    different = list(DataLoader(signals, batch_size=size.batch_size))
    return list(islice(cycle(different), num_batches))


def shared(model: nn.Module, strategy: str) -> nn.Module:
    """As PyTorch shares a model between processes, with the default settings."""
    if strategy == "ddp":
        return DistributedDataParallel(model)
    return fully_shard(model, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))


class PlainLoop:
    """Training without AudioZEN.

    Args:
        model: wrapped for several processes.
        batches: those of this process.
    """

    def __init__(self, model: nn.Module, batches: Iterable[Any]) -> None:
        self.model, self.optimizer = model, adam(model)
        self.batches = iter(batches)
        self.losses: list[Tensor] = []

    def make(self, num_steps: int) -> None:
        """Make the next steps."""
        for noisy, clean in islice(self.batches, num_steps):
            self.optimizer.zero_grad()
            loss = mean_square(self.model(noisy), clean)
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), MAX_GRAD_NORM)
            self.optimizer.step()
            self.losses.append(loss.detach())

    def weights(self) -> list[Tensor]:
        """All of them, whole."""
        weights = [p.detach() for p in self.model.parameters()]
        return [w.full_tensor() if isinstance(w, DTensor) else w for w in weights]


class Turns:
    """Lets trainer and plain loop take turns: after its first turn and then after every other, the loop has two.

    Args:
        num_steps: of a turn.
        plain_loop: what makes them when it is not the trainer's turn.

    Attributes:
        trainer: seconds of each of the trainer's turns.
        plain: those of the loop.
        watch: what the trainer's watch, a thread that goes on in all turns, has had of a core.
    """

    def __init__(self, num_steps: int, plain_loop: PlainLoop) -> None:
        self.num_steps, self.plain_loop = num_steps, plain_loop
        self.trainer: list[float] = []
        self.plain: list[float] = []
        self.watch = 0.0
        self._begin = time.perf_counter()
        self._num_made = 0

    def after_step(self) -> None:
        """To be called after each step of the trainer."""
        self._num_made += 1
        if self._num_made % self.num_steps == 0:
            self.trainer.append(time.perf_counter() - self._begin)
            self.watch = seconds_of_thread("watch")
            if len(self.trainer) % 2:
                self.plain += [self._plain_turn(), self._plain_turn()]
            dist.barrier()
            self._begin = time.perf_counter()

    def _plain_turn(self) -> float:
        dist.barrier()
        begin = time.perf_counter()
        self.plain_loop.make(self.num_steps)
        return time.perf_counter() - begin


class Trainer(BaseTrainer):
    """What a user writes, and the switch to the plain loop."""

    turns: Turns

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:  # noqa: ARG002 - a hook
        """Mean squared error."""
        noisy, clean = batch
        return mean_square(self.model(noisy), clean)

    def after_step(self) -> None:
        """The end of a step, and perhaps of a turn."""
        super().after_step()
        self.turns.after_step()

    def validation_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:  # noqa: ARG002 - a hook
        """One score per signal."""
        noisy, clean = batch
        return {"si_sdr": si_sdr(self.model(noisy), clean)}


def seconds_of_thread(name: str) -> float:
    """What a thread has had of a core, the sum over all of that name."""
    clocks = [time.pthread_getcpuclockid(t.ident) for t in threading.enumerate() if t.name == name]
    return sum(map(time.clock_gettime, clocks))


# ---- measuring -----------------------------------------------------------------------------------


class Measured(NamedTuple):
    """What AudioZEN and a plain loop have taken for the same.

    Attributes:
        ours: seconds of each turn that counts, on the slowest process.
        plain: the same of the plain loop.
        difference: between what both have made.
        watch: part of a core that the trainer's watch has had.
    """

    ours: list[float]
    plain: list[float]
    difference: float
    watch: float = 0.0


def slowest(group: Group, seconds: list[float]) -> list[float]:
    """Of each turn that counts."""
    return [max(turn) for turn in zip(*group.all_gather(seconds[WARM_UP:], "seconds"))]


def trainer_of(size: Size, folder: Path, **settings: Any) -> Trainer:
    """The trainer with a model of this size; settings that are not given here are the default ones."""
    model = same_model(size)
    config = {"num_threads": 1, "device": "cpu", **settings}
    console = SilentConsole()
    return Trainer(model, adam(model), config=config, exp_dir=folder, console=console)


def measure_training(strategy: str, size: Size, options: argparse.Namespace) -> Measured:
    """Let both train."""
    num_steps = (WARM_UP + options.rounds) * options.steps
    settings = {"strategy": strategy, "max_steps": num_steps, "max_grad_norm": MAX_GRAD_NORM}
    trainer = trainer_of(size, options.folder / f"{strategy} {size.name}", **settings)
    batches = ready_batches(size, num_steps * trainer.world_size)
    own = DataLoader(batches[trainer.rank :: trainer.world_size], batch_size=None)
    loop = PlainLoop(shared(same_model(size), strategy), own)
    trainer.turns = turns = Turns(options.steps, loop)
    trainer.train(DataLoader(batches, batch_size=None))
    difference = largest_difference(trainer.model.parameters(), loop.weights())
    watch = turns.watch / (sum(turns.trainer) + sum(turns.plain))
    seconds = [slowest(trainer.group, own) for own in (turns.trainer, turns.plain)]
    return Measured(*seconds, difference, watch)


def largest_difference(left: Iterable[Tensor], right: Iterable[Tensor]) -> float:
    """Of any two elements at the same place."""
    return max((one - other).abs().max().item() for one, other in zip(left, right))


class Evaluations:
    """Evaluates the same signals in both ways.

    Attributes:
        counts: how often the last evaluation by AudioZEN has gathered objects, by the function.
        score: what it gave.
        scores: what the plain loop gave for the signals of this process.
    """

    def __init__(self, trainer: Trainer, size: Size) -> None:
        self.trainer, self.counts = trainer, Counter[str]()
        self.score, self.scores = math.nan, [math.nan]
        tones = NoisyTones(NUM_SIGNALS, num_samples=size.num_samples)
        signals = [tones[index] for index in range(NUM_SIGNALS)]
        own = range(trainer.rank, NUM_SIGNALS, trainer.world_size)
        self.loader, self.own = DataLoader(signals), DataLoader(Subset(signals, own))

    def by_trainer(self) -> None:
        """As a user would."""
        with counted_gathers() as self.counts:
            self.score = self.trainer.validate(self.loader)

    @torch.no_grad()
    def by_loop(self) -> None:
        """Every second signal, and nobody is told."""
        model = self.trainer.model.eval()
        self.scores = [si_sdr(model(noisy), clean).item() for noisy, clean in self.own]

    def difference(self) -> float:
        """Between both scores."""
        everyone = self.trainer.group.all_gather(self.scores, "scores")
        return abs(self.score - statistics.fmean(chain(*everyone)))


def measure_evaluation(size: Size, options: argparse.Namespace) -> tuple[Measured, Counter[str]]:
    """Evaluate in both ways, in turn; and how often AudioZEN's gathers objects."""
    folder = options.folder / f"evaluation {size.name}"
    evaluations = Evaluations(trainer_of(size, folder, best_metric="si_sdr"), size)
    ours: list[float] = []
    plain: list[float] = []
    for number in range(WARM_UP + options.evaluations):
        pair = [(ours, evaluations.by_trainer), (plain, evaluations.by_loop)]
        for seconds, evaluate in reversed(pair) if number % 2 else pair:
            seconds.append(seconds_of(evaluate))
    seconds = [slowest(evaluations.trainer.group, own) for own in (ours, plain)]
    return Measured(*seconds, evaluations.difference()), evaluations.counts


def seconds_of(action: Callable[[], object]) -> float:
    """How long it takes, from when all processes are here."""
    dist.barrier()
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


@contextmanager
def counted_gathers() -> Iterator[Counter[str]]:
    """Within this context, PyTorch's functions that gather objects are counted by name."""
    counts = Counter(dict.fromkeys(GATHERS, 0))
    before = {name: getattr(dist, name) for name in GATHERS}
    for name, function in before.items():
        setattr(dist, name, partial(_count, counts, name, function))
    try:
        yield counts
    finally:
        for name, function in before.items():
            setattr(dist, name, function)


def _count(counts: Counter[str], name: str, function: Any, *args: Any, **kwargs: Any) -> Any:
    counts[name] += 1
    return function(*args, **kwargs)


# ---- the table -----------------------------------------------------------------------------------


def work(options: argparse.Namespace) -> None:
    """What each of the processes does; the first prints."""
    torch.set_num_threads(1)
    differences = []
    for size in map(SIZES.__getitem__, options.size):
        say(f"{size.name}: {size.description}")
        say(f"{'':<24}{'AudioZEN ms':>12}{'plain ms':>10}{'ratio':>8}{'quartiles':>14}")
        for strategy in ("ddp", "fsdp"):
            found = measure_training(strategy, size, options)
            show(f"{strategy}, one step", found, options.steps, size.wanted.get(strategy))
            differences.append(found.difference)
        found, counts = measure_evaluation(size, options)
        show(f"{NUM_SIGNALS} signals evaluated", found)
        say(
            f"  object gathers: {', '.join(f'{n} {k}' for k, n in sorted(counts.items()))}; wanted: at most 1"
        )
        differences.append(found.difference)
    if not all(difference <= TOLERANCE for difference in differences):  # nor where one is NaN
        sys.exit("not the same work")


def show(name: str, found: Measured, num_steps: int = 1, wanted: float | None = None) -> None:
    """One line."""
    ours, plain = (statistics.median(turns) / num_steps * 1e3 for turns in found[:2])
    ratios = [one / other for one, other in zip(found.ours, found.plain)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    note = f"   wanted: {wanted}" if wanted else ""
    say(f"{name:<24}{ours:12.2f}{plain:10.2f}{middle:8.3f}{low:8.3f} {high:.3f}{note}")
    say(f"  results differ by {found.difference:.1g}")
    if found.watch:
        say(f"  its watch: {found.watch:.2%} of a core")


def say(line: str) -> None:
    """On the first process only."""
    if os.environ["RANK"] == "0":
        print(line, flush=True)


def start(arguments: list[str], num_processes: int) -> int:
    """Run this program in several processes; 0 where none of them fails."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that none of them stays behind
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, *arguments, f"--folder={folder}"]
        environments = [os.environ | variables for variables in torchrun_variables(num_processes)]
        started = [subprocess.Popen(command, env=variables) for variables in environments]  # noqa: S603 - this file
        try:
            return max(abs(process.wait()) for process in started)
        finally:
            for process in started:
                process.kill()
                process.wait()


def torchrun_variables(num_processes: int) -> list[dict[str, str]]:
    """Of each process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(num_processes),
        "LOCAL_WORLD_SIZE": str(num_processes),
        "OMP_NUM_THREADS": "1",
    }
    return [{**shared, "RANK": str(k), "LOCAL_RANK": str(k)} for k in range(num_processes)]


def parse() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--size", nargs="+", choices=SIZES, default=list(SIZES), help="of the model"
    )
    parser.add_argument("--steps", type=int, default=20, help="of one turn")
    parser.add_argument(
        "--rounds", type=int, default=40, help="turns of trainer and plain loop each"
    )
    parser.add_argument("--evaluations", type=int, default=10, help="in each of both ways")
    parser.add_argument("--processes", type=int, default=NUM_PROCESSES)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Start the processes, or be one of them."""
    options = parse()
    if options.folder is not None:
        work(options)
        return
    print(
        f"{options.processes} processes with 1 thread each, gloo, {num_cores()} cores, PyTorch {torch.__version__}; "
        f"{options.rounds} turns of {options.steps} steps, {options.evaluations} evaluations; medians",
        flush=True,
    )
    sys.exit(start(sys.argv[1:], options.processes))


if __name__ == "__main__":
    main()
