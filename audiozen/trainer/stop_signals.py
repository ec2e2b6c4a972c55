"""A request to stop that arrives as a signal, kept until the run is at a point where everything can be saved."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Self

from audiozen.system.signals import known_signals

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    Handler = Callable[[int, FrameType | None], object] | int | None

SIGNALS = known_signals("SIGTERM", "SIGINT", "SIGUSR1", "SIGBREAK")


class StopSignals:
    """Within this context, SIGTERM, SIGINT and SIGUSR1 only set a flag; a second one acts as it would outside.

    Windows has Ctrl-C and Ctrl-Break for these.

    Python delivers signals to the main thread alone, so that in any other thread this does nothing.

    Attributes:
        received: name of the signal, or None.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._before: dict[signal.Signals, Handler] = {}

    def __enter__(self) -> Self:
        self.received = None
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._take_note) for number in SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()
        self.received = None

    def _take_note(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.received = signal.Signals(number).name
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
