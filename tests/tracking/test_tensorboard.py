from __future__ import annotations

import io
import logging
import math
import subprocess
import sys
import time
import wave
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from audiozen.errors import ShapeError
from audiozen.tracking.spectrogram import spectrogram_image
from audiozen.tracking.tensorboard import TensorBoardTracker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EVERYTHING = {"scalars": 0, "images": 0, "audio": 0, "tensors": 0}


def read(log_dir: Path) -> EventAccumulator:
    return EventAccumulator(str(log_dir), size_guidance=EVERYTHING).Reload()


def scalars(log_dir: Path, name: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in read(log_dir).Scalars(name)]


def log_steps(log_dir: Path, steps: range, value: float) -> None:
    with TensorBoardTracker(log_dir) as tracker:
        for step in steps:
            tracker.log_scalars({"loss": value}, step=step, epoch=1)


def samples(log_dir: Path, name: str) -> np.ndarray:
    """The first sound of this name, as written."""
    (event,) = read(log_dir).Audio(name)
    with wave.open(io.BytesIO(event.encoded_audio_string)) as file:
        assert file.getframerate() == 16_000
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767


def test_scalars_come_back(tmp_path: Path) -> None:
    with TensorBoardTracker(tmp_path) as tracker:
        for step in (1, 2):
            tracker.log_scalars({"loss": step / 4, "lr": math.nan}, step=step, epoch=1)
    assert scalars(tmp_path, "loss") == [(1, 0.25), (2, 0.5)]
    assert all(math.isnan(value) for _, value in scalars(tmp_path, "lr"))


def test_text_comes_back(tmp_path: Path) -> None:
    with TensorBoardTracker(tmp_path) as tracker:
        tracker.log_text("note", "**hello**", step=3)
    (event,) = read(tmp_path).Tensors("note/text_summary")
    assert event.step == 3
    assert event.tensor_proto.string_val == [b"**hello**"]


def test_sound_within_full_scale_keeps_its_level(tmp_path: Path) -> None:
    waveform = torch.linspace(-1, 1, 1000)
    with TensorBoardTracker(tmp_path) as tracker:
        tracker.log_audio("a", waveform, 16_000, step=1)
    assert samples(tmp_path, "a") == pytest.approx(waveform.numpy(), abs=1 / 32767)
    assert read(tmp_path).Tags()["scalars"] == []


def test_sound_beyond_full_scale_is_scaled_and_told_not_clipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    waveform = torch.linspace(-2, 2, 1000)
    with caplog.at_level(logging.WARNING), TensorBoardTracker(tmp_path) as tracker:
        tracker.log_audio("a", waveform, 16_000, step=1)
        for step in (2, 3):
            tracker.log_audio("b", waveform, 16_000, step=step)
    assert samples(tmp_path, "a") == pytest.approx(waveform.numpy() / 2, abs=1 / 32767)
    assert scalars(tmp_path, "a/gain_db") == [(1, pytest.approx(-6.0206))]
    assert [record.getMessage().split()[0] for record in caplog.records] == ["a", "b"]
    assert "6.0 dB softer" in caplog.text
    assert capsys.readouterr().out == ""  # TensorBoard's writer prints when it clips


@pytest.mark.parametrize("num_samples", [0, 1])
def test_sound_of_hardly_any_samples_is_written(tmp_path: Path, num_samples: int) -> None:
    with TensorBoardTracker(tmp_path) as tracker:
        tracker.log_audio("a", np.full(num_samples, 0.5), 16_000, step=1)
    assert samples(tmp_path, "a") == pytest.approx([*[0.5] * num_samples, 0, 0][:2], abs=1e-4)


def test_nan_in_sound_becomes_silence(tmp_path: Path) -> None:
    with TensorBoardTracker(tmp_path) as tracker:
        tracker.log_audio("a", torch.tensor([0.5, math.nan, math.inf]), 16_000, step=1)
    assert samples(tmp_path, "a") == pytest.approx([0.5, 0, 0], abs=1e-4)


def test_sound_with_channels_is_refused(tmp_path: Path) -> None:
    with TensorBoardTracker(tmp_path) as tracker, pytest.raises(ShapeError, match=r"\(2, 100\)"):
        tracker.log_audio("a", torch.zeros(2, 100), 16_000, step=1)


def test_spectrogram_is_the_picture_under_a_name_of_its_own(tmp_path: Path) -> None:
    waveform = torch.randn(16_000, generator=torch.Generator().manual_seed(0)) / 10
    with TensorBoardTracker(tmp_path) as tracker:
        tracker.log_audio("a", waveform, 16_000, step=1)
        tracker.log_spectrogram("a", waveform, 16_000, step=1)
    (event,) = read(tmp_path).Images("a/spectrogram")
    picture = np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))
    assert np.array_equal(picture, spectrogram_image(waveform, 16_000))


def test_after_a_rewind_each_step_is_there_once(tmp_path: Path) -> None:
    with TensorBoardTracker(tmp_path) as tracker:
        for step in range(1, 11):
            tracker.log_scalars({"loss": 1.0, "only_before": 1.0}, step=step, epoch=1)
    with TensorBoardTracker(tmp_path) as tracker:  # as after a resume
        tracker.rewind(6)
        for step in range(7, 13):
            tracker.log_scalars({"loss": 2.0}, step=step, epoch=1)
    assert scalars(tmp_path, "loss") == [
        *((step, 1.0) for step in range(1, 7)),
        *((step, 2.0) for step in range(7, 13)),
    ]
    assert [step for step, _ in scalars(tmp_path, "only_before")] == list(range(1, 7))


def test_rewind_forgets_sound_and_pictures_too(tmp_path: Path) -> None:
    with TensorBoardTracker(tmp_path) as tracker:
        for step in (1, 2):
            tracker.log_audio("a", torch.zeros(100), 16_000, step=step)
            tracker.log_spectrogram("a", torch.zeros(100), 16_000, step=step)
        tracker.rewind(1)
    assert [event.step for event in read(tmp_path).Audio("a")] == [1]
    assert [event.step for event in read(tmp_path).Images("a/spectrogram")] == [1]


def test_rewind_works_on_files_of_a_killed_process(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from audiozen.tracking.tensorboard import TensorBoardTracker\n"
        "tracker = TensorBoardTracker(sys.argv[1])\n"
        "for step in range(1, 6): tracker.log_scalars({'loss': 1.0}, step=step, epoch=1)\n"
        "tracker.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path], check=False)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-5])  # step 5 is torn
    with TensorBoardTracker(tmp_path) as tracker:
        tracker.rewind(3)
        tracker.log_scalars({"loss": 2.0}, step=4, epoch=1)
    assert scalars(tmp_path, "loss") == [(1, 1.0), (2, 1.0), (3, 1.0), (4, 2.0)]


def test_names_of_event_files_sort_in_the_order_of_opening(tmp_path: Path) -> None:
    opened = []
    for step in (1, 2):
        with TensorBoardTracker(tmp_path) as tracker:
            tracker.log_scalars({"loss": 1.0}, step=step, epoch=1)
        opened += sorted(set(tmp_path.iterdir()) - set(opened))
    seconds = [int(path.name.split(".")[3]) for path in opened]
    assert abs(seconds[0] - time.time()) < 60
    assert seconds[0] < seconds[1]


@pytest.mark.parametrize("num_rewinds", [1, 2])
def test_newest_run_wins_though_the_clock_was_set_back(tmp_path: Path, num_rewinds: int) -> None:
    log_steps(tmp_path, range(1, 6), value=1.0)
    (first,) = tmp_path.iterdir()
    first.rename(tmp_path / f"events.out.tfevents.{int(time.time()) + 3600}.host.1")
    for number in range(num_rewinds):
        with TensorBoardTracker(tmp_path) as tracker:
            tracker.rewind(3)
            tracker.log_scalars({"loss": 2.0 + number}, step=4, epoch=1)
    assert scalars(tmp_path, "loss") == [(1, 1.0), (2, 1.0), (3, 1.0), (4, 1.0 + num_rewinds)]


def test_a_reader_that_is_running_goes_on_to_the_files_of_a_clock_that_was_set_back(
    tmp_path: Path,
) -> None:
    log_steps(tmp_path, range(1, 3), value=1.0)
    (first,) = tmp_path.iterdir()
    first.rename(tmp_path / f"events.out.tfevents.{int(time.time()) + 3600}.host.1")
    reader = read(tmp_path)
    log_steps(tmp_path, range(3, 4), value=2.0)
    reader.Reload()
    assert [event.step for event in reader.Scalars("loss")] == [1, 2, 3]


def test_opening_does_not_wait_for_the_next_second(tmp_path: Path) -> None:
    log_steps(tmp_path, range(1), value=1.0)
    start = time.monotonic()
    for step in range(1, 11):
        log_steps(tmp_path, range(step, step + 1), value=1.0)
    assert time.monotonic() - start < 1
    assert [step for step, _ in scalars(tmp_path, "loss")] == list(range(11))


def test_killed_process_loses_nothing_that_was_logged(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from audiozen.tracking.tensorboard import TensorBoardTracker\n"
        "tracker = TensorBoardTracker(sys.argv[1])\n"
        "for step in range(1, 101): tracker.log_scalars({'loss': 1.0}, step=step, epoch=1)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path], check=False)
    assert [step for step, _ in scalars(tmp_path, "loss")] == list(range(1, 101))


def test_events_for_which_there_is_no_room_leave_the_others_readable(
    tmp_path: Path, limit_file_size: Callable[[int | None], None]
) -> None:
    with TensorBoardTracker(tmp_path) as tracker:
        for step, room in ((1, 10), (2, None), (3, 150), (4, None)):
            limit_file_size(room)
            with pytest.raises(OSError, match="No space") if room else nullcontext():
                tracker.log_scalars({"loss": 1.0, "other": 2.0}, step=step, epoch=1)
    assert scalars(tmp_path, "loss") == [(2, 1.0), (4, 1.0)]
    assert len(list(tmp_path.iterdir())) == 1


def test_an_evaluation_that_is_logged_twice_at_one_step_is_read_in_that_order(
    tmp_path: Path,
) -> None:
    log_steps(tmp_path, range(1, 3), value=1.0)
    with TensorBoardTracker(tmp_path) as tracker:
        tracker.supersede(["loss"], step=2)
        tracker.log_scalars({"loss": 2.0}, step=2, epoch=1)
    assert scalars(tmp_path, "loss") == [(1, 1.0), (2, 1.0), (2, 2.0)]


def test_nothing_logged_leaves_nothing(tmp_path: Path) -> None:
    with TensorBoardTracker(tmp_path / "tb") as tracker:
        tracker.rewind(5)
        tracker.flush()
    assert not (tmp_path / "tb").exists()


def test_tensorboard_itself_is_not_imported(tmp_path: Path) -> None:
    program = (
        "import sys, torch; from audiozen.tracking.tensorboard import TensorBoardTracker\n"
        "with TensorBoardTracker(sys.argv[1]) as tracker:\n"
        "    tracker.log_scalars({'loss': 1.0}, step=1, epoch=1)\n"
        "    tracker.log_audio('a', torch.zeros(100), 16000, step=1)\n"
        "    tracker.log_spectrogram('a', torch.zeros(16000), 16000, step=1)\n"
        "    tracker.log_text('note', 'hello', step=1)\n"
        "    tracker.rewind(1)\n"
        "sys.exit('tensorboard' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path], check=True)
