"""How much longer does a step take on a GPU than that of a plain loop, and what do bf16, compile and CUDA graphs give?

    python benchmarks/on_a_gpu.py
    python benchmarks/on_a_gpu.py --device cpu --quick    # whether it runs; the figures say little

AudioZEN and the plain loop take turns in one process, with models and optimizers of their own and the same batches. A
turn is some steps between two moments at which the GPU is waited for; those before them pay for compilation and graphs.
A ratio is of two neighbouring turns; medians and quartiles. The plain loop has the same precision and compilation, and
never graphs. Memory is the most that tensors have taken in a turn. Busy is the share of the time in which the GPU has
computed: what NVML says where pynvml is installed, else from a trace of some steps, which makes Python slower.

Then the share of a step in which AudioZEN waits for its data, with batches that workers draw and that are page-locked
by a thread of the dataloader, or by the process that trains.

Ends with 1 where both have not come to the same loss. Without a GPU nothing is measured.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from contextlib import nullcontext, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from audiozen.tracking.console import SilentConsole
from audiozen.tracking.tracker import Tracker
from audiozen.trainer.base_trainer import BaseTrainer
from audiozen.trainer.step_parts import Stopwatch, marked
from peers.work import GRU, SIZES, Batches, Size, nothing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peers.work import Batch

GPU_SIZES = SIZES | {"10M": Size(lambda: GRU(257, 1024), (16, 188, 257))}
"""Models by size, and shapes of a batch: 3 s with hops of 16 ms."""
WARM_UP = 8
"""Steps before a turn; graphs are captured in the fourth."""
TOLERANCE = 0.05
"""Of losses, relative: the order of sums on a GPU is not that of the next time."""


class Way(NamedTuple):
    """How the steps are made."""

    precision: str = "fp32"
    compile: bool = False
    cuda_graphs: bool = False


WAYS = {
    "fp32": Way(),
    "bf16": Way("bf16"),
    "compile": Way(compile=True),
    "cuda_graphs": Way(cuda_graphs=True),
    "bf16, compile": Way("bf16", compile=True),
    "bf16, compile, cuda_graphs": Way("bf16", compile=True, cuda_graphs=True),
}
ON_THE_CPU = ("fp32", "bf16")


class Turn(NamedTuple):
    """What some steps have come to.

    Attributes:
        seconds: per step.
        megabytes: the most that tensors have taken.
        busy: share of the time in which the GPU has computed; NaN where nobody knows.
        loss: of the last step.
    """

    seconds: float
    megabytes: float
    busy: float
    loss: float


class Window:
    """The steps of a turn that count.

    Args:
        device: waited for at both ends.
        num_steps: that count.
    """

    def __init__(self, device: torch.device, num_steps: int) -> None:
        self.device, self.num_steps = device, num_steps
        self.num_made = 0
        self.begin = self.seconds = 0.0
        self.megabytes = self.busy = float("nan")
        self.loss = torch.zeros(())

    @property
    def length(self) -> int:
        """Steps in all."""
        return WARM_UP + self.num_steps

    @property
    def is_over(self) -> bool:
        """Whether all steps are made."""
        return self.num_made >= self.length

    def after_step(self) -> None:
        """To be called after each."""
        self.num_made += 1
        if self.num_made == WARM_UP:
            self._synchronize()
            if self.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(self.device)
            self.begin = time.perf_counter()
        elif self.is_over:
            if self.device.type == "cuda" and has_nvml():
                self.busy = torch.cuda.utilization(self.device) / 100
            self._synchronize()
            self.seconds = (time.perf_counter() - self.begin) / self.num_steps
            if self.device.type == "cuda":
                self.megabytes = torch.cuda.max_memory_allocated(self.device) / 1e6

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def turn(self) -> Turn:
        """What it has come to."""
        return Turn(self.seconds, self.megabytes, self.busy, self.loss.item())


def has_nvml() -> bool:
    """Whether the driver can be asked how busy the GPU is."""
    return find_spec("pynvml") is not None


class Contestant:
    """One of both, with a model and an optimizer that go on from turn to turn.

    Args:
        size: key of ``GPU_SIZES``.
        way: how its steps are made.
        device: where.
        folder: for what it writes.
    """

    def __init__(self, size: str, way: Way, device: torch.device, folder: Path) -> None:
        torch.manual_seed(0)
        self.size, self.way, self.device, self.folder = size, way, device, folder
        self.model = GPU_SIZES[size].make().to(device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)

    def turn(self, num_steps: int) -> Turn:
        """Make the steps before a turn, and its own."""
        window = Window(self.device, num_steps)
        batches = Batches(GPU_SIZES[self.size].shape, range(window.length), nothing)
        self.train(window, DataLoader(batches, batch_size=None))
        return window.turn()

    def train(self, window: Window, dataloader: DataLoader[Batch]) -> None:
        """Make as many steps as the window has."""
        raise NotImplementedError


class Plain(Contestant):
    """The plain loop."""

    def train(self, window: Window, dataloader: DataLoader[Batch]) -> None:
        """A copy that does not wait, and the five lines of a step."""
        model: Any = torch.compile(self.model) if self.way.compile else self.model
        for batch in dataloader:
            noisy, clean = (part.to(self.device, non_blocking=True) for part in batch)
            self.optimizer.zero_grad()
            with self._autocast():
                loss = (model(noisy) - clean).square().mean()
            loss.backward()
            self.optimizer.step()
            window.loss = loss.detach()
            window.after_step()

    def _autocast(self) -> Any:
        if self.way.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)


class EnoughError(Exception):
    """Ends a training in the middle, so that nothing is saved."""


class Trainer(BaseTrainer):
    """What a user writes, and the window of a turn."""

    window: Window

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002 - a hook
        """Mean squared error."""
        noisy, clean = batch
        loss: Tensor = (self.model(noisy) - clean).square().mean()
        return loss

    def after_step(self) -> None:
        """End the training with the window."""
        super().after_step()
        self.window.after_step()
        if self.window.is_over:
            self.window.loss = torch.tensor(self.latest_losses()["loss"])
            raise EnoughError


class Ours(Contestant):
    """AudioZEN, without progress and trackers."""

    def train(self, window: Window, dataloader: DataLoader[Batch]) -> None:
        """A trainer for each turn."""
        trainer = self.trainer(window)
        with suppress(EnoughError):
            trainer.train(dataloader)

    def trainer(self, window: Window) -> Trainer:
        """One that ends with the window."""
        settings = {
            "device": str(self.device),
            "max_steps": window.length + 1,
            "log_interval": 10**6,
            "on_nonfinite": "ignore",
        }
        trainer = Trainer(
            self.model,
            self.optimizer,
            config=settings | self.way._asdict(),
            exp_dir=self.folder,
            tracker=Tracker(),
            console=SilentConsole(),
        )
        trainer.window = window
        return trainer


# ---- how busy the GPU is, without NVML ------------------------------------------------------------


def busy_share(contestant: Contestant, num_steps: int) -> float:
    """From a trace of a turn; NaN on the CPU."""
    if contestant.device.type != "cuda":
        return float("nan")
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as trace:
        contestant.turn(num_steps)
    on_device = [e for e in trace.events() or () if e.device_type.name == "CUDA"]
    spans = sorted((event.time_range.start, event.time_range.end) for event in on_device)
    return covered(spans[len(spans) // 2 :])  # the second half has no set-up


def covered(spans: Sequence[tuple[float, float]]) -> float:
    """Which share of the time from the first begin to the last end lies in a span; NaN without any.

    Args:
        spans: begin and end, sorted.
    """
    if not spans:
        return float("nan")
    total, until = 0.0, spans[0][0]
    for begin, end in spans:
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return total / (until - spans[0][0])


# ---- the tables ----------------------------------------------------------------------------------


def compare(size: str, name: str, device: torch.device, options: argparse.Namespace) -> bool:
    """A row: ours and the plain loop in turns. Whether both have come to the same loss."""
    with tempfile.TemporaryDirectory() as folder:
        ours, plain = (kind(size, WAYS[name], device, Path(folder)) for kind in (Ours, Plain))
        pairs = []
        for number in range(options.rounds):
            both = (ours, plain) if number % 2 else (plain, ours)
            turns = {one: one.turn(options.steps) for one in both}
            pairs.append((turns[ours], turns[plain]))
        traced = [busy_share(one, min(options.steps, 20)) for one in (ours, plain)]
    show_row(name, pairs, traced)
    mine, theirs = pairs[-1][0].loss, pairs[-1][1].loss
    is_same = abs(mine - theirs) <= TOLERANCE * abs(theirs)
    if not is_same:
        print(f"  not the same work: losses are {mine:.6g} and {theirs:.6g}")
    return is_same


def show_row(name: str, pairs: list[tuple[Turn, Turn]], traced: list[float]) -> None:
    """What the turns have come to."""
    low, ratio, high = statistics.quantiles([o.seconds / p.seconds for o, p in pairs], n=4)
    ms = [1e3 * statistics.median(pair[k].seconds for pair in pairs) for k in (0, 1)]
    megabytes = [max(pair[k].megabytes for pair in pairs) for k in (0, 1)]
    if has_nvml():
        traced = [statistics.median(pair[k].busy for pair in pairs) for k in (0, 1)]
    figures = " ".join(f"{value:8.0f}" for value in megabytes)
    busy = " ".join(f"{100 * value:6.0f}" for value in traced)
    print(f"{name:<28}{ms[0]:9.3f}{ms[1]:10.3f}{ratio:8.3f}{low:9.3f} {high:.3f} {figures} {busy}")


def show_size(size: str, device: torch.device, options: argparse.Namespace) -> bool:
    """The table of a model."""
    num_weights = sum(p.numel() for p in GPU_SIZES[size].make().parameters())
    print(f"\n{size}: {num_weights / 1e6:.2f} M weights, batches of {GPU_SIZES[size].shape}")
    print(
        f"{'':<28}{'ms':>9}{'plain ms':>10}{'ratio':>8}{'quartiles':>16} {'MB':>7} {'plain MB':>9}"
        f" {'busy %':>6} {'plain':>6}"
    )
    is_right = True
    for name in options.way:
        if device.type == "cuda" or name in ON_THE_CPU:
            is_right &= compare(size, name, device, options)
            torch.compiler.reset()
        else:
            print(f"{name:<28}not on the CPU")
    return is_right


class Drawn(Dataset[tuple[Tensor, Tensor]]):
    """Batches that are drawn anew, which takes a worker some time."""

    def __init__(self, shape: Sequence[int], num_batches: int) -> None:
        self.shape, self.num_batches = tuple(shape), num_batches

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, index: int) -> Batch:
        clean = torch.randn(self.shape)
        return clean + torch.randn(self.shape), clean


def show_waiting(size: str, device: torch.device, options: argparse.Namespace) -> None:
    """The share of a step in which the process that trains waits for a batch, and that of the copy."""
    print(f"\n{size}: share of a step on the host, with workers that draw the batches")
    print(f"{'':<28}{'ms':>9}{'waiting %':>12}{'copy %':>9}")
    for num_workers in options.workers:
        for pin_memory in (False, True):
            with tempfile.TemporaryDirectory() as folder:
                ours = Ours(size, Way(), device, Path(folder))
                seconds = parts_of_step(ours, options.steps, num_workers, pin_memory=pin_memory)
            total = sum(seconds.values())
            name = f"{num_workers} workers{', pin_memory' * pin_memory}"
            share = [100 * seconds.get(part, 0.0) / total for part in ("waiting", "copy")]
            print(f"{name:<28}{1e3 * total / options.steps:9.3f}{share[0]:12.1f}{share[1]:9.1f}")


def parts_of_step(
    ours: Ours, num_steps: int, num_workers: int, *, pin_memory: bool
) -> dict[str, float]:
    """Seconds of the parts of all steps that count; nothing waits for the device in between."""
    window, watch = Window(ours.device, num_steps), Stopwatch()
    data = Drawn(GPU_SIZES[ours.size].shape, window.length + 1)
    dataloader = DataLoader(data, None, num_workers=num_workers, pin_memory=pin_memory)
    trainer = ours.trainer(window)
    after_step = window.after_step

    def watched_after_step() -> None:
        after_step()
        if window.num_made == WARM_UP:
            watch.restart()

    window.after_step = watched_after_step  # type: ignore[method-assign]
    with marked(trainer, watch.part, loading="waiting"), suppress(EnoughError):
        trainer.train(dataloader)
    return watch.read()


# ---- what is asked for ---------------------------------------------------------------------------


def parse() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cuda or cpu")
    parser.add_argument("--size", nargs="+", choices=GPU_SIZES, default=["gru", "10M"])
    parser.add_argument("--way", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--rounds", type=int, default=10, help="turns of each")
    parser.add_argument("--steps", type=int, default=100, help="of a turn")
    parser.add_argument("--workers", type=int, nargs="*", default=[2, 8], help="to wait for")
    parser.add_argument("--quick", action="store_true", help="see whether it runs")
    options = parser.parse_args()
    if options.quick:
        options.size, options.rounds, options.steps, options.workers = ["tiny"], 2, 5, [1]
    return options


def main() -> None:
    """Let them take turns, and print."""
    options = parse()
    if options.device != "cpu" and not torch.cuda.is_available():
        print("no CUDA device: not measured")
        return
    device = torch.device(options.device)
    where = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else "the CPU, which says little"
    )
    torch.set_num_threads(1)
    print(
        f"{where}; PyTorch {torch.__version__}, {options.rounds} rounds, turns of {options.steps} steps, "
        f"load {os.getloadavg()[0]:.1f} at the start"
    )
    is_right = True
    for size in options.size:
        is_right &= show_size(size, device, options)
        show_waiting(size, device, options)
    sys.exit(not is_right)


if __name__ == "__main__":
    main()
