"""Disks that fail, and disks that are recorded and rebuilt as a power loss may leave them.

``durable_files`` does each operation as one call of a function of ``os``. Here are other things to put in its place.
"""

from __future__ import annotations

import errno
import os
import random
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import product
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from audiozen import durable_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CHANGES = ("mkdir", "open", "write", "fsync", "close", "replace", "symlink", "unlink", "rmdir")
"""Operations of ``os`` that fail or are recorded; all others are as ever."""


@contextmanager
def in_place_of_os(operations: Any) -> Iterator[None]:
    """Let the checkpoints touch the disk through something else."""
    before = durable_files.os
    durable_files.os = operations
    try:
        yield
    finally:
        durable_files.os = before


NO_PROCESS = 2**22 + 1
"""A number that Linux gives to no process."""


class Operations:
    """``os`` as seen by a process that will be gone when somebody looks for it, with each change of the disk led
    through :meth:`do`.
    """

    def __getattr__(self, name: str) -> Any:
        operation = getattr(os, name)
        if name not in CHANGES:
            return operation
        return lambda *args: self.do(name, operation, *args)

    def getpid(self) -> int:
        """A process that is gone, when somebody looks for it."""
        return NO_PROCESS

    def do(self, name: str, operation: Any, *args: Any) -> Any:
        """Do it."""
        return operation(*args)


class Unflushed(Operations):
    """A disk whose flushes return at once: as good as any other, for those who never lose power."""

    def do(self, name: str, operation: Any, *args: Any) -> Any:
        return None if name == "fsync" else operation(*args)


# ---- failing ---------------------------------------------------------------------------------------


class Gone(BaseException):
    """The process has ended here: nothing that it would do later reaches the disk."""


FAILURES = ("no space", "full from here on", "input/output error", "short write", "process gone")


class Failing(Unflushed):
    """Lets the n-th operation fail.

    Args:
        n: which, from 1.
        failure: how, one of ``FAILURES``.
    """

    def __init__(self, n: int, failure: str) -> None:
        self.n, self.failure = n, failure
        self.count = 0
        self.failed: str | None = None

    def do(self, name: str, operation: Any, *args: Any) -> Any:
        if self.failed and self.failure == "process gone":
            if name == "close":  # so that descriptors of this process do not run out
                os.close(*args)
            raise Gone
        self.count += 1
        if self.count == self.n:
            self.failed = name
            self._fail(name, args)
        if self.failed and self.failure == "full from here on" and takes_space(name, args):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().do(name, operation, *args)

    def _fail(self, name: str, args: Sequence[Any]) -> None:
        if name == "write" and self.failure == "short write":
            os.write(args[0], args[1][: len(args[1]) // 2])
        if name == "close":  # the descriptor is closed also where this is told
            os.close(*args)
        if self.failure == "process gone":
            raise Gone
        number = errno.EIO if self.failure == "input/output error" else errno.ENOSPC
        raise OSError(number, os.strerror(number))


def takes_space(name: str, args: Sequence[Any]) -> bool:
    """Whether an operation needs some of the disk."""
    return name in ("mkdir", "write", "symlink") or (name == "open" and bool(args[1] & os.O_CREAT))


# ---- recording -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(frozen=True)
class Change:
    """One entry of the log: what happened to one file or folder.

    ``file`` is the number of the file or folder itself (which renaming does not change). The kinds are ``folder`` (it
    is a new folder), ``names`` (it gained and lost names), ``truncate``, ``write`` and ``flush``.
    """

    kind: str
    file: int
    names: dict[str, int | Link | None] = field(default_factory=dict)
    start: int = 0
    content: bytes = b""


class Recording(Unflushed):
    """Writes down what happens to one folder and everything in it. The folder is empty before.

    Attributes:
        log: the changes in their order.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log: list[Change] = []
        self._tree: dict[int, dict[str, int | Link]] = {0: {}}
        self._positions: dict[int, tuple[int, int]] = {}
        self._lock = threading.Lock()
        self._number = 0

    def do(self, name: str, operation: Any, *args: Any) -> Any:
        with self._lock:
            result = super().do(name, operation, *args)
            getattr(self, f"_{name}")(result, *args)
        return result

    def _folder(self, path: Any) -> tuple[int, str]:
        """Number of the folder that holds a path, and its name there."""
        *folders, name = Path(path).relative_to(self.root).parts
        number = 0
        for folder in folders:
            inner = self._tree[number][folder]
            assert isinstance(inner, int)
            number = inner
        return number, name

    def _file(self, path: Any) -> int:
        if Path(path) == self.root:
            return 0
        folder, name = self._folder(path)
        number = self._tree[folder][name]
        assert isinstance(number, int)
        return number

    def _rename(self, folder: int, names: dict[str, int | Link | None]) -> None:
        for name, what in names.items():
            if what is None:
                del self._tree[folder][name]
            else:
                self._tree[folder][name] = what
        self.log.append(Change("names", folder, names=names))

    def _new(self) -> int:
        self._number += 1
        return self._number

    def _mkdir(self, result: None, path: Any) -> None:
        folder, name = self._folder(path)
        number = self._new()
        self._tree[number] = {}
        self.log.append(Change("folder", number))
        self._rename(folder, {name: number})

    def _open(self, descriptor: int, path: Any, flags: int, mode: int = 0) -> None:
        if not self._is_inside(path):
            return
        if Path(path) != self.root:
            folder, name = self._folder(path)
            if name not in self._tree[folder]:
                self._rename(folder, {name: self._new()})
        number = self._file(path)
        if flags & os.O_TRUNC:
            self.log.append(Change("truncate", number))
        self._positions[descriptor] = number, 0

    def _is_inside(self, path: Any) -> bool:
        return Path(path) == self.root or self.root in Path(path).parents

    def _write(self, num_bytes: int, descriptor: int, content: Any) -> None:
        number, start = self._positions[descriptor]
        written = bytes(content[:num_bytes])
        self.log.append(Change("write", number, start=start, content=written))
        self._positions[descriptor] = number, start + num_bytes

    def _fsync(self, result: None, descriptor: int) -> None:
        if descriptor in self._positions:
            self.log.append(Change("flush", self._positions[descriptor][0]))

    def _close(self, result: None, descriptor: int) -> None:
        self._positions.pop(descriptor, None)

    def _replace(self, result: None, source: Any, target: Any) -> None:
        (folder, old), (other, new) = self._folder(source), self._folder(target)
        assert folder == other, "a rename into another folder is no single change"
        self._rename(folder, {new: self._tree[folder][old], old: None})

    def _symlink(self, result: None, target: Any, path: Any) -> None:
        folder, name = self._folder(path)
        self._rename(folder, {name: Link(str(target))})

    def _unlink(self, result: None, path: Any) -> None:
        folder, name = self._folder(path)
        self._rename(folder, {name: None})

    _rmdir = _unlink


# ---- losing power ------------------------------------------------------------------------------------

DATA = ("lost", "zeroed", "half", "all")
"""What may be left of bytes that were written and not flushed."""
MAX_NUM_WAYS = 1000
"""For one moment. There are fewer, unless something forgets to flush."""


@dataclass(frozen=True)
class PowerLoss:
    """One way in which the power may go.

    Attributes:
        length: how many changes of the log had been made.
        names: by folder, which of its changes of names reached the disk: those before this place in the log.
        data: what is left of bytes that were not flushed, one of ``DATA``.
    """

    length: int
    names: tuple[tuple[int, int], ...]
    data: str


def power_losses(log: Sequence[Change], *, ordered: bool) -> Iterator[PowerLoss]:
    """Every way to lose power.

    Args:
        log: what was done.
        ordered: the changes of names reach the disk in their order, as with a journal. Otherwise only those within one
            folder do.
    """
    for length in range(len(log) + 1):
        ways = _journals(log[:length]) if ordered else _each_folder(log[:length])
        for names in ways:
            for data in DATA:
                yield PowerLoss(length, names, data)


def _pending(log: Sequence[Change]) -> dict[int, list[int]]:
    """By folder, the places of its changes of names, of which those after its last flush are not safe yet: first the
    place up to which they are.
    """
    pending: dict[int, list[int]] = {}
    for place, change in enumerate(log):
        if change.kind == "names":
            pending.setdefault(change.file, [0]).append(place + 1)
        elif change.kind == "flush" and change.file in pending:
            pending[change.file] = pending[change.file][-1:]
    return _reachable(log, pending)


def _reachable(log: Sequence[Change], pending: dict[int, list[int]]) -> dict[int, list[int]]:
    """Without the folders that are gone for certain."""
    reached = [0]
    for folder in reached:
        if folder in pending:
            reached += _may_hold(log, folder, pending[folder][0]) & pending.keys()
    return {folder: places for folder, places in pending.items() if folder in reached}


def _may_hold(log: Sequence[Change], folder: int, safe: int) -> set[int]:
    """What a folder may hold where its changes up to a place are safe."""
    names: dict[str, int | Link] = {}
    later: dict[str, int | Link] = {}
    for place, change in enumerate(log):
        if change.kind == "names" and change.file == folder:
            if place < safe:
                rename(names, change.names)
            else:
                later |= {str(place): item for item in change.names.values() if item is not None}
    return {item for item in (*names.values(), *later.values()) if isinstance(item, int)}


def _journals(log: Sequence[Change]) -> Iterator[tuple[tuple[int, int], ...]]:
    pending = _pending(log)
    safe = max((places[0] for places in pending.values()), default=0)
    ends = {safe, *(place for places in pending.values() for place in places if place > safe)}
    for end in sorted(ends):
        yield tuple((folder, end) for folder in pending)


def _each_folder(log: Sequence[Change]) -> Iterator[tuple[tuple[int, int], ...]]:
    pending = _pending(log)
    if prod(len(places) for places in pending.values()) <= MAX_NUM_WAYS:
        ways = product(*pending.values())
    else:
        dice = random.Random(len(log))
        ways = ([dice.choice(places) for places in pending.values()] for _ in range(MAX_NUM_WAYS))
    for ends in ways:
        yield tuple(zip(pending, ends))


Tree: TypeAlias = "dict[str, Tree | bytes | Link]"


def tree_after(log: Sequence[Change], loss: PowerLoss) -> Tree:
    """What the disk holds when the power is back."""
    log, kept = log[: loss.length], dict(loss.names)
    folders: dict[int, dict[str, int | Link]] = {0: {}}
    for place, change in enumerate(log):
        if change.kind == "folder":
            folders[change.file] = {}
        elif change.kind == "names" and place < kept.get(change.file, 0):
            rename(folders[change.file], change.names)

    def entry(item: int | Link) -> Tree | bytes | Link:
        if isinstance(item, Link):
            return item
        if item in folders:
            return {name: entry(inner) for name, inner in folders[item].items()}
        return content_after([change for change in log if change.file == item], loss.data)

    tree = entry(0)
    assert isinstance(tree, dict)
    return tree


def rename(names: dict[str, int | Link], changes: dict[str, int | Link | None]) -> None:
    """Change the names of a folder."""
    for name, item in changes.items():
        if item is None:
            names.pop(name, None)
        else:
            names[name] = item


def content_after(log: Sequence[Change], data: str) -> bytes:
    """What is in a file whose changes are given, of which those after the last flush are not safe."""
    flushes = [place for place, change in enumerate(log) if change.kind == "flush"]
    safe = flushes[-1] if flushes else 0
    content = bytearray()
    for change in log[:safe]:
        _apply(content, change)
    if data == "lost":
        return bytes(content)
    unsafe = [change for change in log[safe:] if change.kind in ("truncate", "write")]
    num_left = sum(len(change.content) for change in unsafe)
    num_left = num_left // 2 if data == "half" else num_left
    for change in unsafe:
        left = change.content[:num_left]
        num_left -= len(left)
        _apply(content, replace(change, content=bytes(len(left)) if data == "zeroed" else left))
    return bytes(content)


def _apply(content: bytearray, change: Change) -> None:
    if change.kind == "truncate":
        content.clear()
    elif change.kind == "write":
        content[change.start : change.start + len(change.content)] = change.content


def build(tree: Tree, folder: Path) -> None:
    """Put it on a real disk."""
    folder.mkdir()
    for name, item in tree.items():
        path = folder / name
        if isinstance(item, Link):
            path.symlink_to(item.target)
        elif isinstance(item, bytes):
            path.write_bytes(item)
        else:
            build(item, path)


def frozen(tree: Tree) -> Any:
    """The same as something that can be hashed."""
    return tuple(
        (name, frozen(item) if isinstance(item, dict) else item)
        for name, item in sorted(tree.items())
    )
