from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audiozen.trainer import own_memory
from audiozen.trainer.own_memory import (
    ALIGNMENT,
    LARGE,
    WORTH_SHARING,
    copy_all,
    new_buffer,
    with_own_memory,
)


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


def random_bits(dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    """All bits there are, also those of values that are no numbers."""
    num_bytes = torch.empty(shape, dtype=dtype).nbytes
    return torch.randint(0, 256, (num_bytes,), dtype=torch.uint8).view(dtype).view(shape)


def bits(tensor: torch.Tensor) -> list[int]:
    return tensor.contiguous().view(-1).view(torch.uint8).tolist()


@pytest.fixture
def small_pieces(monkeypatch) -> list[int]:
    """Sizes of what the threads copy, where everything is worth it; a share has 64 bytes."""
    sizes: list[int] = []
    real = ctypes.memmove

    def noted(place: int, start: int, size: int) -> None:
        sizes.append(size)
        real(place, start, size)

    monkeypatch.setattr(ctypes, "memmove", noted)
    monkeypatch.setattr(own_memory, "WORTH_SHARING", 1)
    monkeypatch.setattr(own_memory, "SHARE_SIZE", 64)
    return sizes


@pytest.mark.parametrize(
    "dtype",
    [torch.float32, torch.float64, torch.bfloat16, torch.float8_e5m2, torch.complex64, torch.int64],
)
@pytest.mark.parametrize("shape", [(100,), (3, 7, 11), (64,), (), (1,)])
def test_several_threads_copy_every_bit(small_pieces, dtype, shape):
    tensor = random_bits(dtype, shape)
    place = torch.zeros(shape, dtype=dtype)
    copy_all([(place, tensor)])
    assert bits(place) == bits(tensor)
    assert sum(small_pieces) == tensor.nbytes
    assert max(small_pieces) <= 64


def test_parameter_that_needs_gradients_is_written_to(small_pieces):
    place = torch.nn.Parameter(torch.zeros(1000))
    copy_all([(place, torch.arange(1000.0))])
    assert torch.equal(place, torch.arange(1000.0))
    assert place.requires_grad
    assert sum(small_pieces) == 4000


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(35.0).view(7, 5).T,
        torch.arange(35).view(5, 7),
        torch.arange(7.0).expand(5, 7),
        torch._neg_view(torch.arange(35.0).view(5, 7)),
        torch.complex(torch.zeros(35), torch.ones(35)).view(5, 7).conj(),
    ],
    ids=["transposed", "of another type", "expanded", "negated", "conjugated"],
)
def test_what_is_no_matter_of_bytes_is_copied_by_pytorch(small_pieces, tensor):
    place = torch.zeros(5, 7, dtype=tensor.dtype if tensor.is_complex() else torch.float32)
    copy_all([(place, tensor)])
    assert torch.equal(place, tensor.to(place.dtype))
    assert small_pieces == []


def test_place_with_gaps_is_written_to_and_the_gaps_are_not(small_pieces):
    whole = torch.zeros(5, 14)
    copy_all([(whole[:, ::2], torch.ones(5, 7))])
    assert whole.sum() == 35
    assert whole[:, 1::2].sum() == 0
    assert small_pieces == []


def test_of_pairs_with_the_same_place_the_last_counts(small_pieces):
    place, other = torch.zeros(500), torch.zeros(500)
    copy_all([(place, torch.ones(500)), (other, torch.ones(500)), (place, torch.full((500,), 2.0))])
    assert place.tolist() == [2.0] * 500
    assert other.tolist() == [1.0] * 500
    assert sum(small_pieces) == 4000


def test_place_and_its_beginning_are_two_places(small_pieces):
    place = torch.zeros(500)
    copy_all([(place, torch.ones(500)), (place[:100], torch.ones(100))])
    assert place.tolist() == [1.0] * 500


@pytest.mark.parametrize("pairs", [[], [(torch.zeros(0, 3), torch.zeros(0, 3))]])
def test_nothing_is_copied_and_no_thread_started_where_there_is_nothing(
    small_pieces, monkeypatch, pairs
):
    monkeypatch.delattr(ThreadPoolExecutor, "submit")
    copy_all(pairs)
    assert small_pieces == []


def test_small_tensors_are_left_to_pytorch(monkeypatch):
    monkeypatch.delattr(ctypes, "memmove")
    place = torch.zeros(WORTH_SHARING // 4 - 1)
    copy_all([(place, torch.ones_like(place))])
    assert place.all()
