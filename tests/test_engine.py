from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

from audiozen.config.schema import TrainerConfig
from audiozen.engine import (
    Engine,
    find_device,
    measure_gradients,
    set_num_threads,
)
from audiozen.errors import ConfigError
from audiozen.processes.cores import num_cores
from audiozen.strategies import OneProcess


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


def test_processes_divide_the_cores_of_their_machine():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(num_cores() + 3)
        set_num_threads(None, num_processes=1)
        assert torch.get_num_threads() == num_cores()
        set_num_threads(None, num_processes=max(1, num_cores() // 2))
        assert torch.get_num_threads() == num_cores() // max(1, num_cores() // 2)
        set_num_threads(None, num_processes=10 * num_cores())
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_more_threads_than_cores_are_set_and_told(caplog):
    before = torch.get_num_threads()
    try:
        set_num_threads(num_cores() + 1, num_processes=2)
        assert torch.get_num_threads() == num_cores() + 1
        assert f"on each of 2 processes is more than the {num_cores()} cores" in caplog.text
    finally:
        torch.set_num_threads(before)


def test_deterministic_mode_is_set():
    try:
        Engine(TrainerConfig(device="cpu", deterministic=True))
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(mode=False)


# ---- gradients and steps --------------------------------------------------------------------


def model_with_gradients() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(1, 8, 5), nn.PReLU(), nn.Conv1d(8, 1, 5))
    model(torch.randn(2, 1, 100)).square().sum().backward()
    model[2].bias.grad = None
    return model


@pytest.mark.parametrize("max_grad_norm", [0.1, 1e6, math.inf])
def test_gradients_are_clipped_to_the_bits_of_pytorch(max_grad_norm):
    model = model_with_gradients()
    expected_model = copy.deepcopy(model)
    for parameter, other in zip(model.parameters(), expected_model.parameters()):
        other.grad = None if parameter.grad is None else parameter.grad.clone()
    expected = clip_grad_norm_(expected_model.parameters(), max_grad_norm)
    optimizers = [torch.optim.SGD(part.parameters()) for part in model]
    gradients = Engine(TrainerConfig(device="cpu")).clip_gradients(optimizers, max_grad_norm)
    assert torch.equal(gradients.norm, expected)
    for parameter, other in zip(model.parameters(), expected_model.parameters()):
        assert (parameter.grad is None) == (other.grad is None)
        assert parameter.grad is None or torch.equal(parameter.grad, other.grad)


def test_norms_are_those_of_the_parameters_that_have_a_gradient():
    model = model_with_gradients()
    gradients = measure_gradients(model.parameters(), OneProcess())
    assert [id(p) for p in gradients.parameters] == [id(p) for p in list(model.parameters())[:-1]]
    assert [id(g) for g in gradients.values] == [id(p.grad) for p in gradients.parameters]
    assert gradients.norms.tolist() == [p.grad.norm().item() for p in gradients.parameters]


def test_norm_without_gradients_is_zero():
    gradients = measure_gradients(nn.Linear(2, 2).parameters(), OneProcess())
    assert gradients.norm == 0
    assert gradients.norms is None


def test_infinite_gradients_are_measured_only_if_they_are_not_to_be_clipped():
    model = nn.Linear(2, 1, bias=False)
    model.weight.grad = torch.tensor([[math.inf, 2.0]])
    engine = Engine(TrainerConfig(device="cpu"))
    assert engine.clip_gradients([torch.optim.SGD(model.parameters())], math.inf).norm == math.inf
    assert model.weight.grad.tolist() == [[math.inf, 2.0]]


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("drop", [None, 0.0, 1.0])
def test_step_is_made_unless_it_is_to_be_dropped(fused, drop):
    model = nn.Linear(2, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, fused=fused)
    model.weight.grad = torch.ones_like(model.weight)
    before = model.weight.detach().clone()
    drop = None if drop is None else torch.tensor(drop)
    Engine(TrainerConfig(device="cpu")).step([optimizer], drop)
    assert torch.equal(model.weight, before if drop else before - 1)
    assert not hasattr(optimizer, "found_inf")
    assert not hasattr(optimizer, "grad_scale")


@pytest.mark.parametrize("fused", [False, True])
def test_fp16_steps_whose_gradients_overflow_are_left_out_and_the_scale_is_halved(fused):
    engine = Engine(TrainerConfig(device="cpu", precision="fp16"))
    model = nn.Linear(2, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, fused=fused)
    before = model.weight.detach().clone()
    for factor, scale, change in [(math.inf, 2.0**15, 0.0), (1.0, 2.0**15, 1.0)]:
        optimizer.zero_grad()
        engine.backward(model.weight.sum() * factor)
        engine.clip_gradients([optimizer], math.inf)
        engine.step([optimizer])
        assert engine.scaler.get_scale() == scale
        assert torch.equal(model.weight, before - change)
