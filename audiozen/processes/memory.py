"""How much memory a process has had, and what becomes of what it has freed."""

from __future__ import annotations

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
LARGEST_KEPT = 4 * 1024 * 1024 * ctypes.sizeof(ctypes.c_long)
"""Bytes. Arrays from here on are given back one by one; glibc takes no larger number."""
MOST_KEPT_UNUSED = 2 * LARGEST_KEPT
"""Bytes at the end of the heap, beyond which all that is free there is given back."""


def keep_freed_memory() -> None:
    """Let this process, and those that it forks, use freed memory again instead of giving it back to the system.

    By default glibc gives back much of what batches and activations took, and fetches it anew for the next ones, which
    costs a page fault for each 4 kB. Does nothing where there is no glibc, or where the environment says how it is to
    behave (``MALLOC_...``, ``GLIBC_TUNABLES``).
    """
    if not sys.platform.startswith("linux") or _is_set_by_the_user():
        return
    libraries = ctypes.CDLL(None)
    if hasattr(libraries, "gnu_get_libc_version"):
        libraries.mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
        libraries.mallopt(M_TRIM_THRESHOLD, MOST_KEPT_UNUSED)


def _is_set_by_the_user() -> bool:
    is_set = any(name.startswith("MALLOC_") for name in os.environ)
    return is_set or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")


def peak_memory() -> int | None:
    """Most bytes that this process has had in memory so far; None where the system does not tell."""
    if sys.platform == "win32":
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
