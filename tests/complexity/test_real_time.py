from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from audiozen.complexity import cpu_name, real_time_factor, streaming_real_time_factor


class Sleeper(nn.Module):
    """Takes a known time: per call, and per second of audio at 1000 Hz. Streams in hops of 100 samples."""

    hop_length = 100
    delay = 0

    def __init__(self, per_call: float = 0.0, per_second: float = 0.0) -> None:
        super().__init__()
        self.per_call, self.per_second = per_call, per_second
        self.calls: list[dict[str, Any]] = []

    def forward(self, noisy: Tensor) -> Tensor:
        length = noisy.shape[-1]
        time.sleep(self.per_call + self.per_second * length / 1000)
        self.calls.append(
            {
                "shape": tuple(noisy.shape),
                "training": self.training,
                "gradients": torch.is_grad_enabled(),
                "threads": torch.get_num_threads(),
            }
        )
        return noisy

    def initial_state(self, batch_size: int = 1) -> None:
        return None

    def stream(self, chunk: Tensor, state: None) -> tuple[Tensor, None]:
        return self(chunk), None


def test_is_seconds_of_computation_per_second_of_audio() -> None:
    factor = real_time_factor(Sleeper(per_second=0.05), 1000, seconds=1, repeats=3)
    assert 0.05 <= factor < 0.2


def test_frame_by_frame_pays_for_every_hop() -> None:
    model = Sleeper(per_call=0.01)
    assert 0.1 <= streaming_real_time_factor(model, 1000, seconds=1, repeats=3) < 0.5
    assert {call["shape"] for call in model.calls} == {(1, 100)}
    assert 0.01 <= real_time_factor(model, 1000, seconds=1, repeats=3) < 0.05


def test_slow_run_among_others_does_not_count() -> None:
    class Stumbles(Sleeper):
        def forward(self, noisy: Tensor) -> Tensor:
            self.per_call = 0.3 if len(self.calls) == 3 else 0.01
            return super().forward(noisy)

    assert real_time_factor(Stumbles(), 1000, seconds=1, repeats=5) < 0.05


def test_conditions_are_those_stated_and_come_back() -> None:
    model, before = Sleeper(), torch.get_num_threads()
    generator = torch.get_rng_state()
    real_time_factor(model, 1000, num_threads=2, seconds=3, repeats=4)
    warm_up, measured = model.calls[:-4], model.calls[-4:]
    assert len(warm_up) == 2
    assert measured == 4 * [
        {"shape": (1, 3000), "training": False, "gradients": False, "threads": 2}
    ]
    assert model.training
    assert torch.is_grad_enabled()
    assert torch.get_num_threads() == before
    assert torch.equal(torch.get_rng_state(), generator)


def test_threads_come_back_after_an_error() -> None:
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError):
        real_time_factor(nn.Conv2d(1, 1, 3), 1000, num_threads=before + 1)
    assert torch.get_num_threads() == before


def test_limit_shortens_runs_and_then_leaves_some_out() -> None:
    model = Sleeper(per_second=0.2)
    begin = time.perf_counter()
    assert real_time_factor(model, 1000, time_limit=0.5) >= 0.2
    assert time.perf_counter() - begin < 4
    assert all(call["shape"][1] <= 500 for call in model.calls)
    model = Sleeper(per_second=2)
    assert real_time_factor(model, 1000, time_limit=0.5) >= 2
    assert len(model.calls) == 3


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="only Linux tells")
def test_processor_is_named() -> None:
    assert cpu_name() in Path("/proc/cpuinfo").read_text()
    assert cpu_name()
