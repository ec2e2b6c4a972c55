"""The lines of a text file by number, however many there are: an index file beside it says where each begins.

Knows bytes, not what is in a line.
"""

from __future__ import annotations

import logging
import re
import struct
import sys
import tempfile
from hashlib import blake2b
from itertools import pairwise
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np

from audiozen.data.shared_file import (
    NUM_BYTES,
    Numbers,
    SharedFile,
    read_numbers,
    share,
)
from audiozen.durable_files import replaced
from audiozen.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

logger = logging.getLogger(__name__)

BLANKS = " \t\r"
"""A line of nothing else is blank: the white space of JSON."""

_BLANKS = f"{BLANKS}\n".encode()
_BLANK_LINE = re.compile(rb"[%b]*(?:\n|\Z)" % BLANKS.encode())
_NEWLINE = ord("\n")
_SPACE = ord(" ")  # whatever a blank line begins with is not above it
_BLOCK_SIZE = 1 << 24  # bytes of the text that are looked at together
_LINES_AT_ONCE = 4096
_NUM_PROBES = 64
_MAGIC = b"audiozen lines 1"


class _Header(NamedTuple):
    """How an index begins. The offsets of all lines and the size of the text follow."""

    magic: bytes
    size: int
    modified_ns: int
    num_lines: int
    digest: bytes


_HEADER = struct.Struct("=16sqqq16s")


class IndexedLines:
    """Lines of a file that are not blank. None of them is held in memory, and workers read the files that were opened.

    Args:
        path: of the text.
        text: that file.
        index: where its lines begin.

    Attributes:
        path: of the text.
        digest: hash of the text, as it was when the index was made.

    Raises:
        ManifestError: the index is of another text, or damaged.
    """

    def __init__(self, path: Path, text: SharedFile, index: SharedFile) -> None:
        self.path, self._text, self._index = path, text, index
        header = _Header._make(_HEADER.unpack(index.read(0, _HEADER.size).ljust(_HEADER.size)))
        self._size, self._modified_ns = header.size, header.modified_ns
        self._num_lines, self.digest = header.num_lines, header.digest
        if header.magic != _MAGIC or self._num_lines < 0 or not self._is_as_it_was():
            raise self._mismatch()
        self._probe()

    @classmethod
    def opened(cls, path: Path) -> IndexedLines:
        """The lines of a text file.

        The index is the file ``NAME.index`` beside it. It is made where there is none for a text of this size and time
        of last writing; several processes may do so at once. Where it cannot be written, it is kept in a file without
        a name and made anew each time, which is told.

        Raises:
            OSError: the text cannot be read.
            ManifestError: the text is being written at this moment.
        """
        text = SharedFile.opened(path)
        try:
            return cls(path, text, SharedFile.opened(_index_path(path)))
        except (OSError, ManifestError):
            return cls(path, text, _new_index(path, text))

    def __len__(self) -> int:
        return self._num_lines

    def __getitem__(self, number: int) -> bytes:
        """One line. ManifestError where the text is not what it was when it was opened."""
        [line] = self._stretch(number, number + 1)
        return line

    def stretch(self, start: int, stop: int) -> Iterator[bytes]:
        """Lines from ``start`` to ``stop`` one after the other, in less time than one by one."""
        for begin in range(start, stop, _LINES_AT_ONCE):
            yield from self._stretch(begin, min(begin + _LINES_AT_ONCE, stop))

    def line_number(self, number: int) -> int:
        """What an editor calls this line: counted from 1, with the blank ones. Reads all that is before it."""
        offset, _ = self._offsets(number, number + 1)
        blocks = range(0, offset, _BLOCK_SIZE)
        return 1 + sum(
            self._text.read(at, min(_BLOCK_SIZE, offset - at)).count(b"\n") for at in blocks
        )

    def _probe(self) -> None:
        """Refuse an index of another text: see whether its ends, and some of the lines, are what they should be."""
        numbers = range(self._num_lines)
        for number in [*numbers[:: len(numbers) // _NUM_PROBES + 1], *numbers[-1:]]:
            self._stretch(number, number + 1)
        if numbers:
            begin, end = self._offsets(0, 1)[0], self._offsets(numbers[-1], len(numbers))[-1]
            if end != self._size or self._text.read(0, begin).strip(_BLANKS):
                raise self._mismatch()

    def _stretch(self, start: int, stop: int) -> list[bytes]:
        try:
            return self._read(start, stop)
        except OSError as error:
            raise ManifestError(f"cannot read {self.path} any more: {error}") from error

    def _read(self, start: int, stop: int) -> list[bytes]:
        offsets = self._offsets(start, stop)
        first = max(offsets[0] - 1, 0)  # the line before must end here
        text = self._text.read(first, offsets[-1] - first)
        lines = [text[begin - first : end - first] for begin, end in pairwise(offsets)]
        if not (offsets[0] == 0 or text.startswith(b"\n")) or not self._is_as_it_was():
            raise self._mismatch()
        if not all(map(self._is_line, lines, offsets[1:])):
            raise self._mismatch()
        return lines

    def _is_line(self, line: bytes, end: int) -> bool:
        """One whole line, with blank ones that may follow it."""
        return (line.endswith(b"\n") or end == self._size) and b"\n" not in line.strip(_BLANKS)

    def _is_as_it_was(self) -> bool:
        return self._text.state() == (self._size, self._modified_ns)

    def _offsets(self, start: int, stop: int) -> memoryview[int]:
        """Where lines begin, and where the last of them ends."""
        offset = _HEADER.size + NUM_BYTES * start
        try:
            offsets = read_numbers(self._index, offset, stop - start + 1)
        except EOFError as error:
            raise self._mismatch() from error
        if not 0 <= offsets[0] < offsets[-1] <= self._size:
            raise self._mismatch()
        return offsets

    def _mismatch(self) -> ManifestError:
        return ManifestError(
            f"{self.path} was written to while it was in use, or its index is damaged; start again (if this comes "
            f"again, remove {_index_path(self.path)}), and replace a manifest in use as a whole, as write_manifest does"
        )


def _index_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.index")


def _new_index(path: Path, text: SharedFile) -> SharedFile:
    try:
        with replaced(_index_path(path)) as partial, partial.open("wb") as file:
            _write_index(text, file)
        return SharedFile.opened(_index_path(path))
    except OSError as error:
        logger.warning(
            "the lines of %s are found anew at each start, because their index cannot be kept beside it: %s",
            path,
            error,
        )
    with tempfile.TemporaryFile() as file:
        _write_index(text, file)
        return share(file)


def _write_index(text: SharedFile, index: IO[bytes]) -> None:
    size, modified_ns = text.state()
    digest, num_lines, offset = blake2b(digest_size=16), 0, 0
    index.write(bytes(_HEADER.size))  # its place
    with text.stream() as file:
        while block := file.read(_BLOCK_SIZE) + file.readline():
            digest.update(block)
            starts = _starts_of_lines(block)
            index.write((starts + offset).data)
            num_lines, offset = num_lines + len(starts), offset + len(block)
    index.write(offset.to_bytes(NUM_BYTES, sys.byteorder))
    index.seek(0)
    index.write(_HEADER.pack(_MAGIC, size, modified_ns, num_lines, digest.digest()))


def _starts_of_lines(block: bytes) -> Numbers:
    """Where the lines begin that are not blank, in a block of whole lines."""
    content = np.frombuffer(block, np.uint8)
    starts = np.append(0, np.flatnonzero(content[:-1] == _NEWLINE) + 1)
    doubtful = np.flatnonzero(content[starts] <= _SPACE)
    blank = [place for place in doubtful if _BLANK_LINE.match(block, int(starts[place]))]
    return np.delete(starts, blank).astype(np.int64)
