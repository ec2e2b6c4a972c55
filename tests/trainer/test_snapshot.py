from __future__ import annotations

import pytest
import torch

from audiozen.errors import CheckpointError
from audiozen.trainer.snapshot import (
    ScoreFollowers,
    load_snapshot,
    name_parts,
    take_snapshot,
)


def adam(num_parameters: int = 1) -> torch.optim.Adam:
    return torch.optim.Adam([torch.nn.Parameter(torch.ones(2)) for _ in range(num_parameters)])


def test_parts_are_named_by_kind_and_name():
    parts = name_parts({"optimizer": {"": 1}, "lr_scheduler": {"a": 2, "b": 3}, "registered": {}})
    assert parts == {"optimizer": 1, "lr_scheduler.a": 2, "lr_scheduler.b": 3}


def test_states_are_given_back():
    first, second = adam(), adam()
    first.param_groups[0]["lr"] = 0.5
    load_snapshot({"optimizer": second}, take_snapshot({"optimizer": first}), "here")
    assert second.param_groups[0]["lr"] == 0.5


def test_other_parts_are_refused():
    with pytest.raises(CheckpointError, match="b: was not there, is 'Adam'"):
        load_snapshot({"a": adam(), "b": adam()}, take_snapshot({"a": adam()}), "here")


def test_part_of_another_class_is_refused():
    sgd = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))])
    with pytest.raises(CheckpointError, match="optimizer: was 'Adam', is 'SGD'"):
        load_snapshot({"optimizer": sgd}, take_snapshot({"optimizer": adam()}), "here")


@pytest.mark.parametrize("broken", [{}, None, {"class": "Adam"}, 3])
def test_snapshot_that_is_none_is_refused(broken):
    with pytest.raises(CheckpointError, match="here, optimizer has no class and state"):
        load_snapshot({"optimizer": adam()}, {"optimizer": broken}, "here")


def test_state_that_does_not_fit_is_named():
    snapshot = take_snapshot({"optimizer": adam(2)})
    with pytest.raises(CheckpointError, match=r"here, optimizer does not fit: .*parameter group"):
        load_snapshot({"optimizer": adam(1)}, snapshot, "here")


def test_followers_are_plateau_schedules_and_their_state_holds_learning_rates():
    def followers():
        optimizer = adam()
        schedules = {
            "plateau": torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0),
            "step": torch.optim.lr_scheduler.StepLR(optimizer, 1),
        }
        return ScoreFollowers(schedules, {"": optimizer}), optimizer

    first, optimizer = followers()
    assert list(first.schedulers) == ["plateau"]
    for score in (1.0, 2.0):
        first.step(score)
    second, other = followers()
    second.load_state_dict(first.state_dict())
    assert other.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"] == pytest.approx(1e-4)
    assert second.schedulers["plateau"].best == 1.0
