"""How long does it take to the first step, and how much memory is there then?

    python benchmarks/start.py --rounds 7

Fresh processes, one framework after the other, so many rounds; one round before them does not count, as it fills the
caches of the disk. Each process imports PyTorch, then the framework, and trains the tiny model. Told are: seconds that
the import takes above that of PyTorch; seconds from the start of the process to the end of the first step, and its
ratio to that of the plain loop in the same round; the same ratio of the seconds that the process has had of a core; and
resident memory after the last step above that of the plain loop. Medians.

Ends with 1 where a framework has not made the same steps, loss and weights as the plain loop, or could not be run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from peers import MODULES, adapter
from peers.missing import missing
from peers.work import TOLERANCE, Result, Work

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

NUM_STEPS = 100
WANTED = "import at most 0.25 s, first step at most 1.10, memory at most 15 MB"


class Started(NamedTuple):
    """What one process has told.

    Attributes:
        import_seconds: above the import of PyTorch.
        first_step: seconds from the start of the process.
        cpu: seconds of a core until then.
        memory: resident after the last step, in bytes.
        result: what it has made: steps, loss, weights.
    """

    import_seconds: float
    first_step: float
    cpu: float
    memory: int
    result: Result


# ---- in the process that starts ------------------------------------------------------------------


@dataclass
class WatchedWork(Work):
    """Takes note of the end of the first step, and of memory after each."""

    first_step: float | None = None
    cpu: float = 0.0
    memory: int = 0

    def optimizer(self, model: nn.Module) -> Optimizer:
        """One that tells of its steps."""
        optimizer = super().optimizer(model)
        optimizer.register_step_post_hook(self._after_step)
        return optimizer

    def _after_step(self, *_: Any) -> None:
        if self.first_step is None:
            self.first_step, self.cpu = time.perf_counter(), time.process_time()
        self.memory = resident_bytes()


def resident_bytes() -> int:
    """Memory of this process that is in RAM."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def start_here(name: str, *, logged: bool, folder: Path) -> None:
    """Import, train, and tell all in one file."""
    torch.set_num_threads(1)
    begin = time.perf_counter()
    train = adapter(name)
    import_seconds = time.perf_counter() - begin
    work = WatchedWork(num_steps=NUM_STEPS, logged=logged, folder=folder)
    result = train(work)
    torch.save(tuple(result), folder / "result.pt")
    told = [import_seconds, work.first_step, work.cpu, work.memory]
    (folder / "told.json").write_text(json.dumps(told))


# ---- in the process that measures ----------------------------------------------------------------


def start(name: str, *, logged: bool) -> Started | str:
    """Let a framework start in a process of its own; or why it could not."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, f"--only={name}", f"--folder={folder}"]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        begin = time.perf_counter()  # of the same clock as in the process
        done = subprocess.run(  # noqa: S603 - this file
            [*command, *(["--logged"] if logged else [])],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if done.returncode != 0:
            return f"failed: {(done.stderr.strip() or 'without a word').splitlines()[-1]}"
        told = json.loads((Path(folder) / "told.json").read_text())
        result = Result(*torch.load(Path(folder) / "result.pt"))
    return Started(told[0], told[1] - begin, told[2], told[3], result)


def measure(options: argparse.Namespace, *, logged: bool) -> dict[str, list[Started] | str]:
    """All frameworks in turn, so many rounds."""
    found: dict[str, list[Started] | str] = {name: missing(name) or [] for name in options.names}
    for number in range(options.rounds + 1):
        for name in options.names:
            rounds = found[name]
            if isinstance(rounds, str):
                continue
            started = start(name, logged=logged)
            if isinstance(started, str):
                found[name] = started
            elif number > 0:
                rounds.append(started)
    return found


def show(found: dict[str, list[Started] | str], kind: str) -> bool:
    """The table; whether all was as it must be."""
    print(f"\n{kind}; for AudioZEN wanted: {WANTED}")
    print(
        f"{'':<14}{'import s':>10}{'first step s':>14}{'ratio':>8}{'CPU ratio':>11}{'above MB':>10}"
    )
    raw = found["raw"]
    if isinstance(raw, str):
        sys.exit(f"the plain loop {raw}")
    right = [show_row(name, rounds, raw) for name, rounds in found.items()]
    return all(right)


def show_row(name: str, rounds: list[Started] | str, raw: list[Started]) -> bool:
    """One line; whether it has made the same as the plain loop, or is not installed."""
    if isinstance(rounds, str):
        print(f"{name:<14}{rounds}")
        return not rounds.startswith("failed")
    pairs = list(zip(rounds, raw))
    values = (
        statistics.median(one.import_seconds for one in rounds),
        statistics.median(one.first_step for one in rounds),
        statistics.median(one.first_step / plain.first_step for one, plain in pairs),
        statistics.median(one.cpu / plain.cpu for one, plain in pairs),
        statistics.median(one.memory - plain.memory for one, plain in pairs) / 1e6,
    )
    print("{:<14}{:10.2f}{:14.2f}{:8.3f}{:11.3f}{:10.1f}".format(name, *values))
    differences = [one.result.differs_from(plain.result) for one, plain in pairs]
    is_same = all(difference <= TOLERANCE for difference in differences)
    if not is_same:
        print(f"  not the same work: results differ by {differences}")
    return is_same


def parse() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--names", nargs="+", choices=MODULES, default=list(MODULES))
    parser.add_argument("--kind", nargs="+", choices=["bare", "logged"], default=["bare", "logged"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=MODULES, help=argparse.SUPPRESS)
    parser.add_argument("--logged", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Start them, and print; or be one of them."""
    options = parse()
    if options.only:
        start_here(options.only, logged=options.logged, folder=options.folder)
        return
    options.names = ["raw", *(name for name in options.names if name != "raw")]
    print(
        f"Python {sys.version.split()[0]}, PyTorch {torch.__version__}, 1 thread, {options.rounds} rounds, "
        f"load {os.getloadavg()[0]:.1f} at the start"
    )
    right = [show(measure(options, logged=kind == "logged"), kind) for kind in options.kind]
    sys.exit(not all(right))


if __name__ == "__main__":
    main()
