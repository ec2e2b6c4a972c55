from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "several_processes.py"
NUMBER = r"\d+\.\d+"
ROW = rf" +({NUMBER}) +({NUMBER}) +({NUMBER}) +(-?{NUMBER}) ({NUMBER})"


@pytest.fixture(scope="module")
def printed() -> dict[str, str]:
    """What was said of each size."""
    arguments = ["--steps=2", "--rounds=2", "--evaluations=2"]
    done = subprocess.run(
        [sys.executable, PROGRAM, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    before, small, tiny = re.split("^(?:small|tiny): ", done.stdout, flags=re.MULTILINE)
    assert before.startswith("2 processes with 1 thread each, gloo, ")
    return {"small": small, "tiny": tiny}


@pytest.mark.parametrize("size", ["small", "tiny"])
def test_trainer_and_plain_loop_are_compared_and_do_the_same_work(printed, size):
    for name in ("ddp, one step", "fsdp, one step", "200 signals evaluated"):
        [(ours, plain, ratio, low, high)] = re.findall(f"^{name}{ROW}", printed[size], re.MULTILINE)
        assert min(map(float, (ours, plain, ratio))) > 0
        assert float(low) <= float(ratio) <= float(high)
    differences = re.findall(r"results differ by (\S+)", printed[size])
    assert len(differences) == 3
    assert max(map(float, differences)) < 1e-6


def test_wishes_are_told_beside_the_headline_only(printed):
    for strategy, wanted in (("ddp", 1.03), ("fsdp", 1.05)):
        assert re.search(
            f"^{strategy}, one step.* wanted: {wanted}$", printed["small"], re.MULTILINE
        )
    assert not re.search("one step.*wanted", printed["tiny"])


@pytest.mark.parametrize("size", ["small", "tiny"])
def test_an_evaluation_gathers_objects_at_most_once(printed, size):
    [line] = re.findall("object gathers: (.*); wanted: at most 1", printed[size])
    assert line == "0 all_gather_object, 1 gather_object"
