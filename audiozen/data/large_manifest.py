"""Manifests of millions of sound files: opened at once, shared by all workers, held in memory by none.

::

    entries = open_manifest("corpus/speech.jsonl")  # makes corpus/speech.jsonl.index at the first time
    train = entries.where(split="train")
    train[3_000_000].path
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from multiprocessing.context import get_spawning_popen
from operator import index as as_integer
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from audiozen.data.indexed_lines import IndexedLines
from audiozen.data.manifest import Entry, entry_of, faulty, refuse_empty, unreadable
from audiozen.data.shared_file import SharedNumbers, array_of
from audiozen.errors import ManifestError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["Manifest", "open_manifest"]


def open_manifest(path: str | Path) -> Manifest:
    """Open a manifest without reading its entries: for millions of them. For fewer there is ``read_manifest``.

    The first opening reads the file once, a gigabyte in about two seconds, and leaves an index beside it
    (``NAME.jsonl.index``, 8 bytes per entry). Later ones take milliseconds. The index is made anew when the manifest
    has another size or time of last writing. Where it cannot be written, each start makes its own, which is told.

    A line is checked when it is read. What ``read_manifest`` knows besides is left to it: that all lines are good
    before the first is used, and that no id comes twice.

    Args:
        path: of the manifest. It may be replaced while it is open (as ``write_manifest`` does), and the entries stay
            those of the file that was opened; where it is written over, the next entry that is read is an error.

    Raises:
        ManifestError: it cannot be read, is empty, or is being written at this moment.
    """
    path = Path(path)
    try:
        lines = IndexedLines.opened(path)
    except OSError as error:
        raise unreadable(path, error) from error
    manifest = Manifest(lines, range(len(lines)))
    refuse_empty(path, manifest)
    return manifest


class Manifest(Sequence[Entry]):
    """Entries of a manifest on the disk, all or some of them. Made by :func:`open_manifest`.

    ``manifest[7]`` reads one line, in microseconds once the system has it in its cache, and raises ManifestError where
    the line is wrong. ``manifest[10:20]`` is a Manifest as well. Workers of a ``DataLoader`` share it, whether they are
    forked or spawned: it takes none of their memory. Pickled for any other purpose it is opened again by its name, and
    refused if it has changed.
    """

    def __init__(self, lines: IndexedLines, numbers: range | SharedNumbers) -> None:
        self._lines, self._numbers = lines, numbers

    @property
    def path(self) -> Path:
        """Of the file."""
        return self._lines.path

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> Manifest: ...
    def __getitem__(self, index: int | slice) -> Entry | Manifest:
        if isinstance(index, slice):
            return Manifest(self._lines, self._numbers[index])
        number = self._numbers[as_integer(index)]
        return self._entry(number, self._lines[number])

    def __iter__(self) -> Iterator[Entry]:
        return map(self._entry, self._numbers, self._texts())

    def select(self, indices: ArrayLike) -> Manifest:
        """Some of the entries, in the order of ``indices``.

        Workers share them, too: they take 8 bytes each in a file without a name, in the folder for temporary files.

        Args:
            indices: whole numbers from 0 to ``len(manifest) - 1``.

        Raises:
            IndexError: there is no such entry.
            TypeError: they are not whole numbers.
        """
        wanted = np.asarray(indices)
        if wanted.ndim != 1 or (len(wanted) and wanted.dtype.kind not in "iu"):
            raise TypeError(f"indices must be whole numbers in a row, got {indices!r:.80}")
        outside = wanted[(wanted < 0) | (wanted >= len(self))]
        if len(outside):
            raise IndexError(f"index {outside[0]} is not in 0 … {len(self) - 1}")
        return Manifest(
            self._lines, SharedNumbers.of(array_of(self._numbers)[wanted.astype(np.int64)])
        )

    def where(self, **labels: Any) -> Manifest:
        """The entries whose labels have these values.

        It reads every line, which takes about a minute for ten million; where a program cannot wait for that at each
        start, a manifest for each split is better.

        Args:
            labels: names and values, such as ``split="train"``.

        Raises:
            ManifestError: there is no such entry, or a line is wrong.
        """
        wanted = labels.items()
        found = np.fromiter(
            (place for place, entry in enumerate(self) if wanted <= entry.labels.items()), np.int64
        )
        if not len(found):
            there = sorted({name for entry in self[:100] for name in entry.labels})
            raise ManifestError(
                f"no entry of {self!r} has the labels {labels}; labels of the first ones: {', '.join(there) or 'none'}"
            )
        return self.select(found)

    def fingerprint(self) -> str:
        """A text that changes with the entries, and is the same on another machine and in another folder.

        It is at hand since the index was made. A dataset over the manifest can make its own of it.
        """
        hashed = blake2b(self._lines.digest + b"%d" % len(self), digest_size=16)
        if self._numbers != range(len(self._lines)):
            hashed.update(array_of(self._numbers).data)
        return hashed.hexdigest()

    def __repr__(self) -> str:
        return f"Manifest({str(self.path)!r}, {len(self)} entries)"

    def __reduce__(self) -> tuple[Any, ...]:
        if get_spawning_popen() is None:
            return _opened_again, (self.path.absolute(), self._lines.digest, self._numbers)
        return Manifest, (self._lines, self._numbers)

    def _texts(self) -> Iterator[bytes]:
        numbers = self._numbers
        if isinstance(numbers, range) and numbers.step == 1:
            return self._lines.stretch(numbers.start, numbers.stop)
        return map(self._lines.__getitem__, numbers)

    def _entry(self, number: int, line: bytes) -> Entry:
        try:
            return entry_of(line.decode(), self.path.parent)
        except ValueError as error:
            problem = f"line {self._lines.line_number(number)}: {error}"
            raise faulty(self.path, [problem]) from error


def _opened_again(path: Path, digest: bytes, numbers: range | SharedNumbers) -> Manifest:
    lines = IndexedLines.opened(path)
    if lines.digest != digest:
        raise ManifestError(f"{path} has changed since it was pickled; make the object anew")
    return Manifest(lines, numbers)
