"""Batches on their way to a GPU, beside what it computes.

::

    copies = DeviceCopies("cuda")
    for batch in dataloader:
        loss = loss_function(model(copies(batch)))  # copied while the step before is still computed
"""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from audiozen.data.nested import map_leaves, move_tensors, tensors_of

T = TypeVar("T")


class Event(Protocol):
    """Something on a device that will have happened, such as ``torch.cuda.Event``."""

    def query(self) -> bool:
        """Whether it has happened."""


class DeviceCopies:
    """Copies batches to a GPU on a stream of their own.

    The process that trains is some steps ahead of the GPU, as nothing in a step waits for it. So a batch is asked for
    while the GPU computes the step before, and its copy goes on beside that; only what uses the batch waits for it, on
    the GPU. No batch is loaded before its turn for that.

    Memory that is not page-locked is copied into such that is, or else the copy would wait for itself; a ``DataLoader``
    with ``pin_memory`` does this in a thread of its own. Whatever is read from lives until it has been read, also where
    it is a slot that a worker would fill again.

    Args:
        device: of the batches. On the CPU they are handed out as they are.
    """

    def __init__(self, device: torch.device | str) -> None:
        self.device = torch.device(device)
        is_cuda = self.device.type == "cuda"
        self._stream = torch.cuda.Stream(self.device) if is_cuda else None  # type: ignore[no-untyped-call] # by PyTorch
        self._sources = Sources()

    def __call__(self, batch: T) -> T:
        """``batch`` with its tensors, in any nesting, on the device."""
        if self.device.type == "cpu":
            return batch
        copied: T = (
            move_tensors(batch, self.device, non_blocking=True)
            if self._stream is None
            else self._copied_beside(batch, self._stream)
        )
        return copied

    def _copied_beside(self, batch: Any, stream: torch.cuda.Stream) -> Any:
        pinned = map_leaves(page_locked, batch)
        with torch.cuda.stream(stream):
            copied = move_tensors(pinned, self.device, non_blocking=True)
        is_read = stream.record_event()
        self._sources.keep((batch, pinned), is_read)
        computing = torch.cuda.current_stream(self.device)
        computing.wait_event(is_read)
        for tensor in tensors_of(copied):
            tensor.record_stream(computing)  # or its memory would be used again by the next copy
        return copied


class Sources:
    """What copies read from, kept alive until they have. The events happen in the order in which they are given."""

    def __init__(self) -> None:
        self._kept: deque[tuple[Event, object]] = deque()

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, source: object, is_read: Event) -> None:
        """Hold a source until the event, and let go of those before it that were read."""
        while self._kept and self._kept[0][0].query():
            self._kept.popleft()
        self._kept.append((is_read, source))


def page_locked(leaf: Any) -> Any:
    """A tensor that a GPU can read while the process goes on; anything else as it is."""
    is_in_memory = isinstance(leaf, Tensor) and leaf.device.type == "cpu"
    return leaf.pin_memory() if is_in_memory and leaf.layout == torch.strided else leaf
