from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def printed(*arguments: str) -> str:
    command = [sys.executable, BENCHMARKS / "on_a_gpu.py", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="is measured where there is a GPU")
def test_without_a_gpu_nothing_is_measured_and_that_is_said():
    assert printed() == "no CUDA device: not measured\n"


def test_the_same_is_run_on_the_cpu():
    text = printed("--device", "cpu", "--quick")
    assert "the CPU, which says little" in text
    for way in ("fp32", "bf16"):
        [row] = re.findall(rf"^{way} +([\d.]+) +([\d.]+) +([\d.]+) ", text, re.MULTILINE)
        assert all(float(number) > 0 for number in row)
    assert (
        len(re.findall(r"^[a-z0-9_, ]*(?:compile|graphs) +not on the CPU$", text, re.MULTILINE))
        == 4
    )
    for name in ("1 workers", "1 workers, pin_memory"):
        [share] = re.findall(rf"^{name} +[\d.]+ +([\d.]+) +[\d.]+$", text, re.MULTILINE)
        assert 0 < float(share) < 100


@pytest.mark.gpu
def test_all_ways_are_measured_on_a_gpu():
    text = printed("--quick")
    for way in (
        "fp32",
        "bf16",
        "compile",
        "cuda_graphs",
        "bf16, compile",
        "bf16, compile, cuda_graphs",
    ):
        [row] = re.findall(rf"^{way}  +(.*)$", text, re.MULTILINE)
        assert "nan" not in row, row


def test_time_that_is_covered_counts_once(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from on_a_gpu import covered

    assert covered([(0, 10)]) == 1
    assert covered([(0, 2), (1, 3), (8, 10)]) == 0.5
    assert covered([(0, 10), (2, 3), (5, 20)]) == 1
    assert math.isnan(covered([]))
