"""How much longer does a step take than that of a plain loop?

    python benchmarks/time_per_step.py --size tiny --rounds 20
    python benchmarks/time_per_step.py --size tiny --processes 2

Every framework has a process of its own with one thread, and they take turns of so many steps; all others wait
meanwhile. Before or after each turn of a framework the plain loop has one, and a ratio is of these two neighbours: so
both have the same machine, whatever else it does. Medians and quartiles. Besides, the ratio of the time that all
threads of the process have had of a core, which depends less on what else the machine does.

``unseeded`` is AudioZEN that does not seed the generators of Python, NumPy and PyTorch for each sample and each step:
what is between the two is what exact resuming costs where samples are loaded in the training process.

Bare is without progress, trackers and checkpoints, against a bare plain loop. Logged is with all that a framework has
on by default, on a terminal, against a plain loop with a bar of tqdm that shows the ``.item()`` of every loss.

Ends with 1 where a framework has not made the same steps, loss and weights as the plain loop, or could not be run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from peers import ABLATIONS, MODULES
from peers.missing import missing
from peers.turns import Plan, Turn, Worker, WorkerError
from peers.work import SIZES, TOLERANCE, Result

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS = {("tiny", False): 200, ("tiny", True): 500, ("gru", False): 5, ("gru", True): 25}
"""Of a turn, by the size of the model and whether it is logged. After each wait a bar is drawn at once, so turns that
are logged must be long enough for that not to matter."""
WANTED = {
    ("tiny", False, 1): 1.03,
    ("tiny", True, 1): 1.0,
    ("tiny", False, 2): 1.10,
    ("gru", False, 1): 1.0,
}
"""Ratios of AudioZEN, by size, whether it is logged, and number of processes."""
ONE_PROCESS_ONLY = ("speechbrain",)


class Pair(NamedTuple):
    """A turn of a framework, and the neighbouring one of the plain loop."""

    peer: Turn
    raw: Turn


class Contest:
    """Frameworks that take turns with the plain loop, all with the same model.

    Args:
        size: of the model.
        logged: as in ``Work``.
        options: of the command line.
    """

    def __init__(self, size: str, *, logged: bool, options: argparse.Namespace) -> None:
        self.size, self.logged, self.options = size, logged, options
        self.pairs: dict[str, list[Pair]] = {}
        self.failures: dict[str, str] = {}
        self.results: dict[str, Result] = {}

    def run(self, folder: Path) -> None:
        """Fill the attributes."""
        with ExitStack() as stack:
            names = [name for name in self.options.peers if self._can_be_run(name)]
            raw = stack.enter_context(self._worker("raw", folder, len(names)))
            workers = {name: stack.enter_context(self._worker(name, folder)) for name in names}
            raw.wait_until_ready()
            for name in names:
                self._try(name, workers[name].wait_until_ready)
            for number in range(self.options.rounds):
                for name in names:
                    self._try(name, partial(self._take_turns, workers[name], raw, number))
            for name in names:
                self._try(name, partial(self._end, workers[name]))
        with self._worker("raw", folder / "same") as same:
            same.wait_until_ready()
            for _ in range(self.options.rounds):
                same.turn()
            self.results["raw"] = same.result()

    def _worker(self, name: str, folder: Path, times: int = 1) -> Worker:
        plan = Plan(name, self.size, self.logged, self.options.rounds * times, self._num_steps)
        return Worker(plan, folder, self.options.processes)

    @property
    def _num_steps(self) -> int:
        return self.options.steps or STEPS[self.size, self.logged]

    def _can_be_run(self, name: str) -> bool:
        reason = missing(name)
        if name in ONE_PROCESS_ONLY and self.options.processes > 1:
            reason = "not measured with several processes"
        if reason:
            self.failures[name] = reason
        return not reason

    def _try(self, name: str, action: Callable[[], object]) -> None:
        """Do something with a framework, unless it has failed before."""
        if name in self.failures:
            return
        try:
            action()
        except WorkerError as error:
            self.failures[name] = f"failed: {error}"

    def _take_turns(self, worker: Worker, raw: Worker, number: int) -> None:
        """One turn of each; who is first changes."""
        if number % 2:
            pair = Pair(worker.turn(), raw.turn())
        else:
            before = raw.turn()
            pair = Pair(worker.turn(), before)
        self.pairs.setdefault(worker.plan.name, []).append(pair)

    def _end(self, worker: Worker) -> None:
        self.results[worker.plan.name] = worker.result()

    # ---- what came out --------------------------------------------------------------------------

    def show(self) -> None:
        """The table."""
        kind = "logged" if self.logged else "bare"
        print(
            f"\n{self.size}, {kind}, {self.options.processes} processes; turns of {self._num_steps} steps"
        )
        print(f"{'':<14}{'ms':>9}{'plain ms':>10}{'ratio':>8}{'quartiles':>16}{'CPU ratio':>11}")
        for name in self.options.peers:
            if name in self.failures:
                print(f"{name:<14}{self.failures[name]}")
            else:
                self._show_row(name)

    def _show_row(self, name: str) -> None:
        pairs = self.pairs[name]
        low, ratio, high = statistics.quantiles([peer.wall / raw.wall for peer, raw in pairs], n=4)
        cpu = statistics.median(peer.cpu / raw.cpu for peer, raw in pairs)
        times = [statistics.median(turns[k].wall for turns in pairs) for k in (0, 1)]
        peer_ms, raw_ms = (seconds / self._num_steps * 1e3 for seconds in times)
        wanted = WANTED.get((self.size, self.logged, self.options.processes))
        note = f"   wanted: {wanted}" if wanted and name == "audiozen" else ""
        print(
            f"{name:<14}{peer_ms:9.3f}{raw_ms:10.3f}{ratio:8.3f}{low:9.3f} {high:.3f}{cpu:11.3f}{note}"
        )
        if not self.difference(name) <= TOLERANCE:
            print(f"  not the same work: results differ by {self.difference(name):.1g}")

    def difference(self, name: str) -> float:
        """Between what a framework and the plain loop have made of the same number of steps."""
        return self.results[name].differs_from(self.results["raw"])

    def is_right(self) -> bool:
        """Whether all have made the same, and none has failed."""
        failed = any(reason.startswith("failed") for reason in self.failures.values())
        finished = [name for name in self.pairs if name not in self.failures]
        return not failed and all(self.difference(name) <= TOLERANCE for name in finished)


def parse() -> argparse.Namespace:
    """What is asked for."""
    peers = [name for name in [*MODULES, *ABLATIONS] if name != "raw"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--size", nargs="+", choices=SIZES, default=list(SIZES), help="of the model"
    )
    parser.add_argument("--kind", nargs="+", choices=["bare", "logged"], default=["bare", "logged"])
    parser.add_argument("--peers", nargs="+", choices=peers, default=peers)
    parser.add_argument("--rounds", type=int, default=20, help="turns of each framework")
    parser.add_argument("--steps", type=int, help="of one turn; default: by size and kind")
    parser.add_argument("--processes", type=int, default=1, help="of each framework")
    return parser.parse_args()


def main() -> None:
    """Let them take turns, and print."""
    options = parse()
    print(
        f"Python {sys.version.split()[0]}, PyTorch {torch.__version__}, 1 thread per process, "
        f"{options.rounds} rounds, load {os.getloadavg()[0]:.1f} at the start"
    )
    right = True
    for size in options.size:
        for kind in options.kind:
            contest = Contest(size, logged=kind == "logged", options=options)
            with tempfile.TemporaryDirectory() as folder:
                contest.run(Path(folder))
            contest.show()
            right &= contest.is_right()
    sys.exit(not right)


if __name__ == "__main__":
    main()
