from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING

import pytest
import torch

from audiozen.tracking.jsonl import JsonlTracker, read_metrics
from audiozen.tracking.tracker import Tracker, Trackers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


class BrokenTracker(Tracker):
    def log_scalars(self, scalars: Mapping[str, float], *, step: int, epoch: int) -> None:
        raise OSError("no space left")

    def close(self) -> None:
        raise OSError("still no space")


class NotingTracker(Tracker):
    """Notes the name and the arguments of every call."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def log_scalars(self, scalars: Mapping[str, float], *, step: int, epoch: int) -> None:
        self.calls.append(("log_scalars", scalars, step, epoch))

    def log_audio(self, name: str, waveform: object, sample_rate: int, *, step: int) -> None:
        self.calls.append(("log_audio", name, sample_rate, step))

    def log_spectrogram(self, name: str, waveform: object, sample_rate: int, *, step: int) -> None:
        self.calls.append(("log_spectrogram", name, sample_rate, step))

    def log_text(self, name: str, text: str, *, step: int) -> None:
        self.calls.append(("log_text", name, text, step))

    def rewind(self, step: int) -> None:
        self.calls.append(("rewind", step))

    def supersede(self, names: Iterable[str], *, step: int) -> None:
        self.calls.append(("supersede", list(names), step))

    def flush(self) -> None:
        self.calls.append(("flush",))

    def close(self) -> None:
        self.calls.append(("close",))


def use_everything(tracker: Tracker) -> None:
    with tracker:
        tracker.rewind(2)
        tracker.supersede(iter(["loss"]), step=3)
        tracker.log_scalars({"loss": 1.0}, step=3, epoch=1)
        tracker.log_audio("a", torch.zeros(100), 16_000, step=3)
        tracker.log_spectrogram("a", torch.zeros(100), 16_000, step=3)
        tracker.log_text("note", "hello", step=3)
        tracker.flush()


def test_plain_tracker_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    use_everything(Tracker())
    assert list(tmp_path.iterdir()) == []


def test_every_call_reaches_every_tracker_with_its_arguments() -> None:
    first, second = NotingTracker(), NotingTracker()
    use_everything(Trackers([first, second]))
    assert first.calls == second.calls
    assert first.calls == [
        ("rewind", 2),
        ("supersede", ["loss"], 3),
        ("log_scalars", {"loss": 1.0}, 3, 1),
        ("log_audio", "a", 16_000, 3),
        ("log_spectrogram", "a", 16_000, 3),
        ("log_text", "note", "hello", 3),
        ("flush",),
        ("close",),
    ]


def test_trackers_pass_on_every_public_method() -> None:
    public = {name for name, _ in inspect.getmembers(Tracker, inspect.isfunction) if name[0] != "_"}
    assert public <= set(vars(Trackers))


def test_a_failing_tracker_stops_neither_the_run_nor_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "metrics.jsonl"
    trackers = Trackers([BrokenTracker(), JsonlTracker(path)])
    with caplog.at_level(logging.WARNING), trackers:
        for step in (1, 2, 3):
            trackers.log_scalars({"loss": 0.5}, step=step, epoch=1)
    assert [row["step"] for row in read_metrics(path)] == [1, 2, 3]
    assert trackers.num_failures == {"BrokenTracker": 4}
    told, count = (record.getMessage() for record in caplog.records)
    assert "BrokenTracker" in told
    assert "OSError: no space left" in told
    assert "BrokenTracker failed 4 times" in count


def test_keyboard_interrupt_is_not_swallowed() -> None:
    class Interrupted(Tracker):
        def flush(self) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Trackers([Interrupted()]).flush()


def test_no_trackers_at_all_are_fine() -> None:
    use_everything(Trackers([]))
