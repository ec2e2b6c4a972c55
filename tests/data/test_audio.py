from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from audiozen.data.audio import (
    AudioInfo,
    audio_info,
    find_audio,
    read_audio,
    resample,
    write_audio,
)
from audiozen.errors import AudioError

STEP_16_BIT = 2.0**-15


@pytest.fixture
def ramp() -> torch.Tensor:
    return torch.linspace(-1, 0.9, 1000)


@pytest.fixture(params=[".wav", ".flac"])
def suffix(request) -> str:
    return request.param


def tone(frequency: float, num_samples: int, sample_rate: int) -> torch.Tensor:
    time = torch.arange(num_samples, dtype=torch.float64) / sample_rate
    return torch.sin(2 * torch.pi * frequency * time).float()


# ---- reading and writing ----------------------------------------------------------------------


def test_written_file_is_read_back_to_16_bits(tmp_path, ramp, suffix):
    path = tmp_path / "new" / "folder" / f"ramp{suffix}"
    write_audio(path, ramp, 16_000)
    back = read_audio(path)
    assert back.dtype == torch.float32
    assert back.shape == ramp.shape
    assert (back - ramp).abs().max() <= STEP_16_BIT
    assert audio_info(path) == AudioInfo(16_000, 1000, 1)
    assert soundfile.info(path).subtype == "PCM_16"


def test_written_file_read_and_written_again_is_the_same(tmp_path, ramp, suffix):
    first, second = tmp_path / f"1{suffix}", tmp_path / f"2{suffix}"
    write_audio(first, ramp, 16_000)
    write_audio(second, read_audio(first), 16_000)
    assert first.read_bytes() == second.read_bytes()


def test_full_scale_is_within_16_bits(tmp_path, suffix):
    path = tmp_path / f"full{suffix}"
    write_audio(path, torch.tensor([1.0, -1.0, 0.0]), 16_000)
    assert read_audio(path).tolist() == [32767 / 32768, -1.0, 0.0]


def test_loud_wav_is_written_as_float_and_not_clipped(tmp_path):
    path = tmp_path / "loud.wav"
    loud = torch.tensor([1.5, -2.25, 1e-7])
    write_audio(path, loud, 16_000)
    assert torch.equal(read_audio(path), loud)


def test_loud_flac_is_refused(tmp_path):
    path = tmp_path / "loud.flac"
    with pytest.raises(AudioError, match=r"loud\.flac: flac would clip at 1, and the peak is 1\.5"):
        write_audio(path, torch.tensor([0.0, -1.5]), 16_000)
    assert list(tmp_path.iterdir()) == []


def test_channels_are_written_and_chosen(tmp_path, suffix):
    path = tmp_path / f"stereo{suffix}"
    write_audio(path, torch.tensor([[0.5, 0.25], [-0.5, 0.75]]), 8000)
    assert audio_info(path) == AudioInfo(8000, 2, 2)
    assert read_audio(path, channel=0).tolist() == [0.5, 0.25]
    assert read_audio(path, channel=1).tolist() == [-0.5, 0.75]
    assert read_audio(path, channel="mean").tolist() == [0.0, 0.5]


def test_numpy_and_leaf_tensors_are_written(tmp_path):
    write_audio(tmp_path / "a.wav", np.array([0.5, -0.5]), 16_000)
    write_audio(tmp_path / "b.wav", torch.tensor([0.5, -0.5], requires_grad=True), 16_000)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


@pytest.mark.parametrize(("start", "length"), [(0, 1), (0, 1000), (300, 200), (999, 1), (5, None)])
def test_segment_is_the_part_of_the_whole(tmp_path, ramp, suffix, start, length):
    path = tmp_path / f"ramp{suffix}"
    write_audio(path, ramp, 16_000)
    end = None if length is None else start + length
    segment = read_audio(path, start=start, num_samples=length)
    assert torch.equal(segment, read_audio(path)[start:end])


def test_segment_of_a_long_file_is_read_without_the_rest(tmp_path):
    path = tmp_path / "long.wav"
    with path.open("wb") as file:  # 2 GB of which the disk holds nothing
        soundfile.write(file, np.zeros(16), 16_000, "PCM_16", format="WAV")
        size = 2_000_000_044
        file.truncate(size)
        for place, value in ((4, size - 8), (40, size - 44)):
            file.seek(place)
            file.write(value.to_bytes(4, "little"))
    assert audio_info(path).num_samples == 1_000_000_000
    assert read_audio(path, start=999_000_000, num_samples=10).tolist() == [0.0] * 10


def test_segment_counts_samples_of_the_file_also_when_resampled(tmp_path):
    path = tmp_path / "tone.wav"
    write_audio(path, 0.5 * tone(440, 48_000, 48_000), 48_000)
    segment = read_audio(path, start=12_000, num_samples=24_000, sample_rate=16_000)
    assert segment.shape == (8000,)
    expected = 0.5 * tone(440, 16_000, 16_000)[4000:12_000]
    assert (segment - expected)[200:-200].abs().max() < 1e-3


# ---- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "length"), [(0, 1001), (1000, 1), (1000, None), (-1, 5), (0, 0), (0, -1)]
)
def test_segment_outside_the_file_is_refused(tmp_path, ramp, suffix, start, length):
    path = tmp_path / f"ramp{suffix}"
    write_audio(path, ramp, 16_000)
    with pytest.raises(AudioError, match=rf"ramp{suffix} has 1000 samples, so .* from .* cannot"):
        read_audio(path, start=start, num_samples=length)


@pytest.mark.parametrize("read", [audio_info, read_audio])
def test_missing_file_is_refused(tmp_path, read):
    with pytest.raises(AudioError, match=r"cannot read .*gone\.wav: No such file"):
        read(tmp_path / "gone.wav")


@pytest.mark.parametrize("read", [audio_info, read_audio])
def test_what_cannot_be_opened_is_refused_with_the_reason_of_the_system(tmp_path, read):
    with pytest.raises(AudioError, match=rf"cannot read {tmp_path}: Is a directory"):
        read(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(AudioError, match=r"cannot read .*file/a\.wav: Not a directory"):
        read(tmp_path / "file" / "a.wav")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("read", [audio_info, read_audio])
def test_forbidden_folder_is_refused(tmp_path, read):
    (tmp_path / "a").mkdir(mode=0)
    with pytest.raises(AudioError, match=r"cannot read .*a/b\.wav: Permission denied"):
        read(tmp_path / "a" / "b.wav")


@pytest.mark.parametrize("read", [audio_info, read_audio])
def test_empty_file_is_refused(tmp_path, suffix, read):
    path = tmp_path / f"empty{suffix}"
    path.touch()
    with pytest.raises(AudioError, match=rf"empty{suffix} is empty \(0 bytes\)"):
        read(path)


@pytest.mark.parametrize("read", [audio_info, read_audio])
def test_file_that_is_no_audio_is_refused(tmp_path, suffix, read):
    path = tmp_path / f"page{suffix}"
    path.write_text("<html>404 not found</html>" * 10)
    with pytest.raises(AudioError, match=rf"cannot read .*page{suffix} as audio"):
        read(path)


@pytest.mark.parametrize("kept", [0.002, 0.1, 0.5, 0.95])
def test_truncated_file_is_refused(tmp_path, suffix, kept):
    path = tmp_path / f"noise{suffix}"
    generator = torch.Generator().manual_seed(0)
    write_audio(path, 0.1 * torch.randn(32_000, generator=generator), 16_000)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(AudioError, match=rf"noise{suffix}.*truncated"):
        read_audio(path)


def test_file_without_samples_is_refused(tmp_path):
    path = tmp_path / "none.wav"
    soundfile.write(path, np.zeros(0), 16_000)
    assert audio_info(path).num_samples == 0
    with pytest.raises(AudioError, match=r"none\.wav has no samples"):
        read_audio(path)


def write_floats(path: Path, *samples: float | list[float]) -> None:
    soundfile.write(path, np.array(samples), 16_000, "FLOAT")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_refused(tmp_path, value):
    path = tmp_path / "bad.wav"
    write_floats(path, 0.1, 0.2, value, 0.3, value, 0.4)
    expected = r"bad\.wav has samples that are NaN or infinite: 2 of 6 read, the first at 2 "
    with pytest.raises(AudioError, match=expected):
        read_audio(path)
    with pytest.raises(AudioError, match=r": 1 of 3 read, the first at 4 \(counted from 0\)"):
        read_audio(path, start=3, sample_rate=8000)
    assert read_audio(path, num_samples=2).tolist() == pytest.approx([0.1, 0.2])


def test_only_the_channel_that_is_read_must_be_numbers(tmp_path):
    path = tmp_path / "bad.wav"
    write_floats(path, [0.5, np.inf], [0.25, -np.inf])
    assert read_audio(path, channel=0).tolist() == [0.5, 0.25]
    for channel in (1, "mean"):
        with pytest.raises(AudioError, match=r"NaN or infinite: 2 of 2 read, the first at 0"):
            read_audio(path, channel=channel)


def test_average_of_opposite_infinities_is_refused_without_a_warning(tmp_path):
    path = tmp_path / "bad.wav"
    write_floats(path, [np.inf, -np.inf])
    with pytest.raises(AudioError, match="NaN or infinite: 1 of 1"):
        read_audio(path, channel="mean")


def test_file_of_another_rate_than_expected_is_refused(tmp_path, ramp, suffix):
    path = tmp_path / f"ramp{suffix}"
    write_audio(path, ramp, 8000)
    expected = rf"ramp{suffix} has 8000 Hz, and 16000 Hz were expected; .*sample_rate=16000"
    with pytest.raises(AudioError, match=expected):
        read_audio(path, expected_rate=16_000)
    assert len(read_audio(path, expected_rate=8000)) == 1000
    assert len(read_audio(path, expected_rate=8000, sample_rate=16_000)) == 2000


def test_wav_of_unknown_size_from_a_pipe_is_read(tmp_path):
    path = tmp_path / "piped.wav"
    write_audio(path, torch.full((100,), 0.5), 16_000)
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert read_audio(path).tolist() == [0.5] * 100


def test_more_channels_than_expected_are_refused(tmp_path):
    path = tmp_path / "stereo.wav"
    write_audio(path, torch.zeros(2, 5), 16_000)
    with pytest.raises(AudioError, match=r"stereo\.wav has 2 channels, and one was expected"):
        read_audio(path)
    with pytest.raises(AudioError, match=r"stereo\.wav has no channel 2: it has 2"):
        read_audio(path, channel=2)


@pytest.mark.parametrize(
    ("name", "waveform", "reason"),
    [
        ("a.mp3", torch.zeros(5), r"its ending is not one of \.wav, \.flac"),
        ("a.wav", torch.zeros(0), r"its waveform has shape \(0,\)"),
        ("a.wav", torch.zeros(1, 1, 5), r"its waveform has shape \(1, 1, 5\)"),
        (
            "a.wav",
            torch.tensor([0.0, torch.nan]),
            "its waveform has samples that are NaN or infinite",
        ),
        (
            "a.wav",
            torch.tensor([0.0, torch.inf]),
            "its waveform has samples that are NaN or infinite",
        ),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, name, waveform, reason):
    with pytest.raises(AudioError, match=rf"cannot write .*{name}: {reason}"):
        write_audio(tmp_path / name, waveform, 16_000)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(AudioError, match=r"cannot write .*file/a\.wav"):
        write_audio(tmp_path / "file" / "a.wav", torch.zeros(3), 16_000)


# ---- resampling -------------------------------------------------------------------------------


@pytest.mark.parametrize(("from_rate", "to_rate"), [(48_000, 16_000), (8000, 44_100)])
def test_resampled_tone_stays_in_its_place(from_rate, to_rate):
    resampled = resample(tone(1000, from_rate, from_rate), from_rate, to_rate)
    assert resampled.shape == (to_rate,)
    assert (resampled - tone(1000, to_rate, to_rate))[500:-500].abs().max() < 1e-3


def test_what_the_lower_rate_cannot_hold_is_removed():
    resampled = resample(tone(6000, 16_000, 16_000), 16_000, 8000)
    assert resampled[500:-500].abs().max() < 1e-4


def test_equal_rates_change_nothing(ramp):
    assert resample(ramp, 16_000, 16_000) is ramp


def test_leading_axes_are_kept():
    batch = torch.stack([tone(100, 1600, 16_000), tone(200, 1600, 16_000)]).reshape(2, 1, -1)
    resampled = resample(batch, 16_000, 8000)
    assert resampled.shape == (2, 1, 800)
    assert torch.equal(resampled[1, 0], resample(batch[1, 0], 16_000, 8000))


@pytest.mark.parametrize(
    ("waveform", "rates", "reason"),
    [
        (torch.zeros(5), (0, 8000), "not positive"),
        (torch.zeros(5), (8000, -1), "not positive"),
        (torch.zeros(2, 0), (16_000, 8000), r"\(2, 0\): no samples"),
    ],
)
def test_senseless_resampling_is_refused(waveform, rates, reason):
    with pytest.raises(AudioError, match=reason):
        resample(waveform, *rates)


# ---- finding ----------------------------------------------------------------------------------


def test_audio_is_found_in_one_order_through_links_and_without_hidden_files(tmp_path):
    names = ["b.wav", "a.FLAC", "sub/c.flac", "sub/deep/d.WAV", "a/z.wav"]
    for name in [*names, "notes.txt", ".hidden.wav", ".cache/e.wav"]:
        (tmp_path / "x" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x" / name).touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "linked.wav").touch()
    (tmp_path / "x" / "corpus").symlink_to(tmp_path / "elsewhere")
    found = [path.relative_to(tmp_path / "x").as_posix() for path in find_audio(tmp_path / "x")]
    assert found == [
        "a/z.wav",
        "a.FLAC",
        "b.wav",
        "corpus/linked.wav",
        "sub/c.flac",
        "sub/deep/d.WAV",
    ]


def test_folder_without_audio_has_none(tmp_path):
    assert find_audio(tmp_path) == []


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(AudioError, match="gone: there is no such folder"):
        find_audio(tmp_path / "gone")
