"""Segments of plain wav files, read without libsndfile in a fraction of its time.

Knows only files that are as they should be, and gives the same bits as libsndfile. Of anything else, good or bad, it
says nothing, and libsndfile is to be asked.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from audiozen.system.files import READ, read_at, read_into

if TYPE_CHECKING:
    from pathlib import Path

    Frames: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]

_HEADER_SIZE = 4096
"""Bytes that are read to find the samples. What begins later is left to libsndfile."""
_BLOCK_SIZE = 3 << 14
"""Bytes of samples that are converted together: small enough for the fastest memory, whole for 2, 3 and 4 bytes."""
_RIFF = struct.Struct("<4sI4s")
_CHUNK = struct.Struct("<4sI")
_FORMAT = struct.Struct("<HHIIHH")
_EXTENSION = struct.Struct("<HHIH14s")
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_SUBTYPE = bytes.fromhex("000000001000800000aa00389b71")
"""Ends the 16 bytes that name PCM and float in an extensible header."""
_FORMAT_SIZES = {_PCM: (16, 18), _FLOAT: (16, 18), _EXTENSIBLE: (40,)}
_KNOWN = ((_PCM, 16), (_PCM, 24), (_PCM, 32), (_FLOAT, 32))
_TEXTS = (b"IART", b"ICMT", b"ICOP", b"ICRD", b"IGNR", b"INAM", b"IPRD", b"ISFT", b"ITRK")
_MAX_CHANNELS = 1024  # of libsndfile


class Segment(NamedTuple):
    """Part of a sound file."""

    sample_rate: int
    """In Hz."""
    frames: Frames
    """Shape ``(time, channels)``."""
    is_float: bool
    """Whether the file has floating-point numbers, which may be NaN."""


class _Layout(NamedTuple):
    coding: int
    num_channels: int
    sample_rate: int
    bits: int

    @property
    def frame_size(self) -> int:
        return self.num_channels * self.bits // 8


def read_wav(path: str | Path, start: int, num_samples: int | None) -> Segment | None:
    """A segment of a wav file with samples of 16, 24 or 32 bits, or 32-bit float.

    Args:
        path: of the file.
        start: first sample.
        num_samples: length of the segment; None reads to the end.

    Returns:
        The segment; None where the file cannot be read, has not that many samples, or is in any way unusual.
    """
    try:
        descriptor = os.open(path, READ)
    except OSError:
        return None
    try:
        return _read(descriptor, start, num_samples)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _read(descriptor: int, start: int, num_samples: int | None) -> Segment | None:
    header = read_at(descriptor, _HEADER_SIZE, 0)
    found = _samples_of(header, os.fstat(descriptor).st_size)
    if found is None:
        return None
    layout, offset, there = found
    length = there - start if num_samples is None else num_samples
    if start < 0 or length < 1 or start + length > there:
        return None
    samples = np.empty(length * layout.num_channels, np.float32)
    if not _fill(samples, descriptor, offset + start * layout.frame_size, layout):
        return None
    frames = samples.reshape(length, layout.num_channels)
    return Segment(layout.sample_rate, frames, layout.coding == _FLOAT)


def _fill(samples: Frames, descriptor: int, offset: int, layout: _Layout) -> bool:
    """Read samples from a byte on; False where there are fewer.

    In blocks, as memory for all of the integers would be fetched from the system each time.
    """
    width = layout.bits // 8
    block = np.empty(min(_BLOCK_SIZE, width * len(samples)), np.uint8)
    for first in range(0, len(samples), _BLOCK_SIZE // width):
        target = samples[first : first + _BLOCK_SIZE // width]
        content = block[: width * len(target)]
        if read_into(descriptor, content.data, offset + width * first) != len(content):
            return False
        _convert(content, layout, target)
    return True


def _samples_of(header: bytes, file_size: int) -> tuple[_Layout, int, int] | None:
    """Layout, offset and number of the samples, in a file that ends with them."""
    if len(header) < _RIFF.size or _RIFF.unpack_from(header)[::2] != (b"RIFF", b"WAVE"):
        return None
    layout, place = None, _RIFF.size
    while place + _CHUNK.size <= len(header):
        name, size = _CHUNK.unpack_from(header, place)
        place += _CHUNK.size
        if name == b"fmt " and layout is None:
            layout = _layout_of(header[place : place + size])
        elif name == b"data" and layout is not None:
            is_whole = size % layout.frame_size == 0
            ends = file_size - size - place in (0, size % 2)
            return (layout, place, size // layout.frame_size) if is_whole and ends else None
        elif not _is_passed_over(name, header[place : place + size], size, layout):
            return None
        place += size + size % 2
    return None


def _is_passed_over(name: bytes, content: bytes, size: int, layout: _Layout | None) -> bool:
    """Whether a chunk is one that libsndfile takes no offence at, and does not change what the samples mean."""
    if name == b"LIST":
        return len(content) == size and _is_list_of_texts(content)
    if name == b"PEAK":
        return layout is not None and size == 8 + 8 * layout.num_channels
    return name in (b"JUNK", b"PAD ") or (name == b"fact" and size == 4)


def _is_list_of_texts(content: bytes) -> bool:
    """Title, artist, program and such, as ffmpeg and sox write them."""
    place = 4
    while place + _CHUNK.size <= len(content):
        name, size = _CHUNK.unpack_from(content, place)
        if name not in _TEXTS:
            return False
        place += _CHUNK.size + size + size % 2
    return content[:4] == b"INFO" and place == len(content)


def _layout_of(chunk: bytes) -> _Layout | None:
    if len(chunk) < _FORMAT.size:
        return None
    coding, num_channels, sample_rate, _, frame_size, bits = _FORMAT.unpack_from(chunk)
    if len(chunk) not in _FORMAT_SIZES.get(coding, ()):
        return None
    if coding == _EXTENSIBLE:
        _, used_bits, _, coding, subtype = _EXTENSION.unpack_from(chunk, _FORMAT.size)
        if subtype != _SUBTYPE or used_bits != bits:
            return None
    layout = _Layout(coding, num_channels, sample_rate, bits)
    is_known = (coding, bits) in _KNOWN and 0 < num_channels <= _MAX_CHANNELS
    is_known = is_known and 0 < sample_rate < 2**31 and frame_size == layout.frame_size
    return layout if is_known else None


def _convert(content: np.ndarray[Any, np.dtype[np.uint8]], layout: _Layout, target: Frames) -> None:
    if layout.coding == _FLOAT:
        target[:] = content.view("<f4")
    elif layout.bits == 16:
        np.multiply(content.view("<i2"), np.float32(2**-15), out=target)
    else:
        wide = content if layout.bits == 32 else _widened(content)
        np.multiply(wide.view("<i4").astype(np.float32), np.float32(2**-31), out=target)


def _widened(content: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """24 bits as the upper ones of 32."""
    wide = np.zeros((len(content) // 3, 4), np.uint8)
    wide[:, 1:] = content.reshape(-1, 3)
    return wide.reshape(-1)
