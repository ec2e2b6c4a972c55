from __future__ import annotations

import math

import pytest
import torch

from audiozen.trainer.epoch_output import BLOCK_SIZE, EpochOutput, fetch, means


def test_entries_come_back_as_they_were_returned_but_as_floats():
    output = EpochOutput()
    output.append(torch.tensor(1.5, requires_grad=True))
    output.append({"loss": torch.tensor([2.0]), "snr": 3, "count": torch.tensor(4)})
    assert output.floats() == [1.5, {"loss": 2.0, "snr": 3.0, "count": 4.0}]
    assert all(isinstance(v, float) for v in output.floats()[1].values())


def test_double_precision_is_kept():
    value = 1 / 3
    output = EpochOutput()
    output.append({"loss": torch.tensor(value, dtype=torch.float64), "other": torch.tensor(1.0)})
    assert output.floats()[0]["loss"] == value


def test_tensors_do_not_pile_up():
    output = EpochOutput()
    for _ in range(3 * BLOCK_SIZE + 1):
        output.append(torch.zeros(()))
    assert len(output._pending) == 1
    assert len(output) == 3 * BLOCK_SIZE + 1


def test_scalars_are_read_in_one_transfer_and_only_when_asked_for(monkeypatch):
    reads = []
    original = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda t: reads.append(t.numel()) or original(t))
    output = EpochOutput()
    for _ in range(100):
        output.append({"loss": torch.zeros(()), "other": torch.ones(())})
    assert reads == []
    output.floats()
    assert reads == [200]


def test_first_entry_that_is_not_finite():
    output = EpochOutput()
    for value in (1.0, 2.0):
        output.append(torch.tensor(value))
    assert output.first_nonfinite() is None
    output.append({"loss": torch.tensor(1.0), "snr": torch.tensor(math.inf)})
    output.append(torch.tensor(math.nan))
    assert output.first_nonfinite() == (2, {"loss": 1.0, "snr": math.inf})


def test_saved_entries_go_on():
    first, second = EpochOutput(), EpochOutput()
    first.append(torch.tensor(1.0))
    second.load_state_dict(first.state_dict())
    second.append(torch.tensor(2.0))
    assert second.floats() == [1.0, 2.0]
    assert first.floats() == [1.0]


def test_means_over_the_entries_that_have_a_scalar():
    assert means([{"loss": 1.0, "a": 4.0}, {"loss": 3.0}]) == {"loss": 2.0, "a": 4.0}
    assert means([1.0, 2.0]) == {"loss": 1.5}


@pytest.mark.parametrize("scalars", [[], [1.0, torch.tensor(2), torch.tensor([3.5])]])
def test_fetch(scalars):
    assert fetch(scalars) == [1.0, 2.0, 3.5][: len(scalars)]
