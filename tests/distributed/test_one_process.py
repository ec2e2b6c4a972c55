"""Strategies for several processes on one: the same numbers, on the CPU and, where there is one, on a GPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.distributed.launch import documents

WORKER = Path(__file__).parent / "worker.py"
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def train(folder: Path, strategy: str, max_steps: int, **config) -> dict:
    arguments = [strategy, "6", str(max_steps), json.dumps(config)]
    [result] = documents([WORKER, "go_on", folder, *arguments], 1, folder / "output", timeout=300)
    return result


def numbers(result: dict) -> torch.Tensor:
    return torch.cat([torch.tensor(weight).flatten() for weight in result["weights"]])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_strategy_with_one_process_gives_what_training_without_one_gives(
    tmp_path, strategy, device
):
    expected = train(tmp_path / "plain", "auto", 12, device=device)
    found = train(tmp_path / strategy, strategy, 12, device=device)
    torch.testing.assert_close(numbers(found), numbers(expected), rtol=1e-3, atol=1e-4)
    assert found["best"] == pytest.approx(expected["best"], rel=1e-3)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_bf16_trains_to_about_the_same(tmp_path, strategy, device):
    expected = train(tmp_path / "plain", "auto", 30, device=device)
    found = train(tmp_path / strategy, strategy, 30, device=device, precision="bf16")
    assert found["best"] == pytest.approx(expected["best"], rel=0.1)
    assert not torch.equal(numbers(found), numbers(expected))


@pytest.mark.gpu
@pytest.mark.parametrize("strategy", ["auto", "ddp", "fsdp"])
def test_a_compiled_model_trains_to_the_same(tmp_path, strategy):
    expected = train(tmp_path / "plain", strategy, 12, device="cuda")
    found = train(tmp_path / "compiled", strategy, 12, device="cuda", compile=True)
    torch.testing.assert_close(numbers(found), numbers(expected), rtol=1e-3, atol=1e-3)


@pytest.mark.gpu
def test_a_run_goes_from_the_gpu_to_the_cpu_and_back(tmp_path):
    expected = train(tmp_path / "whole", "auto", 12, device="cpu")
    for max_steps, device, strategy in (
        (3, "cuda", "fsdp"),
        (7, "cpu", "auto"),
        (12, "cuda", "ddp"),
    ):
        found = train(tmp_path / "parts", strategy, max_steps, device=device)
    assert found["step"] == 12
    torch.testing.assert_close(numbers(found), numbers(expected), rtol=1e-3, atol=1e-3)
