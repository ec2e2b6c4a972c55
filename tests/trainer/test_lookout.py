from __future__ import annotations

from types import SimpleNamespace

import pytest

from audiozen.config.schema import Interval, SaveInterval
from audiozen.trainer.due import Due
from audiozen.trainer.lookout import Lookout
from audiozen.trainer.state import TrainerState
from audiozen.trainer.stop_signals import StopSignals


class Run:
    """A lookout, and what it looks at."""

    def __init__(self, *dues: Due, world_size: int = 1) -> None:
        self.now = 0.0
        for due in dues:
            due.clock, due.last_time = self.clock, 0.0
        self.signals = StopSignals()
        group = SimpleNamespace(world_size=world_size)
        self.agreement = SimpleNamespace(group=group, next_step=0)
        self.lookout = Lookout(dues, self.agreement, self.signals, self.clock)

    def clock(self) -> float:
        return self.now

    def steps_seen(self, first: int, last: int) -> list[int]:
        seen = []
        for step in range(first, last + 1):
            if self.lookout.sees_something(step):
                seen.append(step)
                self.lookout.look_ahead(step)
        return seen


def test_steps_are_seen_that_are_due_by_any_interval():
    run = Run(Due(Interval(steps=4)), Due(Interval(steps=6)), Due(Interval(epochs=1)))
    run.lookout.look_ahead(0)
    assert run.steps_seen(1, 13) == [4, 6, 8, 12]


def test_every_step_that_is_due_is_seen_and_the_others_need_not_be():
    due = Due(Interval(steps=5))
    run = Run(due)
    run.lookout.look_ahead(3)  # a run that was resumed there
    expected = [n for n in range(4, 40) if due.after_step(TrainerState(step=n), by_clock=False)]
    assert run.steps_seen(4, 39) == expected


def test_the_clock_is_seen_when_its_minutes_have_passed():
    due = Due(SaveInterval(minutes=10))
    run = Run(due)
    run.lookout.look_ahead(0)
    run.now = 599.9
    assert not run.lookout.sees_something(1)
    run.now = 600.0
    assert run.lookout.sees_something(2)
    assert due.by_clock()


def test_a_signal_is_seen_after_the_next_step():
    run = Run(Due(Interval(epochs=1)))
    run.lookout.look_ahead(0)
    assert not run.lookout.sees_something(1)
    run.signals.received = "SIGTERM"
    assert run.lookout.sees_something(2)


@pytest.mark.parametrize("received", [None, "SIGTERM"])
def test_of_several_processes_each_sees_the_same_steps_whatever_its_clock_and_signals_say(received):
    run = Run(Due(SaveInterval(minutes=1)), Due(Interval(steps=7)), world_size=2)
    run.agreement.next_step = 10
    run.lookout.look_ahead(0)
    run.signals.received, run.now = received, 1e9
    seen = [step for step in range(1, 11) if run.lookout.sees_something(step)]
    assert seen == [7, 8, 9, 10]  # until it looks ahead again
    run.agreement.next_step = 12
    run.lookout.look_ahead(10)
    assert run.steps_seen(11, 12) == [12]


def test_before_it_has_looked_ahead_everything_may_be_due():
    assert Run(Due(Interval(epochs=1))).lookout.sees_something(1)
