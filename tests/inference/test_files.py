from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from audiozen.data.audio import AudioFormat, audio_format, read_blocks
from audiozen.errors import AudioError
from audiozen.inference.files import format_for, refuse_nonfinite, write_blocks

PCM_16 = AudioFormat("WAV", "PCM_16")
FORMATS = [
    ("a.wav", "WAV", "PCM_U8"),
    ("a.wav", "WAV", "PCM_16"),
    ("a.wav", "WAV", "PCM_24"),
    ("a.wav", "WAV", "PCM_32"),
    ("a.wav", "WAV", "FLOAT"),
    ("a.wav", "WAV", "DOUBLE"),
    ("a.wav", "WAV", "ULAW"),
    ("a.wav", "WAV", "ALAW"),
    ("a.wav", "WAVEX", "PCM_24"),
    ("a.wav", "RF64", "PCM_16"),
    ("a.flac", "FLAC", "PCM_S8"),
    ("a.flac", "FLAC", "PCM_16"),
    ("a.FLAC", "FLAC", "PCM_24"),
]


@pytest.mark.parametrize(("name", "container", "subtype"), FORMATS)
def test_what_is_read_and_written_again_is_the_same_bit_for_bit(
    name: str, container: str, subtype: str, tmp_path: Path
) -> None:
    source, target = tmp_path / name, tmp_path / "out" / name
    samples = np.clip(np.random.default_rng(0).normal(0, 0.5, (999, 2)), -1, 1)
    soundfile.write(source, samples, 22050, subtype, format=container)
    blocks = [block[None] for block in read_blocks(source, 100, channel="each")]
    written = write_blocks(lambda _: [target], blocks, 22050, audio_format(source))
    assert written == ([target], 0)
    assert audio_format(target) == (container, subtype)
    before, after = soundfile.read(source, dtype="float32"), soundfile.read(target, dtype="float32")
    assert after[1] == 22050
    assert np.array_equal(before[0], after[0])


@pytest.mark.parametrize(
    ("name", "container", "subtype", "expected"),
    [
        ("a.wav", "WAV", "MS_ADPCM", ("WAV", "PCM_16")),
        ("a.wav", "OGG", "VORBIS", ("WAV", "PCM_16")),
        ("a.wav", "FLAC", "PCM_24", ("WAV", "PCM_24")),
        ("a.flac", "WAV", "FLOAT", ("FLAC", "PCM_16")),
        ("a.WAV", "RF64", "PCM_24", ("RF64", "PCM_24")),
    ],
)
def test_format_is_the_nearest_that_can_be_written(
    name: str, container: str, subtype: str, expected: tuple[str, str]
) -> None:
    assert format_for(Path(name), AudioFormat(container, subtype)) == expected


def signal(*samples: float) -> list[torch.Tensor]:
    return [torch.tensor(samples).reshape(1, 1, -1)]


def test_what_is_beyond_full_scale_is_clipped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    blocks = [*signal(0.5, 1.0, 1.001), *signal(-1.0, -2.25, 0.25)]
    assert write_blocks(lambda _: [path], blocks, 8000, PCM_16).num_clipped == 2
    greatest = 32767 / 32768
    assert soundfile.read(path)[0].tolist() == [0.5, greatest, greatest, -1.0, -1.0, 0.25]


def test_integers_are_the_nearest_ones(tmp_path: Path) -> None:
    path, steps = tmp_path / "a.wav", [0.4, 0.6, -0.4, -0.6]
    write_blocks(lambda _: [path], signal(*(step / 32768 for step in steps)), 8000, PCM_16)
    assert soundfile.read(path, dtype="int16")[0].tolist() == [0, 1, 0, -1]


def test_floats_are_never_clipped(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    float_format = AudioFormat("WAV", "FLOAT")
    assert write_blocks(lambda _: [path], signal(2.5, -3.0), 8000, float_format).num_clipped == 0
    assert soundfile.read(path)[0].tolist() == [2.5, -3.0]


def test_sources_go_to_files_of_their_own_and_the_first_gets_its_name_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from audiozen import durable_files

    names: list[str] = []
    rename = durable_files.rename
    monkeypatch.setattr(
        durable_files, "rename", lambda old, new: names.append(new.name) or rename(old, new)
    )
    blocks = [torch.tensor([[[0.25]], [[0.5]]]), torch.tensor([[[-0.25]], [[-0.5]]])]
    paths = [tmp_path / "1.wav", tmp_path / "2.wav"]
    assert write_blocks(lambda num: paths[:num], blocks, 8000, PCM_16).paths == paths
    assert [soundfile.read(path)[0].tolist() for path in paths] == [[0.25, -0.25], [0.5, -0.5]]
    assert names == ["2.wav", "1.wav"]


def test_nothing_is_left_of_what_fails_halfway(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("old")

    def failing():
        yield torch.zeros(2, 1, 50_000)
        assert len(list(tmp_path.glob(".*.partial"))) == 2
        raise AudioError("broken")

    paths = [tmp_path / "a.wav", tmp_path / "b.wav"]
    with pytest.raises(AudioError, match="broken"):
        write_blocks(lambda _: paths, failing(), 8000, PCM_16)
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
    assert (tmp_path / "a.wav").read_text() == "old"


def test_disk_that_refuses_is_told_with_the_name_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "a.wav"
    with pytest.raises(AudioError, match=r"cannot write .*file/a\.wav"):
        write_blocks(lambda _: [path], signal(0.0), 8000, PCM_16)
    with pytest.raises(AudioError, match=r"cannot write .*a\.wav"):  # no file has 5000 channels
        write_blocks(lambda _: [tmp_path / "a.wav"], [torch.zeros(1, 5000, 2)], 8000, PCM_16)
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_no_number_goes_no_further(value: float) -> None:
    blocks = refuse_nonfinite([*signal(0.0), *signal(0.0, value)], Path("a.wav"))
    next(blocks)
    with pytest.raises(AudioError, match=r"NaN or infinite of a\.wav"):
        next(blocks)
