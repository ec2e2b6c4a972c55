from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.long_run import Sample, problems, slope

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "long_run.py"


@pytest.mark.parametrize("mode", [["--epochs=5"], ["--single-epoch"]])
def test_a_run_stays_as_small_as_it_began(mode: list[str]) -> None:
    arguments = ["--steps=4000", "--saves=25", "--validations=10", *mode]
    done = subprocess.run(
        [sys.executable, PROGRAM, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"memory: -?\d+\.\d bytes per step", done.stdout)
    num_epochs = 5 if mode == ["--epochs=5"] else 1
    assert f"metrics.jsonl: {4000 // 50 + num_epochs + 10} lines" in done.stdout


def samples(resident_per_step: int = 0, **changed: int) -> list[Sample]:
    first = Sample(0, seconds=0.0, resident=10**8, descriptors=9, threads=1)
    return [
        first._replace(step=step, resident=10**8 + step * resident_per_step)
        for step in range(0, 1000, 100)
    ] + [first._replace(step=1000, resident=10**8 + 1000 * resident_per_step, **changed)]


def test_slope_is_in_bytes_per_step() -> None:
    assert slope(samples(resident_per_step=48)) == pytest.approx(48)


@pytest.mark.parametrize(
    ("grown", "num_lines", "problem"),
    [
        (samples(), 7, []),
        (samples(resident_per_step=999), 7, []),
        (samples(resident_per_step=1001), 7, ["memory grows by more than 1000 bytes per step"]),
        (samples(descriptors=10), 7, ["the number of descriptors changes: [9, 10]"]),
        (samples(threads=2), 7, ["the number of threads changes: [1, 2]"]),
        (samples(), 8, ["metrics.jsonl has 8 lines for 7 rows"]),
    ],
)
def test_what_grows_is_named(grown: list[Sample], num_lines: int, problem: list[str]) -> None:
    assert problems(grown, num_rows=7, num_lines=num_lines) == problem
