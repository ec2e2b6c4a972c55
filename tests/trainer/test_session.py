from __future__ import annotations

import json
import logging

import pytest
import torch

from audiozen.errors import RequestError
from audiozen.testing import RecordingTracker
from audiozen.tracking.console import Console, SilentConsole
from audiozen.tracking.tracker import Tracker
from audiozen.trainer.session import Session


def test_default_trackers_are_open_inside_only(tmp_path):
    session = Session(tmp_path, None, SilentConsole(), is_main_process=True)
    assert type(session.tracker) is Tracker
    with session.opened():
        session.keep("loss", torch.tensor(0.5))
        session.write(step=3, epoch=1)
    assert type(session.tracker) is Tracker
    (row,) = (tmp_path / "metrics" / "metrics.jsonl").read_text().splitlines()
    assert (json.loads(row)["step"], json.loads(row)["loss"]) == (3, 0.5)


def test_session_within_a_session_changes_nothing(tmp_path):
    session = Session(tmp_path, None, SilentConsole(), is_main_process=True)
    with session.opened():
        tracker = session.tracker
        with session.opened():
            assert session.tracker is tracker
        assert session.tracker is tracker


def test_tracker_comes_back_after_an_error(tmp_path):
    session = Session(tmp_path, None, SilentConsole(), is_main_process=True)
    with pytest.raises(KeyError), session.opened():
        raise KeyError
    assert type(session.tracker) is Tracker


def test_other_processes_write_nothing(tmp_path):
    session = Session(tmp_path / "exp", None, None, is_main_process=False)
    with session.opened():
        session.keep("loss", 1.0)
        session.write(step=1, epoch=1)
    assert not (tmp_path / "exp").exists()


def test_messages_go_to_a_text_log(tmp_path, capfd):
    session = Session(tmp_path, RecordingTracker(), Console(), is_main_process=True)
    with session.opened():
        logging.getLogger("audiozen.trainer").info("hello")
    (log,) = (tmp_path / "logs").glob("*.log")
    assert "hello" in log.read_text()
    assert "hello" in capfd.readouterr().err


def test_scalars_are_written_once(tmp_path):
    tracker = RecordingTracker()
    session = Session(tmp_path, tracker, SilentConsole(), is_main_process=True)
    session.keep("loss", 1.0)
    session.write(step=1, epoch=1)
    session.write(step=2, epoch=1)
    assert tracker.scalars == [("loss", 1, 1.0)]


def test_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("in the way")
    session = Session(tmp_path / "file" / "exp", None, SilentConsole(), is_main_process=True)
    with pytest.raises(RequestError, match="exp cannot be made: Not a directory"), session.opened():
        pass


def test_what_is_noted_is_logged_later_and_not_changed_by_what_the_model_writes(tmp_path):
    tracker = RecordingTracker()
    session = Session(tmp_path, tracker, SilentConsole(), is_main_process=True)
    sound = torch.ones(4)
    heard = []
    tracker.log_audio = lambda name, waveform, rate, step: heard.append(
        (name, waveform, rate, step)
    )
    with session.opened():
        with session.noting() as notes:
            session.keep("valid/x", 2.0)
            session.log_sound("valid/a", sound, 8000, 3)
            sound.zero_()
        session.write(step=3, epoch=1)
        assert tracker.scalars == heard == []
        session.log_notes(notes)
        session.write(step=3, epoch=1)
    assert tracker.scalars == [("valid/x", 3, 2.0)]
    [(name, waveform, rate, step)] = heard
    assert (name, waveform.tolist(), rate, step) == ("valid/a", [1.0] * 4, 8000, 3)


def test_other_processes_show_errors_only(tmp_path, caplog):
    with Session(tmp_path, None, None, is_main_process=False).opened():
        logging.getLogger("audiozen.x").warning("a warning")
        logging.getLogger("audiozen.x").error("an error")
    assert [record.message for record in caplog.records] == ["an error"]
