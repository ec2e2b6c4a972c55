"""Signals, and the processes that they are sent to."""

from __future__ import annotations

import os
import signal
import sys


def known_signals(*names: str) -> tuple[signal.Signals, ...]:
    """Those of these signals that there are here.

    >>> known_signals("SIGINT", "SIGNONE")
    (<Signals.SIGINT: 2>,)
    """
    there = signal.Signals.__members__
    return tuple(there[name] for name in names if name in there)


def is_running(process: int) -> bool:
    """Whether there is a process of this number; True where that cannot be asked."""
    if sys.platform == "win32":
        return True  # what asks elsewhere would interrupt it
    try:
        os.kill(process, 0)  # asks, and sends nothing
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
