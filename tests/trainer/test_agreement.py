from __future__ import annotations

import math
import threading

import pytest
import torch

from audiozen.errors import TrainingError
from audiozen.processes.group import Group
from audiozen.trainer.agreement import NO_WISHES, Agreement, Wishes

STOP = Wishes(stop=True, save=False, validate=False)


class Threads(Group):
    """One of several threads that take the largest numbers together, as processes do."""

    def __init__(self, barrier: threading.Barrier, everyone: dict[int, list[float]], rank: int):
        super().__init__()
        self.rank, self.world_size = rank, barrier.parties
        self._barrier, self._everyone = barrier, everyone

    def max(self, numbers, label):
        self._everyone[self.rank] = list(numbers)
        self._barrier.wait()
        largest = [max(column) for column in zip(*self._everyone.values(), strict=True)]
        self._barrier.wait()
        return largest


def meet(arguments: list[tuple], times: list[float] | None = None) -> list:
    """What each gets, or the error that it raises; and the step of the next meeting."""
    barrier, everyone, results = threading.Barrier(len(arguments)), {}, {}

    def run(rank: int) -> None:
        clock = iter([0.0, (times or [1.0] * len(arguments))[rank]])
        agreement = Agreement(Threads(barrier, everyone, rank), clock=lambda: next(clock))
        try:
            results[rank] = agreement.meet(*arguments[rank]), agreement.next_step
        except TrainingError as error:
            results[rank] = str(error)

    threads = [threading.Thread(target=run, args=[rank]) for rank in range(len(arguments))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [results[rank] for rank in range(len(arguments))]


def test_one_process_meets_itself_after_each_step():
    agreement = Agreement(Group())
    for step in (1, 2, 3):
        assert agreement.is_due(step)
        assert agreement.meet(STOP, step, 1.0) is STOP


def test_all_do_what_one_wishes():
    wishes = [NO_WISHES, STOP, Wishes(stop=False, save=True, validate=False)]
    found = meet([(w, 10, torch.tensor(2.0)) for w in wishes])
    assert found == [(Wishes(stop=True, save=True, validate=False), 20)] * 3


def test_the_next_meeting_is_about_a_second_later_for_the_slowest():
    assert meet([(NO_WISHES, 100, 1.0)] * 2, times=[2.0, 5.0]) == [(NO_WISHES, 120)] * 2
    assert meet([(NO_WISHES, 1, 1.0)] * 2, times=[30.0, 2.0]) == [(NO_WISHES, 2)] * 2


def test_processes_at_different_steps_are_told_of():
    for text in meet([(NO_WISHES, 10, 1.0), (NO_WISHES, 11, 1.0)]):
        assert "one is at step 10, another at step 11" in text


def test_gradients_that_differ_are_told_of():
    for text in meet([(NO_WISHES, 10, 1.0), (NO_WISHES, 10, 1.01)]):
        assert "at step 10 the gradients of the processes differ (norms from 1 to 1.01)" in text


@pytest.mark.parametrize("norms", [(1.0, 1.0 + 1e-7), (math.nan, math.nan), (math.inf, math.inf)])
def test_gradients_may_differ_by_rounding_and_be_what_others_judge(norms):
    assert meet([(NO_WISHES, 10, norm) for norm in norms]) == [(NO_WISHES, 20)] * 2


def test_a_norm_that_is_finite_on_one_process_only_is_told_of():
    for text in meet([(NO_WISHES, 10, 1.0), (NO_WISHES, 10, math.nan)]):
        assert "gradients of the processes differ" in text
