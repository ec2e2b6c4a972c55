"""The same work on many pieces, by several threads at a time.

For work that lets go of the interpreter while it is done, as copying, hashing and reading do. Each thread takes the
next piece when it has done one, so that a core that is busy elsewhere does less, and holds nobody up; the threads of
PyTorch share a tensor equally, and wait for the last of them.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from audiozen.processes.cores import num_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Piece = TypeVar("Piece")

MIN_THREADS = 2
"""While one waits for a disk, or for a page, another one works, even on the same core."""
MAX_THREADS = 4
"""They share the memory, which does not get faster."""


def num_threads() -> int:
    """Threads of this process, if the processes on this machine share its cores."""
    share = num_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return min(max(share, MIN_THREADS), MAX_THREADS)


def for_each(pieces: Sequence[Piece], function: Callable[[Piece], object]) -> None:
    """Call a function with each piece, in any order.

    Raises:
        Exception: that of the function, for any piece; the other pieces may be done or not.
    """
    # Each piece is given to one thread only, as the interpreter is locked meanwhile.
    remaining = iter(pieces)

    def work() -> None:
        for piece in remaining:
            function(piece)

    with ThreadPoolExecutor(num_threads()) as pool:
        for thread in [pool.submit(work) for _ in range(min(num_threads(), len(pieces)))]:
            thread.result()
