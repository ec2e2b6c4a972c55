from __future__ import annotations

import pickle
from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_st
from torch.utils.data import default_collate
from torch.utils.data._utils.collate import default_collate_fn_map

from audiozen.data import slots as slots_module
from audiozen.data.parcels import collate_into, packed
from audiozen.data.slots import Slot, Slots, made_slots

SLOT_SIZE = 2**16
Pair = namedtuple("Pair", "noisy clean")


@dataclass
class Labelled:
    sound: torch.Tensor
    name: str


@pytest.fixture(autouse=True)
def slots(monkeypatch) -> Slots:
    monkeypatch.setattr(slots_module, "SLOT_SIZE", SLOT_SIZE)
    slots = made_slots(1, 2)
    assert slots is not None
    return slots


def sent(batch: Any, slot: Slot) -> bytes:
    """What goes through the queue."""
    parcel = packed(batch, slot)
    assert parcel is not None
    return pickle.dumps(parcel)


def arrived(batch: Any, slots: Slots) -> Any:
    return pickle.loads(sent(batch, slots.free_slot(0)))


def is_in(slots: Slots, tensor: torch.Tensor) -> bool:
    begin = slots.memory(0).__array_interface__["data"][0]
    return 0 <= tensor.data_ptr() - begin < SLOT_SIZE


# ---- what arrives -----------------------------------------------------------------------------


def test_structure_arrives_and_numbers_are_in_the_slot(slots):
    batch = {
        "pair": Pair(torch.arange(6.0), torch.zeros(2, 3, dtype=torch.int16)),
        "list": [np.arange(4), ("name", 5, None)],
        7: Labelled(torch.ones(2, dtype=torch.bool), "a"),
    }
    there = arrived(batch, slots)
    assert list(there) == ["pair", "list", 7]
    assert type(there["pair"]) is Pair
    assert there["pair"].noisy.tolist() == list(range(6))
    assert there["pair"].clean.dtype == torch.int16
    assert there["pair"].clean.shape == (2, 3)
    assert there["list"][1] == ("name", 5, None)
    assert there[7].name == "a"
    assert is_in(slots, there["pair"].clean)
    assert is_in(slots, there[7].sound)
    assert is_in(slots, torch.from_numpy(there["list"][0]))


def test_what_is_sent_does_not_grow_with_the_batch(slots):
    short, long = ({"noisy": torch.zeros(size), "clean": np.zeros(size)} for size in (10, 2000))
    slot = slots.free_slot(0)
    sizes = [len(sent(short, slot)), len(sent(long, slots.free_slot(0)))]
    assert max(sizes) < 800
    assert abs(sizes[0] - sizes[1]) < 10


def test_slot_is_taken_by_a_parcel_and_free_when_what_arrived_is_gone(slots):
    first = sent([torch.arange(3)], slots.free_slot(0))
    assert slots.free_slot(0).number == 1
    batch = pickle.loads(first)
    kept = batch[0][1:]
    del batch
    assert slots.free_slot(0).number == 1
    del kept
    assert slots.free_slot(0).number == 0


def test_slot_is_free_if_what_arrives_cannot_be_opened(slots, monkeypatch):
    parcel = sent(Labelled(torch.zeros(3), "a"), slots.free_slot(0))
    with monkeypatch.context() as patch:
        patch.delitem(globals(), "Labelled")
        with pytest.raises(AttributeError):
            pickle.loads(parcel)
    assert slots.free_slot(0).number == 0


def test_what_arrived_can_be_written_to_and_the_next_batch_is_not_changed(slots):
    sound = torch.ones(100)
    there = arrived([sound, np.ones(3)], slots)
    there[0].mul_(5)
    there[1][:] = 7
    assert sound.sum() == 100
    assert arrived([sound], slots)[0].sum() == 100
    del there
    assert arrived([sound], slots)[0].sum() == 100


VIEWS = {
    "transposed": lambda x: x.reshape(8, 9).T,
    "every second": lambda x: x[::2],
    "the second half": lambda x: x[36:],
    "expanded": lambda x: x[:, None].expand(72, 5),
    "a number": lambda x: x[0].clone(),
    "none": lambda x: torch.zeros(0, 3),
    "complex": lambda x: torch.complex(x, -x),
    "half": lambda x: x.to(torch.bfloat16),
    "bytes": lambda x: x.to(torch.uint8),
    "shared": lambda x: x.clone().share_memory_(),
    "channels last": lambda x: x.reshape(1, 2, 6, 6).contiguous(memory_format=torch.channels_last),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_tensors_arrive_with_values_shape_and_strides(view, slots):
    tensor = view(torch.arange(72.0))
    there = arrived([tensor, torch.zeros(1)], slots)[0]
    assert torch.equal(there, tensor)
    assert there.dtype == tensor.dtype
    assert there.stride() == tensor.stride()
    assert not there.requires_grad


def test_tensors_that_share_memory_still_do(slots):
    sound = torch.arange(6.0)
    batch = arrived({"a": sound, "same": sound, "part": sound[3:], "other": sound.clone()}, slots)
    assert batch["a"] is batch["same"]
    batch["a"][3] = 9
    assert batch["part"][0] == 9
    assert batch["other"][3] == 3


@settings(max_examples=60)
@given(
    numpy_st.arrays(
        numpy_st.scalar_dtypes() | numpy_st.nested_dtypes(max_itemsize=64),
        numpy_st.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    ),
    st.sampled_from(["C", "F", "reversed", "read only"]),
)
def test_arrays_arrive_as_they_would_by_themselves(array, order):
    array = {"F": np.asfortranarray, "reversed": lambda a: a.T}.get(order, np.copy)(array)
    array.flags.writeable = order != "read only"
    slots = made_slots(1, 1)
    there = arrived([array, torch.zeros(1)], slots)[0]
    expected = pickle.loads(pickle.dumps(array, 4))
    assert type(there) is np.ndarray
    assert there.dtype == array.dtype
    assert there.shape == array.shape
    assert repr(there.tolist()) == repr(array.tolist())  # not a number is itself
    assert there.flags.writeable
    assert (there.flags.c_contiguous, there.flags.f_contiguous) == (
        expected.flags.c_contiguous,
        expected.flags.f_contiguous,
    )


def test_objects_and_kinds_of_arrays_arrive_as_usual(slots):
    batch = [
        np.array([{}, None]),
        np.float32(3),
        np.ma.masked_array([1, 2], [0, 1]),
        torch.Size([3]),
    ]
    there = arrived([*batch, torch.zeros(1)], slots)
    assert there[0].tolist() == [{}, None]
    assert there[1] == np.float32(3)
    assert there[2].mask.tolist() == [False, True]
    assert there[3] == torch.Size([3])


# ---- what goes another way ----------------------------------------------------------------------

OTHERS = {
    "too large": lambda: torch.zeros(SLOT_SIZE // 4 + 1),
    "too many": lambda: [np.zeros(SLOT_SIZE // 16), torch.zeros(SLOT_SIZE // 8 + 1)],
    "too large an array": lambda: np.zeros(SLOT_SIZE + 1, np.uint8),
    "a small part of a large one": lambda: torch.zeros(100)[:49],
    "with a gradient": lambda: torch.zeros(3, requires_grad=True),
    "a parameter": lambda: torch.nn.Parameter(torch.zeros(3), requires_grad=False),
    "sparse": lambda: torch.eye(3).to_sparse(),
    "conjugated": lambda: torch.zeros(3, dtype=torch.complex64).conj(),
    "elsewhere": lambda: torch.zeros(3, device="meta"),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_batch_with_anything_else_goes_another_way_and_takes_no_slot(other, slots):
    assert packed([torch.zeros(3), other()], slots.free_slot(0)) is None
    assert slots.free_slot(0).number == 0


def test_batch_without_numbers_takes_no_slot(slots):
    assert packed(["name", 3], slots.free_slot(0)) is None
    assert slots.free_slot(0).number == 0


def test_what_cannot_be_sent_is_an_error_and_takes_no_slot(slots):
    with pytest.raises(Exception, match=r"pickle|local object"):
        packed([torch.zeros(3), lambda: 0], slots.free_slot(0))
    assert slots.free_slot(0).number == 0


# ---- collation -----------------------------------------------------------------------------------


def sample(number: float) -> dict[str, Any]:
    return {
        "noisy": torch.full((3, 2), number),
        "clean": np.full(4, number, np.float32),
        "flag": torch.tensor(number > 1),
        "none": torch.zeros(0),
        "id": str(number),
        "length": int(number),
    }


def test_batch_is_made_in_the_slot_and_not_copied(slots):
    slot = slots.free_slot(0)
    samples = [sample(number) for number in (1.0, 2.0)]
    batch = collate_into(slot, default_collate)(samples)
    assert all(is_in(slots, batch[name]) for name in ("noisy", "clean", "flag"))
    there = pickle.loads(sent(batch, slot))
    assert there["noisy"].data_ptr() == batch["noisy"].data_ptr()
    expected = default_collate(samples)
    assert {name: type(value) for name, value in there.items()} == {
        name: type(value) for name, value in expected.items()
    }
    for name in ("noisy", "clean", "flag", "none", "length"):
        assert torch.equal(there[name], expected[name])
        assert there[name].dtype == expected[name].dtype
    assert there["id"] == expected["id"]


def test_batch_that_finds_no_room_in_the_slot_is_made_elsewhere(slots):
    samples = [
        [torch.ones(SLOT_SIZE // 8 - 16), torch.ones(30)],
        [torch.ones(SLOT_SIZE // 8 - 16), torch.ones(30)],
    ]
    slot = slots.free_slot(0)
    batch = collate_into(slot, default_collate)(samples)
    assert [is_in(slots, part) for part in batch] == [True, False]
    assert [part.sum() for part in batch] == [SLOT_SIZE // 4 - 32, 60]
    assert packed(batch, slot) is None


def test_other_functions_are_left_as_they_are(slots, monkeypatch):
    slot = slots.free_slot(0)
    assert collate_into(slot, list) is list
    with monkeypatch.context() as patch:
        patch.setitem(default_collate_fn_map, torch.Tensor, lambda batch, **_: len(batch))
        assert collate_into(slot, default_collate)([torch.zeros(2)] * 3) == 3
    assert is_in(slots, collate_into(slot, default_collate)([torch.zeros(2)] * 3))


@pytest.mark.parametrize(
    "samples",
    [
        [torch.zeros(2), torch.zeros(3)],
        [torch.eye(2).to_sparse()] * 2,
        [object()],
        [np.array(["a"])],
    ],
)
def test_what_cannot_be_collated_is_refused_with_the_usual_words(samples, slots):
    with pytest.raises(Exception) as usual:  # noqa: PT011 - whichever it is
        default_collate(samples)
    with pytest.raises(type(usual.value)) as ours:
        collate_into(slots.free_slot(0), default_collate)(samples)
    assert str(ours.value) == str(usual.value)
