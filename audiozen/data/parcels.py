"""Batches on their way from a worker: numbers in a slot, and a description of what they are numbers of.

The description is small and goes through the queue of the ``DataLoader``. What is opened has the structure of what was
packed, and its tensors and arrays look straight into the slot.
"""

from __future__ import annotations

import io
import pickle
from functools import partial
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import default_collate
from torch.utils.data._utils.collate import collate, collate_tensor_fn, default_collate_fn_map

from audiozen.data.slots import DoesNotFitError, slots_of_number

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from audiozen.data.slots import Memory, Slot

MAX_WASTE = 2
"""So many times the bytes of a tensor may be sent for its sake, if it is a part of a larger one."""


class Parcel:
    """What a worker sends. It arrives as the batch.

    Args:
        slot: number of the slots, and number of the slot among them.
        description: of the batch.
    """

    def __init__(self, slot: tuple[int, int], description: bytes) -> None:
        self._slot, self._description = slot, description

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, (*self._slot, self._description)


def packed(batch: Any, slot: Slot) -> Parcel | None:
    """A batch whose tensors and arrays are in ``slot``, which is then taken. None: it must be sent in another way.

    That is where it has none, where they do not fit, or where there are tensors other than plain ones in memory.

    Raises:
        Exception: whatever pickle raises of something that cannot be sent.
    """
    description = io.BytesIO()
    try:
        _Packer(description, slot).dump(batch)
    except DoesNotFitError:
        return None
    if slot.is_empty:
        return None
    slot.take()
    return Parcel(slot.name, description.getvalue())


def _opened(slots: int, number: int, description: bytes) -> Any:
    memory = slots_of_number(slots).held(number)
    return _Opener(io.BytesIO(description), memory).load()


class _Place(NamedTuple):
    """Where something is in a slot."""

    begin: int
    end: int


class _Packer(ForkingPickler):
    """Pickles, and puts memory into a slot instead."""

    def __init__(self, target: io.BytesIO, slot: Slot) -> None:
        super().__init__(target)
        self._slot = slot

    def persistent_id(self, part: Any) -> tuple[int, int] | None:
        return (part.begin, part.end) if type(part) is _Place else None

    def reducer_override(self, part: Any) -> Any:
        if isinstance(part, torch.Tensor):
            return self._of_tensor(part)
        if isinstance(part, torch.UntypedStorage):  # of a tensor, and only once if it has several
            return _storage, (self._moved(_bytes_of(part)),)
        if type(part) is np.ndarray and not part.dtype.hasobject:
            return self._of_array(part)
        return NotImplemented

    def _of_tensor(self, tensor: torch.Tensor) -> tuple[Any, ...]:
        storage = tensor.untyped_storage() if _is_plain(tensor) else None
        if storage is None or storage.nbytes() > MAX_WASTE * tensor.nbytes:
            raise DoesNotFitError
        view = tensor.storage_offset(), tuple(tensor.shape), tensor.stride()
        return _tensor, (storage, tensor.dtype, *view)

    def _of_array(self, array: Any) -> tuple[Any, ...]:
        order = "F" if array.flags.fnc else "C"
        room = self._slot.room(array.nbytes)
        _array(room, array.dtype, array.shape, order)[...] = array
        return _array, (self._moved(room), array.dtype, array.shape, order)

    def _moved(self, memory: Memory) -> _Place:
        """Where memory is in the slot, after it was copied if it was not there."""
        place = self._slot.place_of(memory)
        if place is None:
            room = self._slot.room(len(memory))
            room[:] = memory
            place = self._slot.place_of(room)
        assert place is not None
        return _Place(*place)


class _Opener(pickle.Unpickler):
    def __init__(self, description: io.BytesIO, memory: Memory) -> None:
        super().__init__(description)
        self._memory = memory

    def persistent_load(self, place: tuple[int, int]) -> Memory:
        begin, end = place
        return self._memory[begin:end]


def _is_plain(tensor: torch.Tensor) -> bool:
    """Whether a tensor is nothing but numbers in memory."""
    return (
        type(tensor) is torch.Tensor
        and tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and not (tensor.requires_grad or tensor.is_conj() or tensor.is_neg() or tensor.is_quantized)
    )


def _bytes_of(storage: torch.UntypedStorage) -> Memory:
    memory: Memory = torch.empty(0, dtype=torch.uint8).set_(storage).numpy()
    return memory


# What is made of memory, here and where a batch is opened.


def _storage(memory: Memory) -> torch.UntypedStorage:
    return torch.from_numpy(memory).untyped_storage()


def _tensor(storage: torch.UntypedStorage, dtype: torch.dtype, *view: Any) -> torch.Tensor:
    """``view``: offset, shape and strides."""
    return torch.empty(0, dtype=dtype).set_(storage, *view)


def _array(memory: Memory, dtype: Any, shape: tuple[int, ...], order: Any) -> Any:
    return np.ndarray(shape, dtype, memory, order=order)


# ---- batches that are made in a slot -----------------------------------------------------------------


def collate_into(slot: Slot, collate_fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A ``collate_fn`` that does the same and stacks tensors in a slot, if it is PyTorch's; else as it is.

    PyTorch's makes new shared memory for each tensor.
    """
    if collate_fn is not default_collate:
        return collate_fn
    kinds = default_collate_fn_map.copy()
    if kinds[torch.Tensor] is collate_tensor_fn:  # users may put one of their own there
        kinds[torch.Tensor] = partial(_stacked, slot)
    return partial(collate, collate_fn_map=kinds)


def _stacked(slot: Slot, tensors: Sequence[torch.Tensor], *, collate_fn_map: Any) -> torch.Tensor:
    first = tensors[0]
    try:
        room = slot.room(len(tensors) * first.nbytes) if _is_plain(first) else None
    except DoesNotFitError:
        room = None
    if room is None:
        stacked: torch.Tensor = collate_tensor_fn(tensors, collate_fn_map=collate_fn_map)
        return stacked
    batch = torch.empty(0, dtype=first.dtype).set_(_storage(room))
    return torch.stack(list(tensors), out=batch.view(len(tensors), *first.shape))
