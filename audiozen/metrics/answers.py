"""What a worker process sends back for a task, whichever way the process was started."""

from __future__ import annotations

import pickle
import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def answer(number: int, function: Callable[..., Any], args: tuple[Any, ...]) -> bytes:
    """Number of the task, whether it succeeded, and what it returned or raised; pickled."""
    try:
        return pickle.dumps((number, True, function(*args)))
    except Exception as error:  # noqa: BLE001 - it is raised in the process that asks for the result
        return pickle.dumps((number, False, _portable(error)))


def _portable(error: Exception) -> Exception:
    """An error that arrives as it is, or else its text."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - what was just written
    except Exception:  # noqa: BLE001 - exceptions of other packages may do anything
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def cause_of_death(exit_code: int | None) -> str:
    """Why a worker has ended, in words."""
    if exit_code is not None and exit_code < 0:
        return f"the process that computed it was ended by {signal.Signals(-exit_code).name}"
    return f"the process that computed it ended with the exit code {exit_code}"
