"""Does a run cost more per step, per checkpoint or per signal, the more of them there are?

    python benchmarks/growth.py
    python benchmarks/growth.py --quick

First table: an epoch of 10^3, 10^5 and 10^7 samples, of which some steps in its middle are looked at. Second: one and
1,000 checkpoints in the folder. Third: a validation of one and of 1,000 signals, without what it costs for one. What no
machine and no load changes comes first: functions of Python that are called, operations on files, bytes that Python
holds. Times are those of the CPU and medians of rounds in turn, but for the time to the first step, which is by the
clock. Ends with 1 where something is counted that grows and must not.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from audiozen.tracking.console import SilentConsole
from audiozen.tracking.tracker import Tracker
from audiozen.trainer.base_trainer import BaseTrainer
from audiozen.trainer.checkpoint import MANIFEST, CheckpointStore, read_sealed, sealed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

NUM_SAMPLES = (10**3, 10**5, 10**7)
NUM_CHECKPOINTS = (1, 1000)
NUM_SIGNALS = (1, 1000)
FEW_SIGNALS = 11
"""What a further signal costs where there are few of them is the difference between these and one."""
BATCH_SIZE = 2
WARM_UP = 20
NUM_STEPS = 320
NUM_LEFT = 500
"""Samples that are left of the epoch where a run is resumed."""
FLAT = 1.1
FILE_MODULES = ("posix", "io", "_io")
NO_FILES = ("fspath", "getpid", "fsdecode")


# ---- what is counted -----------------------------------------------------------------------------


class Counted:
    """Counts while it is entered: functions of Python that begin or go on, and operations on files.

    No garbage is collected meanwhile: whose turn it is, and which finalizers it calls, depends on what was done before.
    """

    def __init__(self) -> None:
        self.num_calls = self.num_file_operations = 0

    def __enter__(self) -> Counted:
        gc.collect()
        self.collects_garbage = gc.isenabled()
        gc.disable()
        sys.setprofile(self._count)
        return self

    def __exit__(self, *_exception: object) -> None:
        sys.setprofile(None)
        if self.collects_garbage:
            gc.enable()

    def _count(self, _frame: FrameType, event: str, function: Any) -> None:
        if event == "call":
            self.num_calls += 1
        elif event == "c_call" and getattr(function, "__module__", "") in FILE_MODULES:
            self.num_file_operations += function.__name__ not in NO_FILES


class Traced:
    """The most bytes that Python and NumPy hold at a time while it is entered, above those at its beginning."""

    num_bytes = 0

    def __enter__(self) -> Traced:
        gc.collect()
        tracemalloc.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.num_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


class Timed:
    """Seconds of the CPU while it is entered."""

    seconds = 0.0

    def __enter__(self) -> Timed:
        self.begin = time.process_time()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.seconds = time.process_time() - self.begin


def resident_bytes() -> int:
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


# ---- the table -----------------------------------------------------------------------------------


class Row(NamedTuple):
    """One figure, from the smallest to the largest.

    Attributes:
        name: what it is, and in which unit.
        values: for each size.
        limit: how many times the first the last one may be; None where it is only shown.
        note: why it may grow.
    """

    name: str
    values: Sequence[float]
    limit: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float:
        """The largest to the smallest size."""
        return self.values[-1] / self.values[0] if self.values[0] else float("nan")

    @property
    def grows(self) -> bool:
        """And must not."""
        return self.limit is not None and not self.ratio <= self.limit


def show(title: str, sizes: Sequence[int], rows: Sequence[Row]) -> None:
    """One table."""
    print(f"\n{title:<50}" + "".join(f"{size:>13,}" for size in sizes) + f"{'ratio':>12}")
    for row in rows:
        wanted = row.note if row.limit is None else f"wanted: at most {row.limit:g}"
        values = "".join(f"{value:>13,.2f}" for value in row.values)
        ratio = f"{row.ratio:,.2f}" if row.values[0] else "-"
        print(f"  {row.name:<48}{values}{ratio:>12}   {wanted}".rstrip(), flush=True)


# ---- samples -------------------------------------------------------------------------------------


class Computed(Dataset[Tensor]):
    """Samples that are made when they are asked for."""

    def __init__(self, num_samples: int) -> None:
        self.num_samples = num_samples

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, index: int) -> Tensor:
        return torch.full((4,), index / self.num_samples)


class Steps:
    """What happens at the first step, and around a window of ``NUM_STEPS``.

    Args:
        window: is entered where it begins.
        before: was entered before the training, and is left at the first step.
    """

    def __init__(self, window: Any = None, before: Any = None) -> None:
        self.window, self.before, self.num_begun, self.first_at = window, before, 0, 0.0

    def __call__(self) -> None:
        """A step begins."""
        if self.num_begun == 0:
            self.first_at = time.perf_counter()
            if self.before is not None:
                self.before.__exit__()
        if self.window is not None:
            if self.num_begun == WARM_UP:
                self.window.__enter__()
            elif self.num_begun == WARM_UP + NUM_STEPS:
                self.window.__exit__()
        self.num_begun += 1


class Trainer(BaseTrainer):
    """Of a tiny model."""

    steps: Steps

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:  # noqa: ARG002 - a hook
        """A mean square."""
        self.steps()
        loss: Tensor = self.model(batch).square().mean()
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> Any:  # noqa: ARG002 - a hook
        """One score per signal."""
        return {"score": self.model(batch).square().mean(1)}


def new_trainer(folder: Path, max_steps: int, *, resume: bool = False) -> Trainer:
    """One with all that is on by default, but silent."""
    torch.manual_seed(0)
    model = nn.Linear(4, 4)
    return Trainer(
        model,
        torch.optim.SGD(model.parameters(), lr=1e-3),
        config={"max_steps": max_steps, "device": "cpu", "num_threads": 1},
        exp_dir=folder,
        tracker=Tracker(),
        console=SilentConsole(),
        resume=resume,
    )


def dataloader_of(num_samples: int, *, shuffle: bool) -> DataLoader[Tensor]:
    """Of one epoch."""
    return DataLoader(Computed(num_samples), batch_size=BATCH_SIZE, shuffle=shuffle)


def start_at(trainer: Trainer, position: int) -> None:
    """Let the first epoch be in progress."""
    trainer.state.epoch, trainer.state.position = 1, position
    trainer.state.epoch_is_finished = False


def train(num_samples: int, steps: Steps, *, shuffle: bool) -> float:
    """Some steps in the middle of an epoch; seconds to the first of them."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = new_trainer(Path(folder), WARM_UP + NUM_STEPS + 1)
        trainer.steps = steps
        start_at(trainer, num_samples // 4)
        begin = time.perf_counter()
        trainer.train(dataloader_of(num_samples, shuffle=shuffle))
        return steps.first_at - begin


def calls_of_steps(num_samples: int, *, shuffle: bool) -> tuple[float, float]:
    """Functions of Python per step, and before the first one."""
    in_steps, before = Counted(), Counted()
    steps = Steps(in_steps, before)
    with before:
        train(num_samples, steps, shuffle=shuffle)
    return in_steps.num_calls / NUM_STEPS, before.num_calls


def traced_kilobytes(num_samples: int, *, shuffle: bool) -> float:
    """The most that is held at a time, from before the first step to after the last one."""
    with Traced() as traced:
        train(num_samples, Steps(), shuffle=shuffle)
    return traced.num_bytes / 1e3


def turn(num_samples: int, *, shuffle: bool) -> tuple[float, float]:
    """Microseconds of the CPU per step, and milliseconds to the first step."""
    timed = Timed()
    to_first = train(num_samples, Steps(timed), shuffle=shuffle)
    return timed.seconds / NUM_STEPS * 1e6, to_first * 1e3


def resident_megabytes(num_samples: int, *, shuffle: bool) -> float:
    """Of a process that trains nothing else, after its last step."""
    command = [sys.executable, __file__, "--resident", str(num_samples)]
    command += ["--shuffle"] if shuffle else []
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - this file
    return float(json.loads(done.stdout)) / 1e6


def resumed(num_samples: int, *, with_losses: bool) -> tuple[float, float]:
    """Milliseconds to the first step of a run that is resumed at the end of its epoch, and kilobytes of its checkpoint.

    Args:
        num_samples: of the epoch.
        with_losses: those of all steps before, which ``training_epoch_end`` gets, are in the checkpoint.
    """
    with tempfile.TemporaryDirectory() as folder:
        data = dataloader_of(num_samples, shuffle=True)
        before = new_trainer(Path(folder), 1)
        before.steps = Steps()
        start_at(before, num_samples - NUM_LEFT - BATCH_SIZE)
        if with_losses:
            before.training_epoch_output.load_state_dict(losses_of(before.state.position // 2))
        before.train(data)
        size = sum(file.stat().st_size for file in before.checkpoints_dir.glob("epoch*/*"))
        del before
        trainer = new_trainer(Path(folder), 2, resume=True)
        trainer.steps = Steps()
        begin = time.perf_counter()
        trainer.train(data)
        return (trainer.steps.first_at - begin) * 1e3, size / 1e3


def losses_of(num_steps: int) -> dict[str, Any]:
    """What has been returned by the steps before."""
    values, entries = torch.zeros(num_steps, dtype=torch.float64), torch.zeros(num_steps).int()
    return {"values": values, "entries": entries, "layouts": [None]}


def medians(rounds: Sequence[Sequence[Any]]) -> list[list[float]]:
    """Of each part of what the rounds have given for each size; by part, then by size."""
    by_size = [list(zip(*turns)) for turns in zip(*rounds)]
    return [list(map(statistics.median, parts)) for parts in zip(*by_size)]


def rows_of_samples(num_rounds: int, *, shuffle: bool) -> list[Row]:
    """The first table, of one order."""
    train(NUM_SAMPLES[0], Steps(), shuffle=shuffle)  # what is made once
    rounds = [[turn(size, shuffle=shuffle) for size in NUM_SAMPLES] for _ in range(num_rounds)]
    microseconds, to_first = medians(rounds)
    resident = [resident_megabytes(size, shuffle=shuffle) for size in NUM_SAMPLES]
    per_step, before = zip(*[calls_of_steps(size, shuffle=shuffle) for size in NUM_SAMPLES])
    held = [traced_kilobytes(size, shuffle=shuffle) for size in NUM_SAMPLES]
    return [
        Row("functions called per step", per_step, FLAT),
        Row("functions called before the first step", before, FLAT),
        Row("kB that Python holds at most", held, FLAT),
        Row("us of the CPU per step", microseconds),
        Row("MB resident, above the smallest", [size - resident[0] for size in resident]),
        Row("ms to the first step", to_first),
    ]


def rows_of_resuming(num_rounds: int) -> list[Row]:
    """How a run goes on at the end of its epoch."""
    rows = []
    for with_losses in (False, True):
        rounds = [
            [resumed(size, with_losses=with_losses) for size in NUM_SAMPLES]
            for _ in range(num_rounds)
        ]
        to_first, kilobytes = medians(rounds)
        what, note = "resumed", ""
        if with_losses:
            what, note = "with all losses", "grows: training_epoch_end gets them as a list"
        rows += [
            Row(f"{what}: ms to the first step", to_first, note=note),
            Row(f"{what}: kB of the checkpoint", kilobytes, None if with_losses else FLAT, note),
        ]
    return rows


# ---- checkpoints ---------------------------------------------------------------------------------


class Folder:
    """A folder with many checkpoints, all of them links to the files of one, each with a manifest of its own."""

    def __init__(self, root: Path, num_checkpoints: int) -> None:
        self.root, self.num_checkpoints = root / str(num_checkpoints), num_checkpoints
        elsewhere = CheckpointStore(root / f"of_{num_checkpoints}")
        self.source = self.write(elsewhere, 1)
        for number in range(1, num_checkpoints + 1):
            self.add(number)
        CheckpointStore(self.root).mark_latest(name_of(num_checkpoints))

    def write(self, store: CheckpointStore, number: int) -> Path:
        """Save a tiny model."""
        models = {"": {"weight": torch.zeros(4)}}
        return store.save(name_of(number), epoch=number, step=number, models=models)

    def add(self, number: int) -> None:
        """One more, or one again."""
        folder = self.root / name_of(number)
        folder.mkdir(parents=True)
        for file in self.source.iterdir():
            if file.name != MANIFEST:
                (folder / file.name).hardlink_to(file)
        manifest = read_sealed(self.source / MANIFEST) | {"epoch": number, "step": number}
        (folder / MANIFEST).write_bytes(sealed(manifest))

    def store(self, *, keeps_all: bool = True) -> CheckpointStore:
        """As a run has it that has saved before."""
        most = 10**6 if keeps_all else self.num_checkpoints
        store = CheckpointStore(self.root, max_num_checkpoints=most)
        self.save(store)
        self.remove_new()
        return store

    def save(self, store: CheckpointStore) -> None:
        """As a training does: write the next one, and remove what is too old."""
        self.write(store, self.num_checkpoints + 1)
        store.prune()

    def remove_new(self) -> None:
        """Let it be as it was before :meth:`save`."""
        shutil.rmtree(self.root / name_of(self.num_checkpoints + 1))
        if not (self.root / name_of(1)).exists():
            self.add(1)


def name_of(number: int) -> str:
    """Of a checkpoint."""
    return f"epoch_{number:04}"


def cost(
    action: Callable[[], object], num_rounds: int, undo: Callable[[], object] = lambda: None
) -> tuple[int, float]:
    """Operations on files, and milliseconds of the CPU."""
    with Counted() as counted:
        action()
    undo()
    times = []
    for _ in range(num_rounds):
        with Timed() as timed:
            action()
        undo()
        times.append(timed.seconds * 1e3)
    return counted.num_file_operations, statistics.median(times)


def costs_of(folder: Folder, num_rounds: int) -> dict[str, tuple[int, float]]:
    """Of all that is done with a folder of checkpoints."""
    keeping, removing = folder.store(), folder.store(keeps_all=False)
    return {
        "save, none removed": cost(lambda: folder.save(keeping), num_rounds, folder.remove_new),
        "save, the oldest removed": cost(
            lambda: folder.save(removing), num_rounds, folder.remove_new
        ),
        "nothing to remove": cost(keeping.prune, num_rounds),
        "find the newest good one": cost(
            lambda: CheckpointStore(folder.root).newest_good(), num_rounds
        ),
    }


def rows_of_checkpoints(num_rounds: int, sizes: Sequence[int] = NUM_CHECKPOINTS) -> list[Row]:
    """The second table."""
    with tempfile.TemporaryDirectory() as root:
        found = [costs_of(Folder(Path(root), size), num_rounds) for size in sizes]
    rows = []
    for part, unit in enumerate(("operations on files", "ms of the CPU")):
        for name in found[0]:
            values = [costs[name][part] for costs in found]
            if name.startswith("find"):
                each = (values[-1] - values[0]) / (sizes[-1] - sizes[0])
                note = f"grows: which is newest stands in the manifests; {each:.3g} for each"
                rows.append(Row(f"{name}: {unit}", values, note=note))
            else:
                rows.append(Row(f"{name}: {unit}", values, None if part else FLAT))
    return rows


# ---- signals -------------------------------------------------------------------------------------


def validate(num_signals: int, window: Any) -> None:
    """One validation, as a whole in the window."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = new_trainer(Path(folder), 1)
        data = DataLoader(Computed(num_signals), batch_size=1)
        with window:
            trainer.validate(data)


def calls_of_validation(num_signals: int) -> float:
    """Functions of Python."""
    counted = Counted()
    validate(num_signals, counted)
    return counted.num_calls


def traced_of_validation(num_signals: int) -> float:
    """The most kilobytes that Python holds at a time."""
    traced = Traced()
    validate(num_signals, traced)
    return traced.num_bytes / 1e3


def microseconds_of_validation(num_signals: int) -> float:
    """Of the CPU."""
    timed = Timed()
    validate(num_signals, timed)
    return timed.seconds * 1e6


def per_further_signal(measure: Callable[[int], float], num_rounds: int = 1) -> list[float]:
    """What a further signal costs where there are few, and where there are many."""
    sizes = (NUM_SIGNALS[0], FEW_SIGNALS, NUM_SIGNALS[1])
    rounds = [[(measure(size),) for size in sizes] for _ in range(num_rounds)]
    [[one, few, many]] = medians(rounds)
    return [(few - one) / (sizes[1] - sizes[0]), (many - one) / (sizes[2] - sizes[0])]


def rows_of_signals(num_rounds: int) -> list[Row]:
    """The third table."""
    validate(FEW_SIGNALS, Timed())  # what is made once
    note = "one record per signal, for the table"
    held = [traced_of_validation(size) for size in NUM_SIGNALS]
    return [
        Row("functions called per further signal", per_further_signal(calls_of_validation), FLAT),
        Row("kB that Python holds at most per further signal", per_further_signal(traced_of_validation), FLAT),
        Row("us of the CPU per further signal", per_further_signal(microseconds_of_validation, num_rounds)),
        Row("functions called, in all", [calls_of_validation(size) for size in NUM_SIGNALS]),
        Row("kB that Python holds at most, in all", held, note=f"grows: {note}"),
    ]  # fmt: skip


# ---- main ----------------------------------------------------------------------------------------


def parse() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round: times say little")
    parser.add_argument("--rounds", type=int, default=7, help="of what is timed")
    parser.add_argument("--resident", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--shuffle", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def tables(num_rounds: int) -> list[Row]:
    """Measure and print all of them."""
    everything = []
    for shuffle in (True, False):
        rows = rows_of_samples(num_rounds, shuffle=shuffle)
        title = f"samples per epoch, {'shuffled' if shuffle else 'in order'}"
        show(title, NUM_SAMPLES, rows)
        everything += rows
    rows = rows_of_resuming(max(1, num_rounds // 2))
    show(f"samples per epoch, {NUM_LEFT} before its end", NUM_SAMPLES, rows)
    everything += rows
    rows = rows_of_checkpoints(num_rounds)
    show("checkpoints in the folder", NUM_CHECKPOINTS, rows)
    everything += rows
    rows = rows_of_signals(num_rounds)
    show("signals of a validation", NUM_SIGNALS, rows)
    return everything + rows


def main() -> None:
    """Measure, and print the tables."""
    options = parse()
    torch.set_num_threads(1)
    logging.getLogger("audiozen").setLevel(logging.ERROR)
    if options.resident is not None:
        train(options.resident, Steps(), shuffle=options.shuffle)
        print(resident_bytes())
        return
    growing = [row for row in tables(1 if options.quick else options.rounds) if row.grows]
    for row in growing:
        print(f"grows: {row.name}, {row.ratio:.2f} times; wanted: at most {row.limit:g}")
    sys.exit(bool(growing))


if __name__ == "__main__":
    main()
