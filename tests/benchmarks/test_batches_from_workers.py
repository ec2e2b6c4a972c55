from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "batches_from_workers.py"


@pytest.fixture(scope="module")
def printed() -> str:
    arguments = ["--rounds=1", "--batches=30", "--steps=12"]
    done = subprocess.run(
        [sys.executable, PROGRAM, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def test_all_ways_give_the_same_batches(printed):
    assert "batches are the same in all ways" in printed


def test_pages_of_slots_are_not_new_and_those_of_pytorch_are(printed):
    """The kernel hands them out by 16 at a time, or one by one."""
    faults = {
        way: int(re.search(rf"^{way} +\S+ +(\d+) +\d+ +\S+", printed, re.MULTILINE)[1])
        for way in ("torch DataLoader", "TrainingLoader, no slots", "TrainingLoader")
    }
    assert faults["torch DataLoader"] > 100
    assert faults["TrainingLoader, no slots"] > 100
    assert faults["TrainingLoader"] < 50


def test_waiting_is_told_beside_what_was_wanted(printed):
    assert re.search(r"^0 workers +\S+ +\d+\.\d% +\S+$", printed, re.MULTILINE)
    assert re.search(r"^2 workers +\S+ +\d+\.\d% +\S+   wanted: < 3%$", printed, re.MULTILINE)
