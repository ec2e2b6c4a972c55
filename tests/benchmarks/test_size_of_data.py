from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "size_of_data.py"


@pytest.fixture(scope="module")
def printed(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("size_of_data")
    arguments = ["--entries=20000", "--rounds=3", "--reads=4000", f"--folder={folder}"]
    done = subprocess.run(
        [sys.executable, PROGRAM, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(folder.iterdir()) == []
    return done.stdout


def numbers(name: str, printed: str) -> list[float]:
    [found] = re.findall(rf"^{re.escape(name)} +(-?[\d.]+(?: +-?[\d.]+)*)$", printed, re.MULTILINE)
    return [float(number) for number in found.split()]


def test_first_batch_costs_the_same_at_any_position(printed):
    assert "first batch of 2,000,000,001 samples" in printed
    milliseconds = numbers("0 workers", printed)
    assert max(milliseconds) < 100  # walking there would take minutes
    assert len(numbers("2 workers", printed)) == 3
    [grown] = re.findall(r"memory taken by all of this: (\S+) MB", printed)
    assert float(grown) < 20


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_share_a_manifest_and_would_copy_a_list(printed, method):
    assert max(numbers(f"{method}: all and a selection", printed)) < 2.5
    assert min(numbers("fork: private MB per worker", printed)) > 5


def test_what_was_measured_is_said(printed):
    assert "manifest of 20,000 entries, 3.9 MB" in printed
    assert "read_manifest: measured with 20,000 entries, each read twice; times 1" in printed
    for name in ("for the first time, from disk", "without index, from memory", "again"):
        assert len(numbers(name, printed)) == 1
