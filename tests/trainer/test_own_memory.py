from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audiozen.trainer.own_memory import ALIGNMENT, LARGE, new_buffer, with_own_memory


@given(st.integers(0, 1000))
def test_buffers_are_aligned_and_of_the_size_that_was_asked_for(num_bytes):
    buffer = new_buffer(num_bytes)
    assert len(buffer) == num_bytes
    assert buffer.data_ptr() % ALIGNMENT == 0 or num_bytes == 0
    assert buffer.storage_offset() == 0


def test_nested_values_come_back_with_tensors_of_their_own():
    tensors = [
        torch.randn(LARGE),
        torch.tensor(3.0),
        torch.empty(0, 4),
        torch.randint(0, 9, (3, LARGE + 1), dtype=torch.uint8),
        torch.randn(7, LARGE, dtype=torch.float64),
        torch.randn(LARGE).bfloat16(),
    ]
    array = np.arange(3)
    value = {"a": tensors[:3], 1: {"b": tuple(tensors[3:]), "c": None}, "lr": 0.1, "array": array}
    before = [tensor.clone() for tensor in tensors]
    found = with_own_memory(value)
    for tensor in tensors:
        tensor.zero_()
    copies = [*found["a"], *found[1]["b"]]
    assert all(torch.equal(copy, old) for copy, old in zip(copies, before, strict=True))
    assert [copy.dtype for copy in copies] == [tensor.dtype for tensor in tensors]
    assert [type(item) for item in (found["a"], found[1]["b"])] == [list, tuple]
    assert (found[1]["c"], found["lr"], found["array"]) == (None, 0.1, array)
    assert all(copy.data_ptr() % ALIGNMENT == 0 for copy in copies)


@pytest.mark.parametrize("num_small", [0, 1])
def test_only_large_tensors_share_a_buffer(num_small):
    large = [torch.zeros(LARGE), torch.ones(LARGE)]
    small = [torch.zeros(LARGE // 4 - 1)] * num_small
    found = with_own_memory([*large, *small])
    buffers = [tensor.untyped_storage().data_ptr() for tensor in found]
    assert buffers[0] == buffers[1]
    assert len(set(buffers)) == 1 + num_small
