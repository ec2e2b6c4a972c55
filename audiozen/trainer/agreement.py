"""What all processes must decide alike, although only one of them may know of it: a signal, a clock."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, NamedTuple

from audiozen.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from audiozen.processes.group import Group

INTERVAL = 1.0
"""Seconds between two agreements, about."""
TOLERANCE = 1e-4
"""Equal gradients may measure so much different, relatively, on processors of different kinds."""


class Wishes(NamedTuple):
    """What a process has reason to do after a step."""

    stop: bool
    save: bool
    validate: bool


NO_WISHES = Wishes(stop=False, save=False, validate=False)


class Agreement:
    """Lets all processes do what one of them has reason to.

    Asking everybody after each step would cost more than some steps do. So the processes meet about once a second, at a
    step that they know from the meeting before, and exchange a few numbers then. With them goes what must be equal
    everywhere, so that processes that went different ways are found. One process alone meets itself after each step.

    Args:
        group: the processes.
        clock: seconds that only go forward.
    """

    def __init__(self, group: Group, clock: Callable[[], float] = time.monotonic) -> None:
        self.group = group
        self.clock = clock
        self.next_step = 0
        self._last_step, self._last_time = 0, clock()

    def is_due(self, step: int) -> bool:
        """Whether the processes meet after this step."""
        return step >= self.next_step

    def meet(self, wishes: Wishes, step: int, grad_norm: Tensor | float) -> Wishes:
        """What any process wishes.

        Args:
            wishes: of this process.
            step: steps made so far.
            grad_norm: of the last one. It is the same everywhere as long as all weights are.

        Raises:
            TrainingError: the processes are at different steps, or their gradients differ.
        """
        if self.group.world_size == 1:
            return wishes
        norm = float(grad_norm) if math.isfinite(grad_norm) else -1.0
        seconds = self._seconds_per_step(step)
        numbers = [*wishes, seconds, step, -step, norm, -norm]
        stop, save, validate, slowest, last, first, highest, lowest = self.group.max(
            numbers, "an agreement on what to do next"
        )
        self._refuse_different_ways(int(-first), int(last), -lowest, highest)
        self.next_step = step + max(1, int(INTERVAL / slowest))
        return Wishes(bool(stop), bool(save), bool(validate))

    def _seconds_per_step(self, step: int) -> float:
        now = self.clock()
        seconds = (now - self._last_time) / max(1, step - self._last_step)
        self._last_step, self._last_time = step, now
        return max(seconds, 1e-6)

    def _refuse_different_ways(self, first: int, last: int, lowest: float, highest: float) -> None:
        if first != last:
            raise TrainingError(
                f"processes went different ways: one is at step {first}, another at step {last}. Every process must "
                "make equally many steps: look for a hook that returns early, and for a dataset that gives some fewer "
                "batches"
            )
        if highest - lowest > TOLERANCE * abs(highest):
            raise TrainingError(
                f"at step {last} the gradients of the processes differ (norms from {lowest:.9g} to {highest:.9g}), so "
                "their weights do as well. Gradients are exchanged where training_step calls self.model(...): not "
                "where it calls another method of it, a part of it, or a model that the trainer does not know"
            )
