from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from audiozen.trainer.weight_averaging import ExponentialAveraging, NoAveraging


def test_average_follows_the_formula():
    net = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        net.weight.fill_(1.0)
    averaging = ExponentialAveraging({"": net}, decay=0.5)
    expected = 1.0
    for n, value in enumerate([2.0, 3.0, -1.0]):
        with torch.no_grad():
            net.weight.fill_(value)
        averaging.update()
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * value
    with averaging.applied():
        assert net.weight.item() == pytest.approx(expected)
    assert net.weight.item() == -1.0


def test_weights_come_back_after_an_error():
    net = nn.Linear(2, 2)
    averaging = ExponentialAveraging({"": net}, decay=0.9)
    before = net.weight.detach().clone()
    with pytest.raises(KeyError), averaging.applied():
        raise KeyError
    assert torch.equal(net.weight, before)


def test_optimizer_goes_on_with_the_same_parameters():
    net = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    averaging = ExponentialAveraging({"": net}, decay=0.9)
    with averaging.applied():
        pass
    before = net.weight.detach().clone()
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert torch.equal(net.weight, before - 1)


def test_decay_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\), got 1"):
        ExponentialAveraging({}, decay=1)


def test_no_averaging_does_nothing():
    net, averaging = nn.Linear(2, 1), NoAveraging()
    before = net.weight.detach().clone()
    averaging.follow({"": net})
    averaging.update()
    averaging.restart()
    averaging.load_state_dict({})
    with averaging.applied():
        assert torch.equal(net.weight, before)
    assert averaging.state_dict() == {}


def test_average_goes_on_with_another_module_of_the_same_weights():
    net = nn.Linear(2, 1)
    averaging = ExponentialAveraging({"net": net}, decay=0.5)
    other = copy.deepcopy(net)
    averaging.follow({"net": other})
    with torch.no_grad():
        other.weight.add_(10.0)
    averaging.update()
    with averaging.applied():
        torch.testing.assert_close(other.weight, net.weight + 9.0)  # decay is 1 / 10 at first
    assert torch.equal(other.bias, net.bias)
