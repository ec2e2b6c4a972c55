"""Tensors in memory of their own, which is had at a fifth of the usual price.

Memory that is new comes from the system in pages, each at its first use, which takes several times as long as copying
into them. NumPy asks for large pages, PyTorch does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ALIGNMENT = 64
"""Bytes: that of PyTorch."""
LARGE = 1 << 16
"""Bytes from which on a tensor shares a buffer with others. A small one shall not keep a buffer alive."""


def new_buffer(num_bytes: int) -> Tensor:
    """A vector of bytes, aligned, with anything in it."""
    memory = np.empty(num_bytes + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return torch.from_numpy(memory[start : start + num_bytes])


def with_own_memory(value: Any) -> Any:
    """A nested value with copies of its tensors, on the CPU: those that are large are together in one buffer."""
    tensors: list[Tensor] = []
    map_tensors(value, tensors.append)
    copies = iter(copied(tensors))
    return map_tensors(value, lambda _: next(copies))


def map_tensors(value: Any, function: Callable[[Tensor], object]) -> Any:
    """The same value of dicts, lists and tuples, with what the function makes of each tensor in it."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        return {key: map_tensors(item, function) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map_tensors(item, function) for item in value)
    return value


def copied(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copies of contiguous tensors, each aligned."""
    sizes = [rounded(tensor.nbytes) if tensor.nbytes >= LARGE else 0 for tensor in tensors]
    buffer, start = new_buffer(sum(sizes)), 0
    copies = []
    for tensor, size in zip(tensors, sizes):
        if size:
            place = buffer[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
            copies.append(place.copy_(tensor))
        else:
            copies.append(tensor.clone())
        start += size
    return copies


def rounded(num_bytes: int) -> int:
    """Bytes up to the next aligned one."""
    return num_bytes + -num_bytes % ALIGNMENT
