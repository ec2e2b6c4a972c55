"""Tensors in memory of their own, which is had at a fifth of the usual price; and copying as fast as the memory is.

Memory that is new comes from the system in pages, each at its first use, which takes several times as long as copying
into them. NumPy asks for large pages, PyTorch does not.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from audiozen.data.nested import map_leaves, tensors_of
from audiozen.trainer.parallel import for_each

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ALIGNMENT = 64
"""Bytes: that of PyTorch."""
LARGE = 1 << 16
"""Bytes from which on a tensor shares a buffer with others. A small one shall not keep a buffer alive."""
WORTH_SHARING = 1 << 17
"""Bytes from which on a tensor is one of those that several threads copy; PyTorch by itself does no less."""
SHARE_SIZE = 1 << 23
"""Bytes that a thread copies at a time, of neighbours: two threads in one new page would both clear it."""
PLAIN = (Tensor, nn.Parameter)
"""Classes; others may keep their content elsewhere."""


def new_buffer(num_bytes: int) -> Tensor:
    """A vector of bytes, aligned, with anything in it."""
    memory = np.empty(num_bytes + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return torch.from_numpy(memory[start : start + num_bytes])


def with_own_memory(value: Any) -> Any:
    """A nested value with copies of its tensors, on the CPU: those that are large are together in one buffer."""
    copies = iter(copied(tensors_of(value)))
    return map_leaves(lambda leaf: next(copies) if isinstance(leaf, Tensor) else leaf, value)


def copied(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copies of contiguous tensors, each aligned."""
    sizes = [rounded(tensor.nbytes) if tensor.nbytes >= LARGE else 0 for tensor in tensors]
    buffer, start = new_buffer(sum(sizes)), 0
    copies, pairs = [], []
    for tensor, size in zip(tensors, sizes):
        if size:
            place = buffer[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
            copies.append(place)
            pairs.append((place, tensor))
        else:
            copies.append(tensor.clone())
        start += size
    copy_all(pairs)
    return copies


def rounded(num_bytes: int) -> int:
    """Bytes up to the next aligned one."""
    return num_bytes + -num_bytes % ALIGNMENT


@torch.no_grad()
def copy_all(pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Copy the second tensor of each pair into the first one, which has the same shape; types and devices may differ.

    Where that is a matter of bytes, several threads do it. Of pairs with the same place, the last one counts.
    """
    rows = {}
    for place, tensor in pairs:
        if place.dtype == tensor.dtype and is_large_row(place) and is_large_row(tensor):
            rows[place.data_ptr(), place.nbytes] = tensor.data_ptr()
        else:
            place.copy_(tensor)
    for_each(shares_of([Row(place, start, size) for (place, size), start in rows.items()]), move)


def is_large_row(tensor: Tensor) -> bool:
    """Whether a tensor is its bytes, one after the other, in the memory of the CPU, and enough of them."""
    return (
        type(tensor) in PLAIN
        and tensor.device.type == "cpu"
        and tensor.layout is torch.strided
        and tensor.nbytes >= WORTH_SHARING
        and tensor.is_contiguous()
        and not (tensor.is_conj() or tensor.is_neg())
    )


class Row(NamedTuple):
    """Addresses of bytes that are to be copied, and their number."""

    place: int
    start: int
    size: int


def shares_of(rows: Iterable[Row]) -> list[list[Row]]:
    """The same in shares, each of neighbours; large rows are cut."""
    shares: list[list[Row]] = [[]]
    size = 0
    for row in rows:
        for offset in range(0, row.size, SHARE_SIZE):
            length = min(SHARE_SIZE, row.size - offset)
            shares[-1].append(Row(row.place + offset, row.start + offset, length))
            size += length
            if size >= SHARE_SIZE:
                shares.append([])
                size = 0
    return [share for share in shares if share]


def move(share: Iterable[Row]) -> None:
    """Copy these rows, without the interpreter."""
    for row in share:
        ctypes.memmove(*row)
