"""How long does it take until a checkpoint is back in the model and the optimizer, and how much memory meanwhile?

    python benchmarks/loading_checkpoints.py --megabytes 300 --rounds 9 --threads 1

Three states of the same size: weights alone, into a model that is there, as for a test; a run, into a model that is
there and an Adam that has made no step, as after a resume; and the same into an Adam that has. Each is loaded by turns,
from files that the system has in its memory, by AudioZEN (which verifies them), safetensors and
``torch.load(mmap=True)`` (which do not); and the same bytes are copied between two buffers that are kept. Printed are
medians, and medians of the ratios to the copy of the same round. ``first use`` is one pass over all of what was loaded:
what is only mapped is read, and gets its memory, then.

AudioZEN hashes and copies with up to four threads, whatever ``--threads`` says: what is measured depends on how many
cores are free. On two that are kept free (AMD EPYC, real-time priority), in copies by one thread: verifying 0.5 to 0.8
(one thread: 0.8), copying into a model that is there 0.8 (one thread: 1.1), so that weights take 1.4 to 1.8; with both
cores busy, 2. A run takes 2.2 to 3, as its moments, which are two thirds of it, go into new memory: 1.1 instead of 0.5,
and several times as much where a virtual machine has to ask its host for that memory.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from torch import nn

from audiozen.trainer.checkpoint import CheckpointStore
from audiozen.trainer.serialization import flatten, unflatten
from audiozen.trainer.snapshot import load_snapshot, take_snapshot
from audiozen.trainer.weights import load_matching

if TYPE_CHECKING:
    from collections.abc import Callable

WANTED = 1.3
NUM_LAYERS = 100
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass
class State:
    """A model, and its Adam if there is one."""

    model: nn.Module
    optimizer: torch.optim.Optimizer | None

    def tensors(self) -> list[torch.Tensor]:
        """All of them that are large."""
        moments = [
            value
            for values in (self.optimizer.state.values() if self.optimizer else ())
            for value in values.values()
            if value.dim()
        ]
        return [*(parameter.detach() for parameter in self.model.parameters()), *moments]

    def num_bytes(self) -> int:
        """Of these."""
        return sum(tensor.nbytes for tensor in self.tensors())


def make_state(num_bytes: int, *, with_optimizer: bool, has_stepped: bool = True) -> State:
    """A state of this size, the weights a third of it if there is an optimizer."""
    num_weights = num_bytes // 4 // (3 if with_optimizer else 1)
    width = round((num_weights / NUM_LAYERS) ** 0.5)
    model = nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(NUM_LAYERS)))
    optimizer = torch.optim.Adam(model.parameters()) if with_optimizer else None
    if optimizer and has_stepped:
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()
        optimizer.zero_grad()
    return State(model, optimizer)


# ---- the same state on the disk, and back --------------------------------------------------------


@dataclass
class Marks:
    """Moments between the stages of one load, and the anonymous memory at each."""

    clock: Callable[[], float]
    times: dict[str, float] = field(default_factory=dict)
    memory: list[int] = field(default_factory=list)

    def begin(self) -> None:
        """From here."""
        self.memory.append(anonymous_memory())
        self.last = self.clock()

    def end(self, stage: str) -> None:
        """A stage has ended."""
        self.times[stage] = self.clock() - self.last
        self.begin()


def save(folder: Path, state: State) -> None:
    """Write the state down in all three ways."""
    weights = state.model.state_dict()
    optimizer = {"": state.optimizer} if state.optimizer else {}
    store = CheckpointStore(folder / "store")
    snapshot = take_snapshot(optimizer)
    store.save("one", epoch=1, step=1, models={"": weights}, training_state=snapshot)
    document, tensors = flatten(snapshot)
    safetensors.torch.save_file(weights, folder / "model.safetensors")
    safetensors.torch.save_file(tensors, folder / "optimizer.safetensors")
    torch.save(document, folder / "optimizer.document")
    torch.save({"model": weights, "optimizer": snapshot}, folder / "state.pt")


def load_audiozen(folder: Path, state: State, marks: Marks) -> None:
    """As a run that is resumed."""
    store = CheckpointStore(folder / "store")
    path = store.newest_good()
    marks.end("verify")
    assert path is not None
    weights, snapshot = store.load_models(path), store.load_training_state(path)
    marks.end("read")
    load_matching({"": state.model}, weights)
    load_snapshot({"": state.optimizer} if state.optimizer else {}, snapshot, path)
    marks.end("give back")


def load_safetensors(folder: Path, state: State, marks: Marks) -> None:
    """The library, and ``load_state_dict``."""
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    tensors = safetensors.torch.load_file(folder / "optimizer.safetensors")
    snapshot = unflatten(torch.load(folder / "optimizer.document"), tensors)
    marks.end("read")
    give_back(state, weights, snapshot)
    marks.end("give back")


def load_torch(folder: Path, state: State, marks: Marks) -> None:
    """PyTorch, and ``load_state_dict``."""
    content = torch.load(folder / "state.pt", mmap=True)
    marks.end("read")
    give_back(state, content["model"], content["optimizer"])
    marks.end("give back")


def give_back(state: State, weights: Any, snapshot: Any) -> None:
    """As scripts do."""
    state.model.load_state_dict(weights)
    if state.optimizer:
        state.optimizer.load_state_dict(snapshot[""]["state"])


WAYS = {
    "audiozen": load_audiozen,
    "safetensors": load_safetensors,
    "torch.load(mmap)": load_torch,
}


# ---- measuring -----------------------------------------------------------------------------------


def anonymous_memory() -> int:
    """Memory of this process that is not that of files, in bytes; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")), 0)


def timed(clock: Callable[[], float], work: Callable[[], object]) -> float:
    """Seconds."""
    start = clock()
    work()
    return clock() - start


def measure(title: str, saved: State, fresh: Callable[[], State], options: Any) -> None:
    """Load a state by turns in all ways, and print the table."""
    clock = CLOCKS[options.clock]
    here = torch.randn(saved.num_bytes() // 4)
    there = torch.zeros_like(here)
    times: dict[str, list[float]] = defaultdict(list)
    grown: dict[str, int] = defaultdict(int)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        save(Path(name), saved)
        time.sleep(3)  # files that have just been written are verified twice
        for _ in range(options.rounds):
            times["copy"].append(timed(clock, lambda: there.copy_(here)))
            for way, load in WAYS.items():
                state, marks = fresh(), Marks(clock)
                marks.begin()
                load(Path(name), state, marks)
                for stage, duration in marks.times.items():
                    times[f"{way}: {stage}"].append(duration)
                times[way].append(sum(marks.times.values()))
                use = timed(clock, lambda: torch._foreach_add_(state.tensors(), 0))  # noqa: B023
                times[f"{way}: first use"].append(use)
                grown[way] = max(grown[way], max(marks.memory) - marks.memory[0])
                check_same(state, saved)
    report(title, saved, times, grown)


def check_same(state: State, saved: State) -> None:
    """Nothing is measured that does not work."""
    pairs = zip(state.tensors(), saved.tensors(), strict=True)
    if not all(torch.equal(found, expected) for found, expected in pairs):
        raise AssertionError("what was loaded is not what was saved")


def report(title: str, saved: State, times: dict[str, list[float]], grown: dict[str, int]) -> None:
    """One table."""
    print(f"\n{title}: {saved.num_bytes() / 1e6:.0f} MB; milliseconds, ratio to the copy")
    for name, durations in times.items():
        ratios = [duration / copy for duration, copy in zip(durations, times["copy"])]
        indented = f"  {name.split(': ')[1]}" if ": " in name else name
        memory = f"   memory +{grown[name] / 1e6:.0f} MB" if name in grown else ""
        print(
            f"{indented:<24}{statistics.median(durations) * 1e3:9.1f}{statistics.median(ratios):8.2f}{memory}"
        )


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu on a busy machine")
    parser.add_argument("--folder", type=Path, help="on which disk; default: a temporary folder")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    options = parse()
    torch.set_num_threads(options.threads)
    num_bytes = options.megabytes * 1_000_000
    print(f"{options.threads} thread(s), {options.clock} time, wanted: at most {WANTED} x a copy")
    weights = make_state(num_bytes, with_optimizer=False)
    kept = make_state(num_bytes, with_optimizer=False)
    measure("weights into a model", weights, lambda: kept, options)
    run = make_state(num_bytes, with_optimizer=True)
    model = make_state(num_bytes, with_optimizer=True, has_stepped=False).model
    measure(
        "a run into a model and a new Adam",
        run,
        lambda: State(model, torch.optim.Adam(model.parameters())),
        options,
    )
    used = make_state(num_bytes, with_optimizer=True)
    measure("a run into a model and an Adam that has made steps", run, lambda: used, options)


if __name__ == "__main__":
    main()
