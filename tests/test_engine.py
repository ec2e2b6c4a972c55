from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch

from audiozen.config.schema import TrainerConfig
from audiozen.engine import Engine, find_device, move_tensors
from audiozen.errors import ConfigError

Pair = namedtuple("Pair", ["noisy", "clean"])


@dataclass
class Item:
    waveform: torch.Tensor
    name: str


def test_tensors_are_moved_in_any_nesting():
    batch = {"a": [torch.ones(1)], "b": Pair(torch.ones(2), "x"), "c": Item(torch.ones(3), "y")}
    moved = move_tensors(batch, "meta")
    assert moved["a"][0].is_meta
    assert moved["b"].noisy.is_meta
    assert moved["b"].clean == "x"
    assert moved["c"].waveform.is_meta
    assert not batch["c"].waveform.is_meta


def test_alone_the_verbs_about_processes_do_nothing():
    engine = Engine(TrainerConfig(device="cpu"))
    engine.wait_for_everyone()
    assert engine.is_main_process
    assert engine.broadcast(3) == 3
    assert engine.gather("x") == ["x"]
    assert engine.any(True)
    assert not engine.any(False)


@pytest.mark.parametrize("name", ["tpu", "cuda:99"])
def test_device_that_is_not_there_is_refused(name):
    with pytest.raises(ConfigError, match=f"device: '{name}' cannot be used"):
        find_device(name, 0)


def test_number_of_threads_is_set():
    before = torch.get_num_threads()
    try:
        assert "2 threads" in Engine(TrainerConfig(device="cpu", num_threads=2)).describe()
    finally:
        torch.set_num_threads(before)


def test_deterministic_mode_is_set():
    try:
        Engine(TrainerConfig(device="cpu", deterministic=True))
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(mode=False)
