from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from audiozen.data.audio import audio_format, read_audio, read_blocks, write_audio
from audiozen.errors import AudioError


@pytest.fixture(params=[".wav", ".flac"])
def stereo(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """1001 samples of two channels."""
    path = tmp_path / f"stereo{request.param}"
    write_audio(path, 0.1 * torch.randn(2, 1001, generator=torch.Generator().manual_seed(0)), 8000)
    return path


@pytest.mark.parametrize("size", [1, 100, 1000, 1001, 5000])
@pytest.mark.parametrize("channel", [0, 1, "mean"])
def test_blocks_are_the_file(stereo: Path, size: int, channel: int | str) -> None:
    blocks = list(read_blocks(stereo, size, channel=channel))
    assert {len(block[0]) for block in blocks[:-1]} <= {size}
    assert torch.equal(torch.cat(blocks, -1), read_audio(stereo, channel=channel)[None])


def test_each_channel_can_be_kept(stereo: Path) -> None:
    signal = torch.cat(list(read_blocks(stereo, 300, channel="each")), -1)
    assert torch.equal(signal, torch.stack([read_audio(stereo, channel=c) for c in (0, 1)]))


def test_no_read_is_longer_than_a_block(stereo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: list[int] = []
    read = soundfile.SoundFile.read
    monkeypatch.setattr(
        soundfile.SoundFile,
        "read",
        lambda file, frames, **options: wanted.append(frames) or read(file, frames, **options),
    )
    blocks = list(read_blocks(stereo, 100, channel=0))
    assert wanted == [100] * 10 + [1]
    assert [block.untyped_storage().nbytes() for block in blocks] == [400] * 10 + [4]


def test_other_channels_are_refused(stereo: Path) -> None:
    with pytest.raises(AudioError, match="2 channels, and one was expected"):
        list(read_blocks(stereo, 100))
    with pytest.raises(AudioError, match="no channel 2"):
        list(read_blocks(stereo, 100, channel=2))


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.95])
def test_truncated_file_is_refused(stereo: Path, kept: float) -> None:
    content = stereo.read_bytes()
    stereo.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(AudioError, match=r"stereo.*truncated"):
        list(read_blocks(stereo, 100, channel="each"))


def test_file_that_is_cut_off_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    write_audio(path, torch.zeros(100_000), 8000)
    blocks = read_blocks(path, 60_000)
    next(blocks)
    os.truncate(path, 160_044)
    with pytest.raises(AudioError, match="reading from 60000 gave 20000 of 40000"):
        next(blocks)


def test_samples_that_are_no_numbers_are_refused_where_they_are(tmp_path: Path) -> None:
    samples = np.zeros((1000, 2))
    samples[777, 1] = np.nan
    soundfile.write(tmp_path / "bad.wav", samples, 8000, "FLOAT")
    blocks = read_blocks(tmp_path / "bad.wav", 500, channel="each")
    assert next(blocks).shape == (2, 500)
    with pytest.raises(AudioError, match=r"bad\.wav has samples that are NaN .* first at 777 "):
        next(blocks)
    assert sum(block.shape[-1] for block in read_blocks(tmp_path / "bad.wav", 500, channel=0))


def test_file_without_samples_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 8000)
    with pytest.raises(AudioError, match=r"none\.wav has no samples"):
        list(read_blocks(tmp_path / "none.wav", 10))
    with pytest.raises(AudioError, match=r"cannot read .*gone\.wav"):
        list(read_blocks(tmp_path / "gone.wav", 10))


@pytest.mark.parametrize(
    ("name", "container", "subtype"),
    [("a.wav", "WAV", "PCM_16"), ("a.wav", "RF64", "FLOAT"), ("a.flac", "FLAC", "PCM_24")],
)
def test_format_is_told(tmp_path: Path, name: str, container: str, subtype: str) -> None:
    soundfile.write(tmp_path / name, np.zeros(5), 8000, subtype, format=container)
    assert audio_format(tmp_path / name) == (container, subtype)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(AudioError, match="is empty"):
        audio_format(tmp_path / name)
