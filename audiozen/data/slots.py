"""Memory that workers write batches to and the training process reads them from, used again and again.

Memory that is new costs a page fault for every 4 kB, in each of both processes; memory that was touched before costs
none. So there are slots, which are made before the workers start, and each batch takes one that is free.
"""

from __future__ import annotations

import mmap
import os
import weakref
from functools import partial
from itertools import count
from multiprocessing.context import get_spawning_popen
from typing import Any, TypeAlias

import numpy as np

from audiozen.system.inheritance import inheritable

Memory: TypeAlias = np.ndarray[tuple[int], np.dtype[np.uint8]]

SLOT_SIZE = 256 * 2**20
"""Bytes that a batch may have. Only what was written to takes memory."""
SPARE_SLOTS = 8
"""Of each worker, above those that it fills ahead: for the batches that are held by the training process."""
ALIGNMENT = 64
"""Of each tensor in a slot, in bytes."""

_numbers = count()
_alive: weakref.WeakValueDictionary[int, Slots] = weakref.WeakValueDictionary()


class DoesNotFitError(Exception):
    """Something cannot be put into a slot. Nobody hears of it outside of loading."""


class Slots:
    """Slots of the workers of one loader, and a byte for each that tells whether it is taken.

    Only the worker that owns a slot takes it, and only the process that made the slots gives it back: when the last
    array or tensor is gone that looks into it. A worker takes its first free slot, so that few are ever touched, and
    waits for none.

    The memory has no name and does not lie in ``/dev/shm``, which may be small. It is gone with the last process and
    the last array that need it. Workers get it as they are started; any other copy of this object is None.

    A process that is forked while a batch is alive shares its memory, and must copy it before it is dropped here.

    Args:
        descriptor: of a file without a name, which grows to what is needed; closed with this object.
        number: of these slots among all of the process that made them.
        num_workers: of the loader.
        num_slots: of each worker.
        slot_size: bytes of each, a multiple of ``ALIGNMENT``.

    Raises:
        OSError: a limit of the system or of this process forbids it.
    """

    def __init__(
        self, descriptor: int, number: int, num_workers: int, num_slots: int, slot_size: int
    ) -> None:
        weakref.finalize(self, os.close, descriptor)
        self.number = number
        self._descriptor, self._sizes = descriptor, (num_workers, num_slots, slot_size)
        self._held: dict[int, weakref.ref[Memory]] = {}
        num_all = num_workers * num_slots
        num_bytes = num_all * slot_size + num_all
        os.ftruncate(descriptor, num_bytes)
        self._memory = mmap.mmap(descriptor, num_bytes)
        self._taken = memoryview(self._memory)[num_all * slot_size :]

    def __reduce__(self) -> tuple[Any, ...]:
        if get_spawning_popen() is None or inheritable is None:
            return _nothing, ()
        return _inherited, (inheritable(self._descriptor), self.number, *self._sizes)

    def free_slot(self, worker: int) -> Slot | None:
        """One to be filled by ``worker``. None: all are taken."""
        num_slots = self._sizes[1]
        for number in range(worker * num_slots, (worker + 1) * num_slots):
            if not self._taken[number]:
                return Slot(self, number)
        return None

    def take(self, number: int) -> None:
        """From now on a slot is not free."""
        self._taken[number] = True

    def memory(self, number: int) -> Memory:
        """All of a slot, as an array of its own: NumPy makes it the owner of whatever looks into it."""
        slot_size = self._sizes[2]
        memory: Memory = np.frombuffer(self._memory, np.uint8, slot_size, number * slot_size)
        return memory

    def held(self, number: int) -> Memory:
        """All of a slot that is taken. It is free when this array is gone, and with it all that looks into it."""
        memory = self.memory(number)
        give_back = partial(_give_back, self._taken, number, os.getpid())
        self._held[number] = weakref.ref(memory, give_back)
        return memory


def _give_back(taken: memoryview, number: int, process: int, _: weakref.ref[Memory]) -> None:
    if os.getpid() == process:  # and not a child that was forked meanwhile
        taken[number] = False


def _nothing() -> None:
    return None


def _inherited(duplicate: Any, *rest: int) -> Slots:
    return Slots(duplicate.detach(), *rest)


def made_slots(num_workers: int, num_slots: int) -> Slots | None:
    """New ones, all free, or None where the system has none to give."""
    if not hasattr(os, "memfd_create"):
        return None
    try:
        descriptor = os.memfd_create("audiozen_batches")
        slots = Slots(descriptor, next(_numbers), num_workers, num_slots, SLOT_SIZE)
    except OSError:
        return None
    _alive[slots.number] = slots
    return slots


def slots_of_number(number: int) -> Slots:
    """Those that this process has made and still has."""
    return _alive[number]


class Slot:
    """A slot that a worker fills.

    Args:
        slots: where it is one of.
        number: of the slot.
    """

    def __init__(self, slots: Slots, number: int) -> None:
        self._slots, self.number = slots, number
        self._memory, self._num_used = slots.memory(number), 0
        self._begin = address_of(self._memory)

    @property
    def name(self) -> tuple[int, int]:
        """Numbers by which the process that made it finds it."""
        return self._slots.number, self.number

    @property
    def is_empty(self) -> bool:
        """Whether nothing was put into it."""
        return self._num_used == 0

    def room(self, num_bytes: int) -> Memory:
        """Memory that nobody else gets. DoesNotFitError where too little is left."""
        begin = -(-self._num_used // ALIGNMENT) * ALIGNMENT
        if begin + num_bytes > len(self._memory):
            raise DoesNotFitError
        self._num_used = begin + num_bytes
        return self._memory[begin : begin + num_bytes]

    def place_of(self, memory: Memory) -> tuple[int, int] | None:
        """Where memory lies in this slot, as begin and end. None: it does not."""
        begin = address_of(memory) - self._begin
        end = begin + len(memory)
        return (begin, end) if 0 <= begin <= end <= len(self._memory) else None

    def take(self) -> None:
        """Leave it to the process that made it."""
        self._slots.take(self.number)


def address_of(memory: Memory) -> int:
    """Where it begins."""
    address: int = memory.__array_interface__["data"][0]
    return address
