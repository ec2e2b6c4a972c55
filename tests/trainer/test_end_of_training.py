from __future__ import annotations

import pytest

from audiozen.config.schema import TrainerConfig
from audiozen.trainer.end_of_training import EndOfTraining
from audiozen.trainer.state import TrainerState


@pytest.mark.parametrize(
    ("config", "state", "reached"),
    [
        ({}, {"epoch": 99}, False),
        ({}, {"epoch": 100}, True),
        ({"max_epochs": 3}, {"epoch": 3, "epoch_is_finished": False}, False),
        ({"max_epochs": 3}, {"epoch": 3}, True),
        ({"max_epochs": 3}, {"epoch": 5}, True),
        ({"max_steps": 10}, {"epoch": 500, "step": 9}, False),
        ({"max_steps": 10}, {"epoch": 1, "step": 10, "epoch_is_finished": False}, True),
        ({"max_steps": 10, "max_epochs": 1}, {"epoch": 1, "step": 5}, True),
        ({"patience": 2}, {"validations_without_improvement": 1}, False),
        ({"patience": 2}, {"validations_without_improvement": 2}, True),
    ],
)
def test_end(config, state, reached):
    assert EndOfTraining(TrainerConfig(**config)).reached(TrainerState(**state)) is reached


def test_steps_left():
    state = TrainerState(step=3)
    assert EndOfTraining(TrainerConfig(max_steps=10)).num_steps_left(state) == 7
    assert EndOfTraining(TrainerConfig(max_epochs=10)).num_steps_left(state) == float("inf")
