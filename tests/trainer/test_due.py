from __future__ import annotations

from audiozen.config.schema import Interval, SaveInterval
from audiozen.trainer.due import Due
from audiozen.trainer.state import TrainerState


def test_by_steps_inside_and_at_the_end_of_an_epoch():
    due = Due(Interval(steps=3))
    assert [due.after_step(TrainerState(step=n), by_clock=False) for n in range(1, 7)] == [
        False,
        False,
        True,
    ] * 2
    assert due.after_epoch(TrainerState(step=6, epoch=1), by_clock=False)


def test_by_epochs_only_at_their_end():
    due = Due(Interval(epochs=2))
    assert not due.after_step(TrainerState(step=10, epoch=2), by_clock=False)
    assert [
        due.after_epoch(TrainerState(step=n, epoch=n), by_clock=False) for n in (1, 2, 3, 4)
    ] == [
        False,
        True,
        False,
        True,
    ]


def test_by_minutes_since_it_was_last_due():
    now = 0.0
    due = Due(SaveInterval(minutes=10), clock=lambda: now)
    answers = []
    for minute in (5, 10, 15, 21, 25, 31):
        now = 60.0 * minute
        answers.append(due.after_step(TrainerState(step=minute), by_clock=due.by_clock()))
    assert answers == [False, True, False, True, False, True]


def test_never_where_nothing_is_given():
    due = Due(Interval())
    assert not due.after_step(TrainerState(step=1), by_clock=False)
    assert not due.after_epoch(TrainerState(step=1, epoch=1), by_clock=False)


def test_saving_by_steps_is_besides_that_at_the_end_of_each_epoch():
    due = Due(SaveInterval(steps=100))
    assert due.after_epoch(TrainerState(step=7, epoch=1), by_clock=False)
    assert not due.after_step(TrainerState(step=7, epoch=1), by_clock=False)


def test_what_all_have_agreed_on_is_due_whatever_the_own_clock_says():
    now = 0.0
    due = Due(SaveInterval(minutes=10), clock=lambda: now)
    now = 500.0
    assert not due.by_clock()
    assert due.after_step(TrainerState(step=1), by_clock=True)
    now = 900.0
    assert not due.by_clock()
    now = 1100.0
    assert due.by_clock()
    assert not due.after_step(TrainerState(step=2), by_clock=False)
    assert due.by_clock()
