"""``status.json`` of runs that end in each way."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest

from audiozen.errors import Preempted
from audiozen.trainer.run_status import run_status


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def end_with(path: Path, error: BaseException) -> dict:
    def fail() -> None:
        with run_status(path):
            raise error

    with pytest.raises(type(error)):
        fail()
    return read(path)


def test_run_is_running_and_then_done(tmp_path):
    path = tmp_path / "run" / "status.json"
    with run_status(path):
        during = read(path)
    after = read(path)
    assert (during["state"], during["ended"]) == ("running", None)
    assert (after["state"], after["message"]) == ("done", "")
    assert datetime.fromisoformat(after["started"]) <= datetime.fromisoformat(after["ended"])


@pytest.mark.parametrize(
    ("error", "state", "message"),
    [
        (Preempted("stopped by SIGTERM"), "stopped", "stopped by SIGTERM"),
        (KeyboardInterrupt(), "stopped", "interrupted"),
        (ValueError("wrong"), "failed", "ValueError: wrong"),
        (ValueError("x" * 5000), "failed", "ValueError: " + "x" * 988),
    ],
)
def test_status_says_how_the_run_ended_and_the_error_goes_on(tmp_path, error, state, message):
    status = end_with(tmp_path / "status.json", error)
    assert (status["state"], status["message"]) == (state, message)
    assert status["ended"]


def test_disk_that_refuses_is_told_and_ends_nothing(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    with run_status(tmp_path / "file" / "status.json"):
        done = True
    assert done
    assert "status.json could not be written" in caplog.text
