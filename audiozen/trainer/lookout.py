"""When a run has to look up from its steps."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from audiozen.trainer.agreement import Agreement
    from audiozen.trainer.stop_signals import StopSignals


class Awaited(Protocol):
    """What happens at some step, or at some time."""

    def next_step(self, step: int) -> float:
        """The first step after ``step`` at which it may happen; infinity if there is none."""

    def next_time(self) -> float:
        """When it may happen by the clock; infinity if never."""


class Lookout:
    """The one question that a step asks: is there anything to do but the next step?

    Several processes must all see the same, so theirs look at steps alone; a signal and the clock are for their
    meetings.

    Args:
        awaited: what happens now and then.
        agreement: of all processes.
        stop_signals: what asks to stop.
        clock: seconds that only go forward, as that of ``awaited``.
    """

    def __init__(
        self,
        awaited: Sequence[Awaited],
        agreement: Agreement,
        stop_signals: StopSignals,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._awaited, self._agreement, self._stop_signals = awaited, agreement, stop_signals
        self._clock = clock
        self._is_alone = agreement.group.world_size == 1
        self._next_step, self._next_time = 0.0, 0.0

    def look_ahead(self, step: int) -> None:
        """Begin anew, after all that was due at ``step`` is done."""
        meeting = float("inf") if self._is_alone else self._agreement.next_step
        self._next_step = min(meeting, *(one.next_step(step) for one in self._awaited))
        self._next_time = min(one.next_time() for one in self._awaited)

    def sees_something(self, step: int) -> bool:
        """Whether something may be due after ``step``."""
        if step >= self._next_step:
            return True
        return self._is_alone and (
            self._stop_signals.received is not None or self._clock() >= self._next_time
        )
