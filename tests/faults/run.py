"""Inflicts every fault, and prints one table of what was tried and what was survived.

    python -m tests.faults.run                        all of them, about ten minutes on two cores
    python -m tests.faults.run --quick test_damage    what the tests do, of one module

A drill is a function of a module, ``(long, seed)``, that yields rows.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
import traceback
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import TYPE_CHECKING

from tests.faults.table import Row

if TYPE_CHECKING:
    from collections.abc import Sequence

DRILLS = (
    "test_kills.killed_at_random",
    "test_kills.killed_at_places",
    "test_kills.stopped_at_random",
    "test_kills.killed_with_workers",
    "test_file_operations.drills",
    "test_power_loss.drills",
    "test_damage.drills",
    "test_machine.drills",
)
"""Those that take longest first."""


def rows_of(drill: str, *, long: bool, seed: int) -> list[Row]:
    """All rows of one drill; one that cannot go on is a fault that was not survived."""
    module, function = drill.split(".")
    try:
        return list(
            getattr(importlib.import_module(f"tests.faults.{module}"), function)(long, seed)
        )
    except Exception:  # noqa: BLE001 - the others go on
        return [Row(f"{drill} ended early", 1, 0, traceback.format_exc())]


def run(drills: Sequence[str], *, long: bool, seed: int, jobs: int) -> list[Row]:
    """Rows of all drills, in this order. Each has a process to itself, with nothing left in it by others."""
    with ProcessPoolExecutor(jobs, get_context("spawn"), max_tasks_per_child=1) as pool:
        futures = [pool.submit(rows_of, drill, long=long, seed=seed) for drill in drills]
        tell_when_done(dict(zip(futures, drills)))
        return [row for future in futures for row in future.result()]


def tell_when_done(futures: dict[Future[list[Row]], str]) -> None:
    begin = time.monotonic()
    for future in as_completed(futures):
        print(f"{futures[future]}: done after {time.monotonic() - begin:.0f} s", file=sys.stderr)


def table(rows: Sequence[Row]) -> str:
    """Fault, tried, survived; below, the reasons of what was not."""
    width = max((len(row.fault) for row in rows), default=0)
    lines = [f"{'fault':{width}}  tried  survived"]
    lines += [f"{row.fault:{width}}  {row.tried:5}  {row.survived:8}" for row in rows]
    tried, survived = sum(row.tried for row in rows), sum(row.survived for row in rows)
    lines.append(f"{'all':{width}}  {tried:5}  {survived:8}")
    lines += [f"\n{row.fault}: {row.detail}" for row in rows if row.detail]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if everything was survived, 1 if not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=[""], help="modules or drills; all by default")
    parser.add_argument("--quick", action="store_true", help="a sample, as in the tests")
    parser.add_argument("--seed", type=int, default=1, help="another one makes other samples")
    parser.add_argument("--jobs", type=int, default=2, help="drills at a time")
    args = parser.parse_args(arguments)
    print(f"seed {args.seed}", file=sys.stderr)
    drills = [drill for drill in DRILLS if drill.startswith(tuple(args.names))]
    if not drills:
        parser.error(f"no such drill: {', '.join(args.names)}; there are {', '.join(DRILLS)}")
    rows = run(drills, long=not args.quick, seed=args.seed, jobs=args.jobs)
    print(table(rows))
    return int(any(row.survived != row.tried for row in rows))


if __name__ == "__main__":
    sys.exit(main())
