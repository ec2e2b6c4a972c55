"""Open files that a process gets from the one that starts it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

inheritable: Callable[[int], Any] | None
"""Makes of a descriptor what can be pickled for a process that is being started; ``detach()`` gives a descriptor of the
same open file there. None where a process has only the names of files from its parent."""

if sys.platform == "win32":
    inheritable = None
else:
    from multiprocessing.reduction import DupFd

    inheritable = DupFd
