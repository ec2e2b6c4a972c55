"""Adding to a log that must stay readable when the disk is full."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import io


def append(file: io.FileIO, content: bytes) -> None:
    """Add to the end of an unbuffered file: as a whole or, with an `OSError`, not at all.

    When this returns, the operating system has it, so that no kill of this process can lose it.
    """
    start = file.seek(0, os.SEEK_END)
    try:
        if file.write(content) != len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)
    except OSError:
        file.truncate(start)
        raise
