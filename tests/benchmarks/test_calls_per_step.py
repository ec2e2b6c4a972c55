"""How many functions of Python a step calls, which no machine and no load changes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MOST_CALLS = {
    "bare": 10,
    "logged": 40,
    "accumulation": 10,
    "clipping": 10,
    "moving average": 10,
    "schedule": 10,
}
"""Per step, above a plain loop: a bare one for ``logged``, else one that does the same. Python 3.11 has the most."""


@pytest.fixture(scope="module")
def printed() -> str:
    command = [sys.executable, BENCHMARKS / "calls_per_step.py", "--ours"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", MOST_CALLS)
def test_step_calls_few_functions_more_than_a_plain_loop(printed, kind):
    [above] = re.findall(rf"^audiozen +{kind} +[\d.]+ +[\d.]+ +([+-][\d.]+)", printed, re.MULTILINE)
    assert float(above) <= MOST_CALLS[kind], printed


def test_functions_are_listed_with_their_calls(printed):
    bare = printed.split("audiozen, bare: calls per step above the plain loop\n")[1].split("\n\n")[
        0
    ]
    calls = {line.split()[1]: float(line.split()[0]) for line in bare.splitlines()}
    assert calls["audiozen.trainer.base_trainer.BaseTrainer.update"] == 1
    assert calls["peers.ours.Trainer.training_step"] == 1
    [above] = re.findall(r"^audiozen +bare .* ([+-][\d.]+) ", printed, re.MULTILINE)
    assert sum(calls.values()) == pytest.approx(float(above))


def test_other_work_is_not_taken_for_the_same(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import torch

    from peers.work import Result

    one = Result(3, 0.5, torch.tensor([1.0, 2.0]))
    assert one.differs_from(one) == 0
    assert one.differs_from(one._replace(num_steps=4)) == float("inf")
    assert one.differs_from(one._replace(loss=0.75)) == 0.25
    assert one.differs_from(one._replace(weights=torch.tensor([1.0, 2.5]))) == 0.5
    assert not one.differs_from(one._replace(loss=float("nan"))) <= 1e-6
