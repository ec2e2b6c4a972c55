"""Files and folders that are complete or not there, and stay so when the power goes.

The checkpoint store touches files through these functions only, so that a test can let the n-th operation fail, for
every n.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def make_folder(path: Path) -> None:
    """Make a folder that is not there yet."""
    path.mkdir()


def write_file(path: Path, content: bytes) -> None:
    """Write a file and flush it."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def flush(path: Path) -> None:
    """Flush a file, or the list of names in a folder, without which new files may be gone after a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rename(source: Path, target: Path) -> None:
    """Give a file or folder its name; at once or not at all."""
    source.replace(target)
    flush(target.parent)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file that is complete or as it was before."""
    with replaced(path) as partial:
        partial.write_bytes(content)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to; it takes that name if the block succeeds, and is removed if not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        flush(partial)
        rename(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def point(link: Path, target: str) -> None:
    """Let a symbolic link refer to a name beside it; at once or not at all."""
    staged = link.with_name(f".{link.name}.partial")
    staged.unlink(missing_ok=True)
    staged.symlink_to(target)
    rename(staged, link)


def remove_folder(path: Path) -> None:
    """Remove a folder and what is in it. It loses its name first, so that a half removed one is never mistaken."""
    doomed = path.with_name(f".{path.name.removeprefix('.')}.removed")
    if doomed != path:
        path.replace(doomed)
    shutil.rmtree(doomed)
