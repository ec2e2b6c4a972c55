"""How the time of a training step divides into parts, measured or marked from outside: a step knows nothing of it.

::

    measured = measure_steps(trainer, train_dataloader)
    measured.seconds_per_step  # {"data": 0.024, "forward": 0.008, "backward": 0.006, ...}

The parts are

- ``data``: loading, in this process; or ``waiting``: for the workers of the dataloader;
- ``copy``: to the device;
- ``forward``: ``training_step``;
- ``backward``;
- ``optimizer``: gradients zeroed and clipped, the step, its schedule, averaged weights;
- ``other``: what is left of a step, which is the trainer itself, progress and logging.
"""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch

from audiozen.trainer.end_of_training import EndOfTraining

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from audiozen.trainer.base_trainer import BaseTrainer

    Around = Callable[[str], AbstractContextManager[object]]

T = TypeVar("T")

STEP = "step"
"""What goes around the parts."""
OTHER = "other"
NUM_STEPS, MAX_SECONDS = 20, 5.0
NUM_FIRST_STEPS = 2
"""They pay for what is set up once."""


class MeasuredSteps(NamedTuple):
    """What steps took.

    Attributes:
        num_steps: that were measured. 0: the epoch was too short.
        seconds: of all of them together, by part.
    """

    num_steps: int
    seconds: dict[str, float]

    @property
    def seconds_per_step(self) -> dict[str, float]:
        """Mean of each part."""
        return {part: seconds / self.num_steps for part, seconds in self.seconds.items()}


def measure_steps(
    trainer: BaseTrainer,
    train_dataloader: Any,
    *,
    num_steps: int = NUM_STEPS,
    max_seconds: float = MAX_SECONDS,
) -> MeasuredSteps:
    """Train for a moment, at most to the end of an epoch, and measure the parts of the steps.

    These are real steps: weights and state of the trainer go on. Nothing is saved and nothing validated. Where there is
    a GPU it is waited for at each border between parts, so that each gets what it has asked for; a step takes a little
    longer then than it otherwise would.

    Args:
        trainer: it may have been trained before. Its process must be the only one.
        train_dataloader: as for :meth:`~audiozen.trainer.base_trainer.BaseTrainer.train`.
        num_steps: that are measured at most, after those at the beginning, which pay for set-up and for workers that
            start.
        max_seconds: no further step is begun after these, counted from the end of the first one; but one is measured.
    """
    num_workers = getattr(train_dataloader, "num_workers", 0)
    watch = (
        Stopwatch() if trainer.device.type == "cpu" else Stopwatch(torch.accelerator.synchronize)
    )
    counting = _Counting(trainer, watch, NUM_FIRST_STEPS + num_workers, num_steps, max_seconds)
    with ExitStack() as stack:
        stack.enter_context(
            marked(trainer, watch.part, loading="waiting" if num_workers else "data")
        )
        stack.enter_context(replaced(trainer, "end", lambda _: _end_of_next_epoch(trainer)))
        stack.enter_context(replaced(trainer, "_do_what_is_due", lambda _: lambda: None))
        stack.enter_context(replaced(trainer, "after_step", counting.after))
        stack.enter_context(suppress(_EnoughError))
        trainer.train(train_dataloader)
    return counting.measured


@contextmanager
def marked(trainer: BaseTrainer, around: Around, *, loading: str = "data") -> Iterator[None]:
    """Within this context, each step of the trainer and each of its parts happens inside of ``around(name)``.

    Steps are called ``"step"``. A part may lie in another one: ``backward`` in ``forward``, where ``training_step``
    calls it. Afterwards, the methods are again what they were.

    Args:
        trainer: whose methods are replaced.
        around: such as ``torch.profiler.record_function``.
        loading: what the loading of batches is called.
    """
    methods: tuple[tuple[Any, str, str], ...] = (
        (trainer.engine, "to_device", "copy"),
        (trainer, "_forward", "forward"),
        (trainer, "backward", "backward"),
        (trainer, "zero_grad", "optimizer"),
        (trainer, "_clip_step_schedule", "optimizer"),
        (trainer.averaging, "update", "optimizer"),
    )
    with ExitStack() as stack:
        for owner, name, part in methods:
            stack.enter_context(replaced(owner, name, partial(_inside, around, part)))

        def marked_updates(updates: Callable[[Any], Iterator[T]]) -> Callable[[Any], Iterator[T]]:
            def marked_updates_of(loader: Any) -> Iterator[T]:
                marked_batches = partial(_batches_inside, around, loading)
                with replaced(loader, "batches", marked_batches):
                    yield from _each_inside(around, STEP, updates(loader))

            return marked_updates_of

        stack.enter_context(replaced(trainer, "updates", marked_updates))
        yield


@contextmanager
def replaced(owner: Any, name: str, make: Callable[[Any], Any]) -> Iterator[None]:
    """Within this context, an attribute of one object is what ``make`` makes of it."""
    own = vars(owner)
    was_own, original = name in own, getattr(owner, name)
    setattr(owner, name, make(original))
    try:
        yield
    finally:
        if was_own:
            setattr(owner, name, original)
        else:
            delattr(owner, name)


class Stopwatch:
    """Seconds by part. At each moment one part runs: the innermost of those that were entered.

    Args:
        synchronize: called at each border between parts.
    """

    def __init__(self, synchronize: Callable[[], object] = lambda: None) -> None:
        self._synchronize = synchronize
        self._part, self._since = "", time.perf_counter()
        self._seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What happens within this context is ``name``, except for further parts in it."""
        outer = self._go_on_with(name)
        try:
            yield
        finally:
            self._go_on_with(outer)

    def restart(self) -> None:
        """Forget everything up to now."""
        self._go_on_with(self._part)
        self._seconds.clear()

    def read(self) -> dict[str, float]:
        """Seconds of each part so far; of a step without its parts as ``"other"``, and of nothing else."""
        self._go_on_with(self._part)
        names = {STEP: OTHER}
        return {names.get(part, part): value for part, value in self._seconds.items() if part}

    def _go_on_with(self, part: str) -> str:
        """Change the part; returns the one before."""
        self._synchronize()
        now = time.perf_counter()
        self._seconds[self._part] += now - self._since
        self._since, before, self._part = now, self._part, part
        return before


class _EnoughError(Exception):
    """Ends a training in the middle, so that nothing is saved."""


class _Counting:
    """Counts steps, and ends the training when enough of them are measured."""

    def __init__(
        self,
        trainer: BaseTrainer,
        watch: Stopwatch,
        num_first_steps: int,
        num_steps: int,
        max_seconds: float,
    ) -> None:
        self.trainer, self.watch, self.max_seconds = trainer, watch, max_seconds
        self.to_come, self.num_steps = num_first_steps, num_steps
        self.deadline: float | None = None
        self.measured = MeasuredSteps(0, {})

    def after(self, after_step: Callable[[], None]) -> Callable[[], None]:
        """``after_step``, and then the counting."""

        def counting_after_step() -> None:
            after_step()
            self._count()

        return counting_after_step

    def _count(self) -> None:
        now = time.perf_counter()
        if self.deadline is None:
            self.deadline = now + self.max_seconds
        is_late = now >= self.deadline
        if self.to_come > 0:
            self.to_come = 0 if is_late else self.to_come - 1
            self.watch.restart()
        else:
            self.measured = MeasuredSteps(self.measured.num_steps + 1, self.watch.read())
            if is_late or self.measured.num_steps >= self.num_steps:
                raise _EnoughError
        if self.trainer.state.epoch_is_finished:
            raise _EnoughError


def _end_of_next_epoch(trainer: BaseTrainer) -> EndOfTraining:
    end = trainer.state.epoch + 1
    return EndOfTraining(replace(trainer.config, max_steps=None, max_epochs=end, patience=None))


def _inside(around: Around, part: str, function: Callable[..., T]) -> Callable[..., T]:
    @wraps(function)
    def inside(*args: Any, **kwargs: Any) -> T:
        with around(part):
            return function(*args, **kwargs)

    return inside


def _batches_inside(
    around: Around, part: str, batches: Callable[..., Iterable[T]]
) -> Callable[..., Iterator[T]]:
    def batches_inside(*args: Any) -> Iterator[T]:
        with around(part):
            iterator = iter(batches(*args))  # starts workers
        while True:
            with around(part):
                batch = next(iterator, None)
            if batch is None:
                return
            yield batch

    return batches_inside


def _each_inside(around: Around, name: str, groups: Iterator[T]) -> Iterator[T]:
    """What is done with each group, and what leads to it, is inside."""
    while True:
        with around(name):
            group = next(groups, None)
            if group is None:
                return
            yield group
