from __future__ import annotations

import pytest
import safetensors.torch
import torch
from torch import nn

from audiozen.errors import CheckpointError
from audiozen.trainer.checkpoint import CheckpointStore
from audiozen.trainer.weights import first_of, load_matching, misfits, read_weights


def test_misfits_name_tensors_with_expected_and_found_shapes():
    weights = nn.Linear(3, 2).state_dict()
    weights["old"] = torch.zeros(7)
    del weights["bias"]
    assert misfits({"": nn.Linear(4, 2)}, {"": weights}) == [
        "weight: expected (2, 4), found (2, 3)",
        "bias: expected (2,), not found",
        "old: found (7,), not expected",
    ]


def test_misfits_name_models():
    linear = nn.Linear(1, 1)
    assert misfits({"a": linear}, {"": linear.state_dict()}) == [
        "model 'a': there are no weights for it; there: one without a name",
        "the model: there is no such model; there: 'a'",
    ]
    assert misfits({"a": linear}, {"a": linear.state_dict()}) == []


def test_what_matches_is_taken_over_and_the_rest_stays():
    first, second = nn.Linear(3, 2), nn.Linear(4, 2)
    before = second.weight.detach().clone()
    assert load_matching({"": second}, {"": first.state_dict()}) == 1
    assert torch.equal(second.bias, first.bias)
    assert torch.equal(second.weight, before)


def test_weights_are_read_from_a_checkpoint_and_from_a_file(tmp_path):
    weights = nn.Linear(3, 2).state_dict()
    path = CheckpointStore(tmp_path).save("one", epoch=1, step=1, models={"": weights})
    for place in (path, path / "model.safetensors"):
        assert torch.equal(read_weights(place)[""]["weight"], weights["weight"])


def test_files_that_hold_no_weights_are_refused(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"RIFF")
    with pytest.raises(CheckpointError, match=r"a.safetensors cannot be read as safetensors"):
        read_weights(tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"b is neither a checkpoint's folder nor"):
        read_weights(tmp_path / "b")
    path = CheckpointStore(tmp_path).save("one", epoch=1, step=1, models={"": {}})
    safetensors.torch.save_file({"w": torch.ones(1)}, path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"one is damaged: model.safetensors has"):
        read_weights(path)


def test_long_lists_are_cut():
    assert first_of(["a"] * 10) == ["a"] * 10
    assert first_of(["a"] * 13) == [*["a"] * 10, "... and 3 more"]
