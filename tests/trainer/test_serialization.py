from __future__ import annotations

import json
import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audiozen.errors import CheckpointError
from audiozen.trainer.serialization import flatten, unflatten

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
)
keys = st.text(max_size=5) | st.integers() | st.tuples(st.integers(), st.text(max_size=2))
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
    ),
    max_leaves=12,
)


def through_json(value):
    document, tensors = flatten(value)
    return unflatten(json.loads(json.dumps(document, allow_nan=False)), tensors)


@given(values)
def test_nested_values_come_back_with_their_types(value):
    back = through_json(value)
    assert back == value
    assert repr(back) == repr(value)


def test_nan_comes_back():
    assert math.isnan(through_json({"a": [math.nan]})["a"][0])


def test_tensors_and_arrays_come_back_with_their_dtypes():
    value = {
        "half": torch.ones(2, dtype=torch.bfloat16),
        "scalar": torch.tensor(3),
        "array": np.arange(6, dtype=np.uint32).reshape(2, 3),
    }
    back = through_json(value)
    assert back["half"].dtype == torch.bfloat16
    assert back["scalar"].shape == ()
    assert back["array"].dtype == np.uint32
    assert (back["array"] == value["array"]).all()


def test_generator_states_come_back():
    random.seed(3)
    state = random.getstate()
    assert through_json(state) == state
    numpy_state = np.random.RandomState(4).get_state()
    back = through_json(numpy_state)
    assert back[0] == numpy_state[0]
    assert (back[1] == numpy_state[1]).all()


def test_optimizer_state_comes_back():
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([parameter])
    parameter.sum().backward()
    optimizer.step()
    other = torch.optim.Adam([torch.nn.Parameter(torch.ones(3))])
    other.load_state_dict(through_json(optimizer.state_dict()))
    assert str(other.state_dict()) == str(optimizer.state_dict())


def test_other_things_are_refused_by_path_and_type():
    with pytest.raises(CheckpointError, match="a/1/b is a set"):
        flatten({"a": [0, {"b": {1}}]})


def test_missing_tensor_is_named():
    with pytest.raises(CheckpointError, match="'a/b' is missing"):
        unflatten({"$tensor": "a/b"}, {})
