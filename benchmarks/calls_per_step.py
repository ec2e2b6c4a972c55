"""How many functions of Python does a step call above a plain loop?

    python benchmarks/calls_per_step.py            # every framework that is installed
    python benchmarks/calls_per_step.py --ours     # AudioZEN alone, with the functions that it calls

What counts as a call is told in ``benchmarks/peers/calls.py``: a function of Python begins, or a generator goes on, in
the thread that trains. Counts are of a window of so many steps and do not depend on the machine, so they are exact; a
fraction comes from what is not done in every step. Every framework has a process of its own, as some change others
where they are imported.

Bare is without progress, trackers and checkpoints; logged is with all that a framework has on by default. Both are
compared with a bare plain loop; accumulation, clipping, moving average and schedule with a plain loop that has the
same.
Ends with 1 where a framework has not made the same steps, loss and weights as the plain loop, or could not be run.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from peers import MODULES
from peers.calls import Calls, count_calls
from peers.missing import missing
from peers.work import TOLERANCE, Work

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

KINDS = {
    "bare": Work(),
    "logged": Work(logged=True),
    "accumulation": Work(accumulation=4),
    "clipping": Work(max_grad_norm=1.0),
    "moving average": Work(ema_decay=0.99),
    "schedule": Work(schedule=True),
}
OF_PEERS = ("bare", "logged")
WANTED = {"bare": 10.0, "logged": 40.0}
"""The most calls of AudioZEN above the plain loop; for all other kinds, as many as it has bare."""


class Row(NamedTuple):
    """Calls of one framework for one kind of work, and of the plain loop that is compared with."""

    name: str
    kind: str
    per_step: float
    raw: float
    difference: float
    above: dict[str, float]

    @property
    def num_above(self) -> float:
        """Calls per step that the plain loop does not have."""
        return self.per_step - self.raw


def compare(name: str, kinds: Iterable[str], num_steps: int) -> Iterator[Row]:
    """Let a framework and the plain loop do the same, and count."""
    for kind in kinds:
        # A bar would be drawn by the clock; and what is logged costs calls, which are those of the framework.
        raw = counted("raw", replace(KINDS[kind], logged=False), num_steps)
        calls = counted(name, KINDS[kind], num_steps)
        difference = calls.result.differs_from(raw.result)
        yield Row(name, kind, calls.per_step, raw.per_step, difference, calls.above(raw))


def counted(name: str, work: Work, num_steps: int) -> Calls:
    """In a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        return count_calls(name, replace(work, folder=Path(folder)), num_steps)


# ---- processes -----------------------------------------------------------------------------------


def count_here(options: argparse.Namespace) -> None:
    """What the process of one framework does: its rows, as JSON in the last line."""
    torch.set_num_threads(1)
    if reason := missing(options.only):
        print(json.dumps(reason))
        return
    kinds = KINDS if options.only == "audiozen" else OF_PEERS
    rows = list(compare(options.only, kinds, options.steps))
    print("\n" + json.dumps(rows))


def count_in_a_process(name: str, num_steps: int) -> list[Row] | str:
    """The rows of one framework, or why there are none."""
    command = [sys.executable, __file__, f"--only={name}", f"--steps={num_steps}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)  # noqa: S603 - this file
    if done.returncode != 0:
        return f"failed: {(done.stderr.strip() or 'no reason told').splitlines()[-1]}"
    found: str | list[Any] = json.loads(done.stdout.splitlines()[-1])
    return found if isinstance(found, str) else [Row(*row) for row in found]


# ---- tables --------------------------------------------------------------------------------------


def show(rows: list[Row]) -> None:
    """One line for each kind of work."""
    for row in rows:
        limit = WANTED.get(row.kind, rows[0].num_above)
        wanted = f"   wanted: at most {limit:g}" if row.name == "audiozen" else ""
        print(
            f"{row.name:<14}{row.kind:<16}{row.per_step:10.2f}{row.raw:10.2f}{row.num_above:+10.2f}{wanted}"
        )
        if not row.difference <= TOLERANCE:
            print(f"  not the same work: results differ by {row.difference:.1g}")


def show_functions(row: Row) -> None:
    """Those that make the difference."""
    print(f"\n{row.name}, {row.kind}: calls per step above the plain loop")
    for function, calls in row.above.items():
        print(f"{calls:+9.2f}  {function}")


def parse() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ours", action="store_true", help="AudioZEN alone, with its functions")
    parser.add_argument("--steps", type=int, default=100, help="of the window; a multiple of 10")
    parser.add_argument("--only", choices=[*MODULES], help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Count, and print."""
    options = parse()
    if options.only:
        count_here(options)
        return
    names = ["audiozen"] if options.ours else [name for name in MODULES if name != "raw"]
    print(f"Python {sys.version.split()[0]}, PyTorch {torch.__version__}; {options.steps} steps")
    print(f"{'':<30}{'calls':>10}{'plain':>10}{'above':>10}")
    found = {name: count_in_a_process(name, options.steps) for name in names}
    for name, rows in found.items():
        print(f"{name:<14}{rows}") if isinstance(rows, str) else show(rows)
    if options.ours and not isinstance(found["audiozen"], str):
        for row in found["audiozen"]:
            show_functions(row)
    sys.exit(any(failed(rows) for rows in found.values()))


def failed(rows: list[Row] | str) -> bool:
    """Whether something was not as it must be; what is not installed is no failure."""
    if isinstance(rows, str):
        return rows.startswith("failed")
    return not all(row.difference <= TOLERANCE for row in rows)


if __name__ == "__main__":
    main()
