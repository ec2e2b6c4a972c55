"""Files and folders that are complete or not there, and stay so when the power goes.

Checkpoints touch the disk through these functions only, and each of their operations is one call of a function of
``os``. So a test that puts something else in the place of ``durable_files.os`` can record all of them, or let the n-th
fail, for every n.
"""

from __future__ import annotations

import errno
import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from audiozen.system.files import BINARY, FLUSH, FLUSHES_FOLDERS, HAS_LINKS
from audiozen.system.signals import is_running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import TypeAlias

    Bytes: TypeAlias = bytes | bytearray | memoryview

HOST = socket.gethostname().replace(".", "_")
NO_LINKS_HERE = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
BLOCK_SIZE = 1 << 20
"""Bytes per write. A thread that writes in small pieces keeps other threads waiting for microseconds only."""


def make_folder(path: Path) -> None:
    """Make a folder that is not there yet."""
    os.mkdir(path)


def make_folders(path: Path) -> None:
    """Make a folder and those above it, where they are missing; each stays when the power goes."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        try:
            make_folder(folder)
        except FileExistsError:  # somebody else has just made it
            continue
        flush(folder.parent)


def write_file(path: Path, *parts: Bytes) -> None:
    """Write a file, one part after the other, and flush it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | BINARY, 0o666)
    try:
        for part in parts:
            _write(descriptor, memoryview(part).cast("B"))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(descriptor: int, content: memoryview) -> None:
    start = 0
    while start < len(content):  # a write may take less than it was given
        start += os.write(descriptor, content[start : start + BLOCK_SIZE])


def flush(path: Path) -> None:
    """Flush a file, or the list of names in a folder, without which new files may be gone after a power cut.

    Windows flushes folders by itself, when it likes.
    """
    if not FLUSHES_FOLDERS and path.is_dir():
        return
    descriptor = os.open(path, FLUSH)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rename(source: Path, target: Path) -> None:
    """Give a file or folder its name; at once or not at all."""
    os.replace(source, target)
    flush(target.parent)


def replace_file(path: Path, content: Bytes) -> None:
    """Write a file that is complete or as it was before."""
    make_folders(path.parent)
    partial = partial_name(path)
    try:
        write_file(partial, content)
        rename(partial, path)
    finally:
        _unlink_if_there(partial)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to; it takes that name if the block succeeds, and is removed if not."""
    make_folders(path.parent)
    partial = partial_name(path)
    try:
        yield partial
        flush(partial)
        rename(partial, path)
    finally:
        _unlink_if_there(partial)


def partial_name(path: Path) -> Path:
    """Where the new content of ``path`` is collected. Another process has another place."""
    return path.with_name(f".{path.name}.{writer(os.getpid())}.partial")


def writer(process: int) -> str:
    """Names a process among all that may write into a folder, which several machines may share."""
    return f"{process}-{HOST}"


def sweep(folder: Path) -> None:
    """Remove what writers of this machine that were killed have left in a folder."""
    for path in folder.glob(".*.partial"):
        process, _, host = path.name.split(".")[-2].partition("-")
        if host == HOST and process.isdigit() and not is_running(int(process)):
            _unlink_if_there(path)


def point(link: Path, target: str) -> None:
    """Let a symbolic link refer to a name beside it; at once or not at all. To be read with :func:`target_of`.

    Where there are no links, as on Windows and some USB sticks, it is a small file that has the name in it.
    """
    if not HAS_LINKS:
        replace_file(link, target.encode())
        return
    staged = link.with_name(f".{link.name}.partial")
    _unlink_if_there(staged)
    try:
        os.symlink(target, staged)
    except OSError as error:
        if error.errno not in NO_LINKS_HERE:
            raise
        replace_file(link, target.encode())
    else:
        rename(staged, link)


def target_of(link: Path) -> Path:
    """What a link of :func:`point` refers to, there or not; of any other path, itself, without links."""
    if not link.is_symlink() and link.is_file():
        return link.with_name(link.read_text(encoding="utf-8")).resolve()
    return link.resolve()


def remove_folder(path: Path) -> None:
    """Remove a folder and what is in it. It loses its name first, so that a half removed one is never mistaken."""
    doomed = path.with_name(f".{path.name.removeprefix('.')}.removed")
    if doomed != path:
        remove(doomed)
        rename(path, doomed)
    remove(doomed)


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder that nobody would mistake; nothing happens if it is not there."""
    if path.is_dir() and not path.is_symlink():
        _remove_tree(path)
    else:
        _unlink_if_there(path)


def _remove_tree(path: Path) -> None:
    for entry in sorted(path.iterdir()):
        if entry.is_dir() and not entry.is_symlink():
            _remove_tree(entry)
        else:
            os.unlink(entry)
    os.rmdir(path)


def _unlink_if_there(path: Path) -> None:
    if path.is_symlink() or path.exists():
        os.unlink(path)
