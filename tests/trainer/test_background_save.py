from __future__ import annotations

import threading
import time

import pytest

from audiozen.errors import CheckpointError
from audiozen.trainer.background_save import BackgroundSave


def test_work_is_done_in_another_thread_and_waited_for():
    seen = []
    release = threading.Event()

    def work():
        release.wait(5)
        seen.append(threading.current_thread().name)

    saving = BackgroundSave()
    saving.start(work)
    assert seen == []
    release.set()
    assert saving.succeeded()
    assert seen == ["save"]


def test_one_piece_of_work_at_a_time():
    running, most = [0], [0]

    def work():
        running[0] += 1
        most[0] = max(most[0], running[0])
        time.sleep(0.02)
        running[0] -= 1

    saving = BackgroundSave()
    for _ in range(4):
        saving.start(work)
    assert saving.succeeded()
    assert most == [1]


def test_failure_is_told_at_once_and_forgotten_with_the_next_success(caplog):
    def fail():
        raise CheckpointError("no space left")

    saving = BackgroundSave()
    assert saving.succeeded()
    saving.start(fail)
    saving.wait()
    assert "no space left; training goes on, earlier checkpoints are whole" in caplog.text
    assert not saving.succeeded()
    saving.start(lambda: None)
    assert saving.succeeded()


def test_waiting_for_a_slow_disk_is_told(caplog, monkeypatch):
    monkeypatch.setattr("audiozen.trainer.background_save.PATIENCE", 0.02)
    saving = BackgroundSave()
    saving.start(lambda: time.sleep(0.1))
    assert saving.succeeded()
    assert "waiting for a checkpoint to be written" in caplog.text


def test_what_is_no_failure_of_the_disk_is_raised_where_somebody_asks():
    saving = BackgroundSave()
    saving.start(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        saving.succeeded()
    with pytest.raises(ZeroDivisionError):
        saving.start(lambda: None)
