from __future__ import annotations

import threading

import pytest

from audiozen.trainer import parallel
from audiozen.trainer.parallel import for_each, num_threads


@pytest.mark.parametrize("num_pieces", [0, 1, 2, 1000])
def test_function_is_called_once_with_each_piece(num_pieces):
    seen: list[int] = []
    for_each(range(num_pieces), seen.append)
    assert sorted(seen) == list(range(num_pieces))


def test_pieces_are_worked_on_at_the_same_time():
    meeting = threading.Barrier(num_threads(), timeout=60)
    for_each(range(num_threads()), lambda _: meeting.wait())


def test_slow_piece_holds_up_one_thread_only():
    others_are_done = threading.Event()
    done: list[int] = []

    def work(piece: int) -> None:
        if piece == 0:
            assert others_are_done.wait(60)
        else:
            done.append(piece)
            if len(done) == 99:
                others_are_done.set()

    for_each(range(100), work)


def test_error_is_raised_when_no_thread_works_any_more():
    def fail(piece: int) -> None:
        if piece == 7:
            raise OSError("no such piece")

    before = threading.active_count()
    with pytest.raises(OSError, match="no such piece"):
        for_each(range(100), fail)
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("cores", "processes", "expected"),
    [(1, 1, 2), (2, 1, 2), (3, 1, 3), (64, 1, 4), (8, 2, 4), (8, 8, 2), (8, 3, 2)],
)
def test_processes_of_a_machine_share_its_cores(monkeypatch, cores, processes, expected):
    monkeypatch.setattr(parallel, "num_cores", lambda: cores)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert num_threads() == expected


def test_process_alone_has_all_cores(monkeypatch):
    monkeypatch.setattr(parallel, "num_cores", lambda: 3)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert num_threads() == 3
