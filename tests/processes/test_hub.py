from __future__ import annotations

from audiozen.processes.hub import goes_before
from audiozen.processes.link import failed


def failure(text: str, rank: int | None, *, waits_in_vain: bool = False) -> dict:
    return failed(text, waits_in_vain=waits_in_vain) | {"rank": rank}


def test_first_failure_is_told():
    assert not goes_before(failure("second", 0), failure("first", 1))


def test_what_came_while_waiting_may_come_of_another_failure():
    waiting = failure("Connection closed by peer", 0, waits_in_vain=True)
    assert goes_before(failure("a mistake", 1), waiting)
    assert not goes_before(waiting, failure("a mistake", 1))
    assert not goes_before(failure("Broken pipe", 2, waits_in_vain=True), waiting)


def test_what_comes_to_all_is_told_by_the_first_process():
    assert goes_before(failure("stopped", 0), failure("stopped", 2))
    assert not goes_before(failure("stopped", 2), failure("stopped", 0))


def test_what_is_told_already_is_not_told_again():
    assert goes_before(failure("process 0 is gone", 1), failure("process 0 is gone", None))
    assert not goes_before(failure("process 0 is gone", None), failure("process 0 is gone", 1))
