from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c
from torch.utils.tensorboard import summary

from audiozen.tracking import event_file
from audiozen.tracking.event_file import EventFile

if TYPE_CHECKING:
    from pathlib import Path


def records(path: Path) -> list[bytes]:
    """What is in a file, each check sum verified by TensorBoard's own function."""
    content, found = path.read_bytes(), []
    while content:
        length = int.from_bytes(content[:8], "little")
        record = content[12 : 12 + length]
        sums = (content[8:12], content[12 + length : 16 + length])
        assert sums == tuple(masked_crc32c(x).to_bytes(4, "little") for x in (content[:8], record))
        found.append(record)
        content = content[16 + length :]
    return found


def events(path: Path) -> list[Event]:
    return [Event.FromString(record) for record in records(path)]


@given(st.text(min_size=1, max_size=300), st.floats())
def test_scalar_is_what_pytorch_makes_of_it(name: str, value: float) -> None:
    assert event_file.scalar(name, value) == summary.scalar(name, value).SerializeToString()


def test_scalar_beyond_single_precision_is_infinite() -> None:
    made = event_file.scalar("loss", -1e300)
    assert made == summary.scalar("loss", -math.inf).SerializeToString()


def test_sound_is_what_pytorch_makes_of_it() -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, 20_000).astype(np.float32)
    made = event_file.audio("a/noisy", samples, 16_000)
    assert made == summary.audio("a/noisy", samples, 16_000).SerializeToString()


def test_picture_is_what_pytorch_makes_of_it() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (257, 300, 3), dtype=np.uint8)
    made = event_file.image("a/spectrogram", pixels)
    expected = summary.image("a/spectrogram", pixels, dataformats="HWC").SerializeToString()
    assert made == expected


@pytest.mark.parametrize("content", ["", "**bold**", "ä" * 1000])
def test_text_is_read_as_what_pytorch_makes_of_it(content: str) -> None:
    made = event_file.markdown("note", content)
    expected = summary.text("note", content)
    assert type(expected).FromString(made) == expected


@pytest.mark.parametrize("step", [0, 1, 127, 128, 2**40, 2**63 - 1])
def test_steps_of_any_size_are_kept(tmp_path: Path, step: int) -> None:
    file = EventFile(tmp_path / "events")
    file.write(event_file.scalar("loss", 0.5), event_file.scalar("lr", 0.1), step=step)
    file.start_session(step)
    file.close()
    first, numbers, session = events(tmp_path / "events")
    assert first.file_version == "brain.Event:2"
    assert (numbers.step, session.step) == (step, step)
    found = {value.tag: value.simple_value for value in numbers.summary.value}
    assert found == {"loss": 0.5, "lr": pytest.approx(0.1)}
    assert session.session_log.status == SessionLog.START


def test_existing_file_is_never_written_to(tmp_path: Path) -> None:
    (tmp_path / "events").touch()
    with pytest.raises(FileExistsError):
        EventFile(tmp_path / "events")
