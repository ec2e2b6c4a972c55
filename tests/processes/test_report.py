from __future__ import annotations

import json
import sys
import threading
from types import SimpleNamespace

import pytest

from audiozen.processes import report
from audiozen.processes.report import (
    Member,
    Place,
    Report,
    have_parted,
    roll_call,
    seconds_without_movement,
    stack_of,
)

PLACE = Place("training", epoch=1, step=12)


def process(rank: int = 0, waits_for: str | None = None, still: float = 0.0, **more) -> Member:
    said = Report(PLACE, waits_for, still=still, **more)
    return Member(rank, "node", 100 + rank, heard_at=50.0, report=said)


def gone(rank: int, heard_at: float = 0.0) -> Member:
    return Member(rank, "node", 100 + rank, heard_at=heard_at, has_left=True)


def test_place_says_only_what_means_something_there():
    assert (
        str(Place("validation", epoch=0, step=40, batch=3))
        == "validation, epoch 0, step 40, batch 3"
    )
    assert str(Place("start")) == "start"


def test_report_survives_its_journey():
    said = Report(PLACE, "scores", 3, 1.5, is_guarded=False, stack=["a.py:1 in f: ü"])
    assert Report.from_dict(json.loads(json.dumps(said.to_dict()))) == said


def test_processes_stand_still_for_as_long_as_the_last_that_moved():
    assert seconds_without_movement([process(0, "scores", 9.0), process(1, None, 4.0)], 50.0) == 4.0


def test_silence_counts_as_standstill():
    assert seconds_without_movement([process(0, "scores", 9.0), process(1, None, 4.0)], 57.0) == 7.0


def test_to_leave_is_to_move():
    left = process(1, None, 9.0)
    left.has_left = True
    assert seconds_without_movement([process(0, "scores", 9.0), left], 51.0) == 1.0


@pytest.mark.parametrize(
    "members",
    [
        pytest.param([process(0, None, 9.0), Member(1)], id="one was never heard"),
        pytest.param([process(0, None, 9.0, is_guarded=False)], id="no common work"),
        pytest.param([process(0, None, 9.0), gone(1)], id="the last one is busy"),
        pytest.param([gone(0), gone(1)], id="all have left"),
    ],
)
def test_standstill_may_be_in_order(members):
    assert seconds_without_movement(members, 50.0) == 0.0


def test_last_process_that_waits_is_a_standstill():
    assert seconds_without_movement([process(0, "scores", 9.0), gone(1)], 50.0) == 9.0


def parted(first: str | None, second: str | None, *, still: float, lag: int = 0) -> bool:
    return have_parted([process(0, first, still), process(1, second, still, num_waits=lag)], 50.0)


def test_processes_that_wait_for_different_things_have_parted():
    assert parted("scores", "weights", still=report.DISAGREEMENT + 1)


def test_processes_that_wait_for_the_same_have_not_parted():
    assert not parted("scores", "scores", still=1e9)


def test_process_that_is_busy_may_still_come():
    assert not parted("scores", None, still=1e9)


def test_process_that_has_waited_more_often_may_have_sent_what_takes_long():
    assert not parted("scores", "weights", still=report.LAG - 1, lag=1)
    assert parted("scores", "weights", still=report.LAG + 1, lag=1)


def test_moment_between_two_waits_is_no_parting():
    assert not parted("scores", "weights", still=report.DISAGREEMENT - 1)


def test_waiting_for_one_that_left_long_ago_is_a_parting():
    waits = process(0, "scores", 1e9)
    assert have_parted([waits, gone(1, heard_at=0.0)], report.LAG + 1)
    assert not have_parted([waits, gone(1, heard_at=0.0)], report.LAG - 1)
    assert not have_parted([gone(0), gone(1)], 1e9)


def test_roll_call_begins_with_those_that_hold_up_the_others():
    members = [
        process(0, "scores", 3.0),
        process(1, None, 4.0, stack=["hook.py:7 in hook: time.sleep(99)"]),
        gone(2),
        Member(3),
    ]
    assert roll_call(members, 50.0, stacks=True).splitlines() == [
        "  process 1 on node (pid 101): busy in training, epoch 1, step 12, for 4 s",
        "      hook.py:7 in hook: time.sleep(99)",
        "  process 2 on node (pid 102): has ended",
        "  process 3 on ? (pid 0): was never heard",
        "  process 0 on node (pid 100): waiting for the others in scores (training, epoch 1, step 12), for 3 s",
    ]
    assert "hook.py" not in roll_call(members, 50.0, stacks=False)


def test_roll_call_of_very_many_names_some():
    members = [process(rank, "scores") for rank in range(100)]
    lines = roll_call(members, 50.0, stacks=False).splitlines()
    assert len(lines) == 17
    assert lines[-1] == "  and 84 more"


def test_stack_ends_with_the_innermost_call():
    frames = stack_of(threading.get_ident())
    assert frames[-1].startswith(f"{__file__}:")
    assert " in test_stack_ends_with_the_innermost_call: frames = stack_of" in frames[-1]


def test_stack_is_of_bounded_length():
    def descend(levels: int) -> list[str]:
        return descend(levels - 1) if levels else stack_of(threading.get_ident())

    assert len(descend(100)) == report.MAX_FRAMES


def test_call_that_is_between_two_lines_has_that_of_its_function(monkeypatch):
    code = stack_of.__code__
    frame = SimpleNamespace(f_code=code.replace(co_filename=__file__), f_lineno=None, f_back=None)
    monkeypatch.setattr(sys, "_current_frames", lambda: {1: frame})
    assert stack_of(1)[0].startswith(f"{__file__}:{code.co_firstlineno} in stack_of: ")


def test_stack_of_no_thread_is_empty():
    assert stack_of(-1) == []
