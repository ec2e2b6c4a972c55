from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiozen.errors import CheckpointError
from audiozen.trainer.state import TrainerState


def test_interrupted_epoch_is_gone_on_with():
    state = TrainerState()
    state.start_epoch()
    state.position = 8
    state.start_epoch()
    assert (state.epoch, state.position) == (1, 8)
    state.epoch_is_finished = True
    state.start_epoch()
    assert (state.epoch, state.position) == (2, 0)


def test_names_of_checkpoints():
    state = TrainerState(epoch=3, step=1234)
    assert state.checkpoint_name == "epoch_0003"
    state.epoch_is_finished = False
    assert state.checkpoint_name == "epoch_0003_step_00001234"


@given(st.lists(st.floats(), min_size=1), st.booleans())
def test_best_is_the_first_of_the_best_numbers(scores, higher_is_better):
    state = TrainerState()
    for index, score in enumerate(scores):
        state.add_score(score, str(index), higher_is_better=higher_is_better)
    numbers = [score for score in scores if not math.isnan(score)]
    if not numbers:
        assert state.best_score is None
        assert state.validations_without_improvement == len(scores)
        return
    best = max(numbers) if higher_is_better else min(numbers)
    assert state.best_score == best
    assert state.best_checkpoint == str(scores.index(best))
    assert state.validations_without_improvement == len(scores) - 1 - scores.index(best)


def test_state_of_a_later_version_is_refused():
    with pytest.raises(CheckpointError, match="unknown fields: mood; update AudioZEN"):
        TrainerState().load_state_dict({"epoch": 1, "mood": "good"})
