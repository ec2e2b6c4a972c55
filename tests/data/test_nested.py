from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass

import torch

from audiozen.data.nested import map_leaves, move_tensors, tensors_of

Pair = namedtuple("Pair", ["noisy", "clean"])


@dataclass
class Item:
    waveform: torch.Tensor
    name: str


def nested() -> dict:
    return {"a": [torch.ones(1)], "b": Pair(torch.ones(2), "x"), "c": Item(torch.ones(3), "y")}


def test_tensors_are_moved_in_any_nesting():
    batch = nested()
    moved = move_tensors(batch, "meta")
    assert moved["a"][0].is_meta
    assert moved["b"].noisy.is_meta
    assert moved["b"].clean == "x"
    assert moved["c"].waveform.is_meta
    assert not batch["c"].waveform.is_meta


def test_tensors_are_found_in_order():
    assert [tensor.numel() for tensor in tensors_of(nested())] == [1, 2, 3]
    assert tensors_of("x") == []


def test_leaves_are_mapped_and_containers_keep_their_kind():
    mapped = map_leaves(lambda leaf: [leaf], {"a": (1, Pair(2, 3)), "b": None})
    assert mapped == {"a": ([1], Pair([2], [3])), "b": [None]}
    assert isinstance(mapped["a"][1], Pair)
