"""Files and numbers that a process and its workers share without a copy. Knows nothing of what they mean.

Files are read, not mapped into memory: mapped pages count as memory of each process that touches them, and end it
without a word where the file is cut short.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Sequence
from contextlib import contextmanager
from multiprocessing.context import get_spawning_popen
from typing import IO, TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np

from audiozen.system.files import READ, read_at
from audiozen.system.inheritance import inheritable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Numbers: TypeAlias = np.ndarray[tuple[int], np.dtype[np.int64]]
NUM_BYTES = 8
"""Of a number in a file."""


class SharedFile:
    """A file that is open for reading here and in the workers that this process starts.

    Workers get the open file, not its name: they read what was opened, even where the name has meanwhile gone to
    another file. Several threads and processes may read at once.

    Args:
        descriptor: of the open file; closed when nobody needs this object any more.
        path: by which it can be opened again.
    """

    def __init__(self, descriptor: int, path: Path | None = None) -> None:
        self._descriptor, self._path = descriptor, path
        weakref.finalize(self, os.close, descriptor)

    @classmethod
    def opened(cls, path: Path) -> SharedFile:
        """Open a file by its name. OSError where that cannot be done."""
        return cls(os.open(path, READ), path)

    def __reduce__(self) -> tuple[Any, ...]:
        if inheritable is not None:
            return _inherited, (inheritable(self._descriptor),)
        # Where nothing can be inherited, no other file can have got the name.
        if self._path is not None:
            return SharedFile.opened, (self._path,)
        return _copied, (self.read(0, self.state()[0]),)

    def read(self, offset: int, size: int) -> bytes:
        """``size`` bytes from ``offset`` on; fewer only where the file ends."""
        content = read_at(self._descriptor, size, offset)
        while len(content) < size and (more := self._more(content, offset, size)):
            content += more
        return content

    def _more(self, content: bytes, offset: int, size: int) -> bytes:
        return read_at(self._descriptor, size - len(content), offset + len(content))

    @contextmanager
    def stream(self) -> Iterator[IO[bytes]]:
        """All of it, to be read from the start to the end by one reader at a time."""
        with os.fdopen(os.dup(self._descriptor), "rb") as file:
            file.seek(0)
            yield file

    def state(self) -> tuple[int, int]:
        """Size in bytes, and when it was written last, in nanoseconds."""
        found = os.fstat(self._descriptor)
        return found.st_size, found.st_mtime_ns


def _inherited(duplicate: Any) -> SharedFile:
    return SharedFile(duplicate.detach())


def _copied(content: bytes) -> SharedFile:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        return share(file)


def share(file: IO[bytes]) -> SharedFile:
    """What was written to a file so far, also after that file was closed."""
    file.flush()
    return SharedFile(os.dup(file.fileno()))


class SharedNumbers(Sequence[int]):
    """Whole numbers in a file: however many, they take no memory of a process or its workers.

    Args:
        file: of int64 numbers.
        places: which of them, and in which order.
    """

    def __init__(self, file: SharedFile, places: range) -> None:
        self._file, self._places = file, places

    @classmethod
    def of(cls, numbers: Numbers) -> SharedNumbers:
        """Keep numbers in a file without a name."""
        with tempfile.TemporaryFile() as file:
            file.write(np.ascontiguousarray(numbers, np.int64).data)
            return cls(share(file), range(len(numbers)))

    def __reduce__(self) -> tuple[Any, ...]:
        if get_spawning_popen() is None:  # on the way to somewhere else, where the file is not
            return SharedNumbers.of, (self.array(),)
        return SharedNumbers, (self._file, self._places)

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> SharedNumbers: ...
    def __getitem__(self, place: int | slice) -> int | SharedNumbers:
        if isinstance(place, slice):
            return SharedNumbers(self._file, self._places[place])
        return read_numbers(self._file, NUM_BYTES * self._places[place], 1)[0]

    def array(self) -> Numbers:
        """All of them, in memory."""
        places = array_of(self._places)
        last = int(places.max(initial=-1))
        return np.asarray(read_numbers(self._file, 0, last + 1), np.int64)[places]


def read_numbers(file: SharedFile, offset: int, count: int) -> memoryview[int]:
    """``count`` numbers from the byte ``offset`` on. EOFError where the file ends before."""
    content = file.read(offset, NUM_BYTES * count)
    if len(content) < NUM_BYTES * count:
        raise EOFError(f"{count} numbers were expected at byte {offset}, and the file ends")
    return memoryview(content).cast("q")


def array_of(numbers: range | SharedNumbers) -> Numbers:
    """Numbers as an array in memory."""
    if isinstance(numbers, range):
        return np.arange(numbers.start, numbers.stop, numbers.step, dtype=np.int64)
    return numbers.array()
