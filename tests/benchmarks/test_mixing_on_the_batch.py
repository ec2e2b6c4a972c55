from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "mixing_on_the_batch.py"


@pytest.fixture(scope="module")
def printed() -> str:
    done = subprocess.run(
        [sys.executable, PROGRAM, "--rounds=1"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def test_batch_has_the_numbers_of_its_items(printed):
    assert "a batch has the numbers of its items: yes" in printed


@pytest.mark.parametrize("title", ["mixed", "equalized and mixed"])
def test_ways_are_compared_and_a_gpu_is_told_of(printed, title):
    assert re.search(rf"^{title}, by item +\d+ +1\.00$", printed, re.MULTILINE)
    assert re.search(rf"^{title}, on the batch +\d+ +\d+\.\d\d$", printed, re.MULTILINE)
    assert re.search(rf"^{title}, on a GPU +(\d+|not measured.*)$", printed, re.MULTILINE)
