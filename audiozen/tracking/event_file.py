"""Event files as TensorBoard reads them, written without importing it: that takes longer than a first step may.

A file is a row of records, each of them an ``Event`` in the encoding of Protocol Buffers between its length and check
sums.

Source: ``event.proto``, ``summary.proto`` and ``record_writer.py`` of TensorBoard; "Encoding" in the documentation of
Protocol Buffers; CRC-32C: RFC 3720, appendix B.4.
"""

from __future__ import annotations

import io
import os
import struct
import time
import wave
from typing import TYPE_CHECKING, Any

import numpy as np

from audiozen.durable_files import flush
from audiozen.tracking.append import append

if TYPE_CHECKING:
    from pathlib import Path

_FILE_VERSION = "brain.Event:2"
_START_OF_SESSION = 1
_DT_STRING = 7
_MASK_32, _MASK_64 = (1 << 32) - 1, (1 << 64) - 1


class EventFile:
    """A new event file. What is written is handed to the operating system at once, as a whole or not at all.

    Args:
        path: of the file, which must not exist.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb", buffering=0)
        flush(path.parent)

    def write(self, *summaries: bytes, step: int) -> None:
        """Add summaries that the functions below have made, all of ``step``, in one event."""
        # Messages of one kind behind one another are the message that has the parts of all of them.
        self._add([_varint(2, step) + _block(5, b"".join(summaries))])

    def start_session(self, step: int) -> None:
        """Have readers drop everything from ``step`` on."""
        self._add([_varint(2, step) + _block(7, _varint(1, _START_OF_SESSION))])

    def flush(self) -> None:
        """Return when the disk has it."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Write no more."""
        self._file.close()

    def _add(self, events: list[bytes]) -> None:
        if os.fstat(self._file.fileno()).st_size == 0:
            events = [_text(3, _FILE_VERSION), *events]
        now = _fixed(1, "<d", time.time())
        append(self._file, b"".join(_record(now + event) for event in events))


def scalar(name: str, value: float) -> bytes:
    """A number, in single precision. What that cannot hold is infinite."""
    with np.errstate(over="ignore"):
        single = np.float32(value)
    return _value(name, _fixed(2, "<f", single))


def audio(name: str, samples: np.ndarray[Any, Any], sample_rate: int) -> bytes:
    """A sound, as a wav file of 16 bits.

    Args:
        name: what readers call it.
        samples: shape ``(time,)``, within [-1, 1].
        sample_rate: in Hz.
    """
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, sample_rate, 0, "NONE", ""))
        file.writeframes((samples * 32767.0).astype("<i2").tobytes())
    facts = _fixed(1, "<f", sample_rate) + _varint(2, 1) + _varint(3, len(samples))
    return _value(name, _block(6, facts + _block(4, buffer.getvalue()) + _text(5, "audio/wav")))


def image(name: str, pixels: np.ndarray[Any, Any]) -> bytes:
    """A picture, as a PNG file.

    Args:
        name: what readers call it.
        pixels: shape ``(height, width, 3)``, 8 bits each.
    """
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    height, width, depth = pixels.shape
    facts = _varint(1, height) + _varint(2, width) + _varint(3, depth)
    return _value(name, _block(4, facts + _block(4, buffer.getvalue())))


def markdown(name: str, content: str) -> bytes:
    """A text in Markdown."""
    metadata = _block(9, _block(1, _text(1, "text")))
    shape = _block(2, _block(2, _varint(1, 1)))
    return _value(
        f"{name}/text_summary",
        metadata + _block(8, _varint(1, _DT_STRING) + shape + _text(8, content)),
    )


def _value(name: str, content: bytes) -> bytes:
    """A summary of one value."""
    return _block(1, _text(1, name) + content)


# ---- Protocol Buffers --------------------------------------------------------------------------


def _varint(field: int, value: int) -> bytes:
    return _digits(field << 3) + _digits(value & _MASK_64)


def _fixed(field: int, kind: str, value: Any) -> bytes:
    packed = struct.pack(kind, value)
    return _digits(field << 3 | (1 if len(packed) == 8 else 5)) + packed


def _text(field: int, value: str) -> bytes:
    return _block(field, value.encode())


def _block(field: int, content: bytes) -> bytes:
    return _digits(field << 3 | 2) + _digits(len(content)) + content


def _digits(value: int) -> bytes:
    """In base 128, the lowest digit first; all but the last are marked."""
    digits = bytearray()
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes((*digits, value))


# ---- records -----------------------------------------------------------------------------------


def _record(content: bytes) -> bytes:
    length = struct.pack("<Q", len(content))
    return length + _check_sum(length) + content + _check_sum(content)


def _check_sum(content: bytes) -> bytes:
    """CRC-32C, rotated and shifted so that the check sum of a check sum is one."""
    crc, table = _MASK_32, _CRC_TABLE
    for byte in content:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= _MASK_32
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & _MASK_32)


def _crc_of_byte(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value


_CRC_TABLE = [_crc_of_byte(value) for value in range(256)]
