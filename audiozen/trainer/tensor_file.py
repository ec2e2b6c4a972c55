"""Tensors as the bytes of a safetensors file, copied into a buffer that is kept; and back.

::

    file = TensorFile()
    file.copy(model.state_dict())     # as fast as the memory: the model may change from here on
    write_file(path, *file.parts())   # any time later, in any thread
    tensors_in(path.read_bytes())     # views of these bytes

Source: the format is described in the README of https://github.com/huggingface/safetensors: the length of a header, the
header in JSON, the tensors. Writing it with that library takes twice the memory and holds the interpreter meanwhile.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import torch

from audiozen.durable_files import BLOCK_SIZE
from audiozen.errors import CheckpointError
from audiozen.trainer.own_memory import new_buffer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from audiozen.trainer.verified_files import Content

DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.complex64: "C64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint64: "U64",
    torch.uint32: "U32",
    torch.uint16: "U16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
TORCH_DTYPES = {name: dtype for dtype, name in DTYPES.items()}
ALIGNMENT = 8
CACHE_LINE = 64
"""Bytes. The tensors begin at a whole number of them in the file, since copying from there is faster."""
GROWTH = 8

Layout = tuple[tuple[str, torch.dtype, tuple[int, ...]], ...]


class TensorFile:
    """One safetensors file in memory. Its buffer is made anew only where the tensors outgrow it."""

    def __init__(self) -> None:
        self._layout: Layout | None = None
        self._header = b""
        self._buffer = torch.empty(0, dtype=torch.uint8)
        self._size = 0
        self._slots: dict[str, Tensor] = {}

    def copy(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy tensors of any device into the buffer. Tied ones are written under each of their names.

        Raises:
            CheckpointError: the format has no such type; the text names the tensor.
        """
        layout = layout_of(tensors)
        if layout != self._layout:
            self._lay_out(layout, pinned=any(tensor.is_cuda for tensor in tensors.values()))
        if self._slots:
            sources = [tensors[name].detach() for name in self._slots]
            torch._foreach_copy_(list(self._slots.values()), sources, non_blocking=True)
            for device in {tensor.device for tensor in sources if tensor.is_cuda}:
                torch.cuda.synchronize(device)

    def parts(self) -> tuple[bytes, memoryview, memoryview]:
        """The content of the file: header, and tensors in two parts.

        The second one begins at a whole number of blocks in the file, for the sake of who maps it: the system then has
        it in larger pages, and hashing it takes a quarter less time.
        """
        tensors = self._buffer.numpy().data[: self._size]
        start = -len(self._header) % BLOCK_SIZE
        return self._header, tensors[:start], tensors[start:]

    def _lay_out(self, layout: Layout, *, pinned: bool) -> None:
        sizes = [math.prod(shape) * dtype.itemsize for _, dtype, shape in layout]
        if sum(sizes) > len(self._buffer):
            self._buffer = torch.empty(0)  # never two of them
            # Room to grow, since some states do in each step.
            room = sum(sizes) // GROWTH + ALIGNMENT
            self._buffer = (
                torch.empty(sum(sizes) + room, dtype=torch.uint8, pin_memory=True)
                if pinned
                else new_buffer(sum(sizes) + room)
            )
        whole = self._buffer[: len(self._buffer) // ALIGNMENT * ALIGNMENT]
        typed = {dtype: whole.view(dtype) for dtype in {dtype for _, dtype, _ in layout}}
        self._slots = {}
        header, start = {}, 0
        for (name, dtype, shape), size in zip(layout, sizes):
            end = start + size
            header[name] = {"dtype": DTYPES[dtype], "shape": shape, "data_offsets": [start, end]}
            self._slots[name] = typed[dtype].as_strided(
                shape, contiguous_strides(shape), start // dtype.itemsize
            )
            start = end
        text = json.dumps(header).encode()
        text += b" " * (-(8 + len(text)) % CACHE_LINE)
        self._header = len(text).to_bytes(8, "little") + text
        self._layout, self._size = layout, sum(sizes)


def tensors_in(content: Content) -> dict[str, Tensor]:
    """Tensors by name, as views of the content of a safetensors file."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header.pop("__metadata__", None)
    data = torch.frombuffer(content, dtype=torch.uint8)[start:]
    return {name: view_of(data, **place) for name, place in header.items()}


def view_of(
    data: Tensor, dtype: str, shape: Sequence[int], data_offsets: tuple[int, int]
) -> Tensor:
    """One tensor, as a header tells its place; a copy where other writers have not aligned it."""
    start, end = data_offsets
    kind, values = TORCH_DTYPES[dtype], data[start:end]
    if values.storage_offset() % kind.itemsize:
        values = values.clone()
    return values.view(kind).view(tuple(shape))


def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Steps from one element to the next along each axis.

    >>> contiguous_strides((2, 3, 4))
    (12, 4, 1)
    """
    strides, step = [], 1
    for length in reversed(shape):
        strides.append(step)
        step *= max(length, 1)
    return tuple(reversed(strides))


def layout_of(tensors: Mapping[str, Tensor]) -> Layout:
    """Name, type and shape of each tensor, in the order of the file: larger types first, so that all are aligned.

    Raises:
        CheckpointError: the format has no such type; the text names the tensor.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES or tensor.layout is not torch.strided:
            kind = str(tensor.dtype if tensor.dtype not in DTYPES else tensor.layout)
            raise CheckpointError(
                f"{name} is a tensor of {kind.removeprefix('torch.')}, which a checkpoint cannot hold; allowed are "
                f"dense tensors of {', '.join(str(dtype).removeprefix('torch.') for dtype in DTYPES)}"
            )
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    return tuple((name, tensors[name].dtype, tuple(tensors[name].shape)) for name in order)
