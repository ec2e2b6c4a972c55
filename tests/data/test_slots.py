from __future__ import annotations

import copy
import errno
import gc
import multiprocessing
import os
import pickle
import resource
from pathlib import Path

import numpy as np
import pytest
import torch

from audiozen.data import slots as slots_module
from audiozen.data.slots import ALIGNMENT, DoesNotFitError, Slots, made_slots, slots_of_number

SLOT_SIZE = 4096


@pytest.fixture(autouse=True)
def small_slots(monkeypatch):
    monkeypatch.setattr(slots_module, "SLOT_SIZE", SLOT_SIZE)


def made(num_workers: int = 1, num_slots: int = 2) -> Slots:
    slots = made_slots(num_workers, num_slots)
    assert slots is not None
    return slots


def taken_slot(slots: Slots, worker: int = 0) -> int:
    slot = slots.free_slot(worker)
    assert slot is not None
    slot.take()
    return slot.number


def descriptors() -> set[Path]:
    return set(Path("/proc/self/fd").iterdir())


def num_free(slots: Slots, worker: int = 0) -> int:
    """Found by taking all, which are given back."""
    taken = []
    while slots.free_slot(worker) is not None:
        taken.append(taken_slot(slots, worker))
    for number in taken:
        slots.held(number)
    return len(taken)


# ---- which slot is free ---------------------------------------------------------------------


def test_worker_takes_its_first_free_slot_and_never_that_of_another():
    slots = made(num_workers=2, num_slots=2)
    assert [taken_slot(slots, worker) for worker in (0, 1, 0, 1)] == [0, 2, 1, 3]
    assert slots.free_slot(0) is None
    assert slots.free_slot(1) is None
    slots.held(1)
    assert slots.free_slot(1) is None
    assert taken_slot(slots, 0) == 1


def test_slot_that_was_looked_for_is_free_until_it_is_taken():
    slots = made()
    assert slots.free_slot(0).number == slots.free_slot(0).number == 0


KEPT = {
    "the memory": lambda memory: memory,
    "a part": lambda memory: memory[5:9],
    "a part of a part": lambda memory: memory[5:90][3:][::2],
    "other numbers": lambda memory: memory[:64].view(np.float32).reshape(4, 4).T,
    "a memoryview": lambda memory: memoryview(memory)[3:],
    "a tensor": lambda memory: torch.from_numpy(memory[:64]),
    "a storage": lambda memory: torch.from_numpy(memory[:64]).untyped_storage(),
    "a part of a tensor": lambda memory: torch.from_numpy(memory[:64]).view(torch.float32)[3],
    "an array of a tensor": lambda memory: torch.from_numpy(memory[:64])[5:].numpy()[1:],
    "a detached tensor": lambda memory: torch.from_numpy(memory[:64]).detach(),
    "an exchanged tensor": lambda memory: torch.from_dlpack(torch.from_numpy(memory[:64])),
    "an exchanged array": lambda memory: np.from_dlpack(torch.from_numpy(memory[:64])),
    "an array of an array": lambda memory: np.frombuffer(memory[:64], np.float32)[1:],
    "a split": lambda memory: np.split(memory, 4)[2],
    "an iterator": lambda memory: memory.flat,
}


@pytest.mark.parametrize("keep", KEPT.values(), ids=KEPT)
def test_slot_is_free_when_the_last_thing_is_gone_that_looks_into_it(keep):
    slots = made(num_slots=1)
    kept = keep(slots.held(taken_slot(slots)))
    gc.collect()
    assert slots.free_slot(0) is None
    del kept
    assert slots.free_slot(0) is not None


def test_slot_is_kept_by_a_graph_and_free_after_it():
    slots = made(num_slots=1)
    sound = torch.from_numpy(slots.held(taken_slot(slots))[:64]).view(torch.float32)
    loss = (torch.ones(16, requires_grad=True) * sound).sum()
    del sound
    assert slots.free_slot(0) is None
    loss.backward()
    assert slots.free_slot(0) is not None


def test_copies_do_not_keep_a_slot():
    slots = made(num_slots=1)
    memory = slots.held(taken_slot(slots))
    copies = memory.copy(), torch.tensor(memory), torch.from_numpy(memory).clone()
    del memory
    assert slots.free_slot(0) is not None
    assert len(copies[0]) == SLOT_SIZE


def test_child_that_forgets_a_batch_does_not_free_its_slot():
    slots = made(num_slots=1)
    memory = slots.held(taken_slot(slots))
    child = os.fork()
    if child == 0:
        del memory
        os._exit(gc.collect() and 0)
    assert os.waitpid(child, 0)[1] == 0
    assert slots.free_slot(0) is None
    del memory
    assert slots.free_slot(0) is not None


# ---- memory -----------------------------------------------------------------------------------


def test_slots_do_not_overlap_and_one_does_not_free_another():
    slots = made(num_workers=2, num_slots=3)
    for number in range(6):
        assert not slots.memory(number).any()
        slots.memory(number)[:] = number + 1
    assert [set(slots.memory(number).tolist()) for number in range(6)] == [
        {number + 1} for number in range(6)
    ]
    assert num_free(slots, 0) == num_free(slots, 1) == 3


def test_room_is_aligned_and_refused_where_there_is_none():
    slot = made().free_slot(0)
    assert slot.is_empty
    places = [slot.place_of(slot.room(size)) for size in (1, ALIGNMENT, 3)]
    assert places == [(0, 1), (64, 128), (128, 131)]
    assert not slot.is_empty
    with pytest.raises(DoesNotFitError):
        slot.room(SLOT_SIZE - 191)
    assert slot.place_of(slot.room(SLOT_SIZE - 192)) == (192, SLOT_SIZE)


def test_memory_elsewhere_has_no_place():
    slots = made()
    slot, other = slots.free_slot(0), slots.memory(1)
    assert slot.place_of(np.zeros(3, np.uint8)) is None
    assert slot.place_of(other[:1]) is None
    assert slot.place_of(slots.memory(0)) == (0, SLOT_SIZE)


def test_untouched_slots_take_no_memory():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slots_module, "SLOT_SIZE", 2**30)
        slots = made(num_workers=16, num_slots=10)
    slots.memory(159)[-1] = 1
    assert os.fstat(slots._descriptor).st_blocks * 512 <= 3 * 2**20  # a page may be a large one


def test_memory_outlives_its_slots_and_descriptors_do_not():
    before = descriptors()
    slots = made()
    memory = slots.held(taken_slot(slots))
    memory[:3] = 1, 2, 3
    number = slots.number
    assert slots_of_number(number) is slots
    del slots
    assert memory[:4].tolist() == [1, 2, 3, 0]
    with pytest.raises(KeyError):
        slots_of_number(number)
    del memory
    assert descriptors() == before


# ---- other processes --------------------------------------------------------------------------


def fill(slots: Slots, worker: int) -> None:
    slot = slots.free_slot(worker)
    slot.room(5)[:] = np.frombuffer(b"sound", np.uint8)
    slot.take()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_process_that_is_started_has_the_same_memory(method):
    slots = made(num_workers=2)
    process = multiprocessing.get_context(method).Process(target=fill, args=(slots, 1))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert slots.free_slot(0).number == 0
    assert slots.free_slot(1).number == 3
    assert bytes(slots.held(2)[:5]) == b"sound"
    assert slots.free_slot(1).number == 2


def test_other_copies_are_none():
    slots = made()
    assert pickle.loads(pickle.dumps(slots)) is None
    assert copy.copy(slots) is None


# ---- where there is no such memory --------------------------------------------------------------


def refused(*_) -> int:
    raise OSError(errno.EMFILE, "Too many open files")


def test_there_are_none_where_the_system_refuses(monkeypatch):
    monkeypatch.setattr(os, "memfd_create", refused)
    assert made_slots(1, 2) is None
    monkeypatch.delattr(os, "memfd_create")
    assert made_slots(1, 2) is None


@pytest.mark.parametrize("limit", [resource.RLIMIT_AS, resource.RLIMIT_FSIZE])
def test_there_are_none_where_a_limit_forbids_them(limit, monkeypatch):
    monkeypatch.setattr(slots_module, "SLOT_SIZE", 2**40)
    before, open_before = resource.getrlimit(limit), descriptors()
    resource.setrlimit(limit, (2**40, before[1]))
    try:
        assert made_slots(1, 2) is None
    finally:
        resource.setrlimit(limit, before)
    assert descriptors() == open_before
