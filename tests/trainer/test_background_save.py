from __future__ import annotations

import os
import signal
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


def test_work_is_waited_for_again_where_a_signal_handler_raised_in_the_wait():
    release = threading.Event()
    saving = BackgroundSave()
    saving.start(lambda: release.wait(5) or 1 / 0)  # an error, where it was not released

    def interrupt(*_):
        raise KeyError

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGUSR1]).start()
        with pytest.raises(KeyError):
            saving.wait()
    finally:
        signal.signal(signal.SIGUSR1, before)
    threading.Timer(0.1, release.set).start()
    assert saving.succeeded()
    assert release.is_set()


def test_where_no_thread_can_be_made_that_is_an_error_and_nothing_waits(monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    saving = BackgroundSave()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            saving.start(lambda: None)
    assert saving.succeeded()
    saving.start(lambda: None)
    assert saving.succeeded()
