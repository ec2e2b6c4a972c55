"""Workers for metrics where processes are not forked."""

from __future__ import annotations

import math
import operator
import signal

import pytest

from audiozen.errors import WorkerDied
from audiozen.metrics import pool
from audiozen.metrics.answers import cause_of_death
from audiozen.metrics.spawned_workers import Workers


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Workers:
    """One worker, which has died before it had anything to do; a pool takes it for its own."""
    spawned = Workers(1)
    spawned._workers[0].process.kill()
    spawned._workers[0].process.join()
    monkeypatch.setattr(pool, "Workers", lambda num: spawned)
    return spawned


def test_results_errors_and_deaths_come_back_and_all_ends_with_the_pool(workers: Workers) -> None:
    with pool.MetricPool(1) as metrics:
        good = metrics.submit(math.sqrt, 9.0)
        wrong = metrics.submit(math.sqrt, -1.0)
        deadly = metrics.submit(signal.raise_signal, signal.SIGKILL)
        after = metrics.submit(operator.add, 1, 2)
        assert good.result() == 3.0
        with pytest.raises(ValueError, match="math domain error"):
            wrong.result()
        with pytest.raises(WorkerDied, match="ended by SIGKILL"):
            deadly.result()
        assert after.result() == 3
        last = workers._workers[0].process
    assert last.exitcode == 0


def test_causes_of_death_are_told_in_words() -> None:
    assert cause_of_death(-9) == "the process that computed it was ended by SIGKILL"
    assert cause_of_death(3) == "the process that computed it ended with the exit code 3"
