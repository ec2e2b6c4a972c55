"""One thread for BLAS while a metric is computed.

The matrices of a metric are small: more threads wait for each other, at full load, for longer than they compute.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from threadpoolctl import ThreadpoolController

_limiting = threading.Lock()
"""Held by the thread that has set the limit, and has to take it back: nobody waits for it."""


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """BLAS has one thread inside, and then as many as before.

    The setting is that of the process. Where it is made already, here or by another thread, nothing is set; so BLAS
    may have more threads again, as soon as that one leaves.
    """
    if not _limiting.acquire(blocking=False):
        yield
        return
    try:
        with blas_libraries().limit(limits=1):
            yield
    finally:
        _limiting.release()


@functools.cache
def blas_libraries() -> ThreadpoolController:
    """Those that are loaded at the first call. Looking for them takes a millisecond, and the dynamic linker."""
    import threadpoolctl

    return threadpoolctl.ThreadpoolController().select(user_api="blas")
