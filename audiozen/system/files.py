"""Open files, by their descriptors."""

from __future__ import annotations

import os
import sys
import threading

IS_WINDOWS = sys.platform == "win32"

BINARY: int = getattr(os, "O_BINARY", 0)
"""For ``os.open``: without it, Windows changes line breaks."""
READ = os.O_RDONLY | BINARY
FLUSH = os.O_RDWR | BINARY if IS_WINDOWS else READ
"""How a file is opened to be flushed."""
FLUSHES_FOLDERS = not IS_WINDOWS
"""Whether the list of names in a folder can be flushed."""
HAS_LINKS = not IS_WINDOWS
"""Whether everybody may make symbolic links. On Windows that is a privilege."""
REPLACES_OPEN_FILES = not IS_WINDOWS
"""Whether another file can take the name of one that is open."""

if sys.platform == "win32":
    _moving = threading.Lock()

    def read_at(descriptor: int, size: int, offset: int) -> bytes:
        """At most ``size`` bytes from ``offset`` on. Several threads may read at once."""
        with _moving:
            os.lseek(descriptor, offset, os.SEEK_SET)
            return os.read(descriptor, size)

    def read_into(descriptor: int, buffer: memoryview, offset: int) -> int:
        """Fill a buffer with the bytes from ``offset`` on; how many there were."""
        content = read_at(descriptor, len(buffer), offset)
        buffer[: len(content)] = content
        return len(content)

else:

    def read_at(descriptor: int, size: int, offset: int) -> bytes:
        """At most ``size`` bytes from ``offset`` on. Several threads may read at once."""
        return os.pread(descriptor, size, offset)

    def read_into(descriptor: int, buffer: memoryview, offset: int) -> int:
        """Fill a buffer with the bytes from ``offset`` on; how many there were."""
        return os.preadv(descriptor, [buffer], offset)
