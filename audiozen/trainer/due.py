"""Whether something that happens every so many epochs, steps or minutes is due."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from audiozen.config.schema import Interval
    from audiozen.trainer.state import TrainerState


class Due:
    """Answers "is it due?" after a step, and again at the end of an epoch.

    Args:
        interval: ``epochs``, ``steps`` and ``minutes``, each of which may be None.
        clock: seconds that only go forward.
    """

    def __init__(self, interval: Interval, clock: Callable[[], float] = time.monotonic) -> None:
        self.epochs = interval.epochs
        self.steps = interval.steps
        self.minutes: float | None = getattr(interval, "minutes", None)
        self.clock = clock
        self.last_time = clock()

    def by_clock(self) -> bool:
        """Whether the minutes have passed since it was last due by the clock."""
        return self.minutes is not None and self.clock() - self.last_time >= 60 * self.minutes

    def next_step(self, step: int) -> float:
        """The first step after ``step`` at which it is due by the steps; infinity where they do not count."""
        return math.inf if self.steps is None else step - step % self.steps + self.steps

    def next_time(self) -> float:
        """When it is due by the clock; infinity where that does not count."""
        return math.inf if self.minutes is None else self.last_time + 60 * self.minutes

    def after_step(self, state: TrainerState, *, by_clock: bool) -> bool:
        """Whether it is due at this step.

        Args:
            state: where the run stands.
            by_clock: whether it is due by the clock, as all processes have agreed. The minutes then begin anew.
        """
        if by_clock:
            self.last_time = self.clock()
        return by_clock or (self.steps is not None and state.step % self.steps == 0)

    def after_epoch(self, state: TrainerState, *, by_clock: bool) -> bool:
        """Whether it is due at the end of this epoch."""
        by_epochs = self.epochs is not None and state.epoch % self.epochs == 0
        return self.after_step(state, by_clock=by_clock) or by_epochs
