from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from audiozen.errors import AudioError
from audiozen.report.sound import (
    FLOOR_DB,
    MAX_SECONDS,
    encode,
    spectrogram_levels,
    spectrogram_png,
    to_int16,
)
from audiozen.tracking.spectrogram import _levels_db

RATE = 16000


def decoded(text: str) -> tuple[np.ndarray, int]:
    return soundfile.read(io.BytesIO(base64.b64decode(text)), dtype="int16")


def write(path, samples, rate=RATE, subtype="PCM_16"):
    soundfile.write(path, samples, rate, subtype)
    return path


def tone(amplitude: float, frequency: float, rate: int = RATE, seconds: float = 1.0) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    return amplitude * np.sin(2 * np.pi * frequency * time)


def test_16_bit_file_comes_back_bit_for_bit(tmp_path):
    samples = np.random.default_rng(0).integers(-32768, 32768, 5000).astype(np.int16)
    (signal,), gain_db = encode({"clean": write(tmp_path / "a.wav", samples)})
    assert gain_db == 0
    restored, rate = decoded(signal.flac)
    assert (rate, restored.tolist()) == (RATE, samples.tolist())


def test_floats_are_rounded_and_plus_one_is_the_greatest_integer():
    samples = np.array([0, 1, -1, 0.4 / 32768, 0.6 / 32768], dtype=np.float32)
    assert to_int16(samples).tolist() == [0, 32767, -32768, 0, 1]


def test_loud_signal_turns_all_down_by_one_gain(tmp_path):
    loud = write(tmp_path / "loud.wav", tone(2.0, 440), subtype="FLOAT")
    quiet = write(tmp_path / "quiet.wav", tone(0.5, 440), subtype="FLOAT")
    (first, second), gain_db = encode({"noisy": loud, "enhanced": quiet})
    assert gain_db == pytest.approx(-6.02, abs=0.01)
    assert np.abs(decoded(first.flac)[0]).max() >= 32766
    assert np.abs(decoded(second.flac)[0]).max() == pytest.approx(8192, abs=2)
    assert (first.peak_dbfs, second.peak_dbfs) == (6.0, -6.0)


def test_long_sound_is_cut(tmp_path):
    path = write(tmp_path / "long.wav", np.zeros(round((MAX_SECONDS + 2) * 8000)), 8000)
    (signal,), _ = encode({"clean": path})
    assert (signal.seconds, signal.full_seconds) == (MAX_SECONDS, MAX_SECONDS + 2)
    assert len(decoded(signal.flac)[0]) == MAX_SECONDS * 8000
    assert signal.rms_dbfs is None


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_stereo_and_other_rates_stay_as_they_are(tmp_path, rate):
    samples = (1000 * np.random.default_rng(0).normal(size=(rate // 4, 2))).astype(np.int16)
    (signal,), _ = encode({"clean": write(tmp_path / "a.wav", samples, rate)})
    restored, restored_rate = decoded(signal.flac)
    assert (signal.num_channels, restored_rate) == (2, rate)
    assert (restored == samples).all()


def test_nan_is_silence_and_counted(tmp_path):
    samples = np.array([0.5, np.nan, np.inf, -0.5] * 100)
    (signal,), gain_db = encode({"clean": write(tmp_path / "a.wav", samples, subtype="FLOAT")})
    assert (signal.num_nonfinite, gain_db) == (200, 0)
    assert decoded(signal.flac)[0][:4].tolist() == [16384, 0, 0, -16384]


def test_file_that_is_no_sound_is_refused(tmp_path):
    (tmp_path / "a.wav").write_text("no sound")
    with pytest.raises(AudioError, match=r"cannot read .*a\.wav"):
        encode({"clean": tmp_path / "a.wav"})


def test_empty_sound_is_refused(tmp_path):
    with pytest.raises(AudioError, match="no samples"):
        encode({"clean": write(tmp_path / "a.wav", np.zeros(0))})


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
@pytest.mark.parametrize("frequency", [500, 3000])
def test_tone_of_amplitude_one_has_0_db_at_its_frequency(rate, frequency):
    levels = spectrogram_levels(tone(1.0, frequency, rate)[:, None], rate)
    spectrum = levels[:, levels.shape[1] // 2]
    peak = spectrum.argmax() / (len(spectrum) - 1) * rate / 2
    assert peak == pytest.approx(frequency, abs=rate / 2 / 250)
    # Between two bins, a Hann window loses 1.4 dB.
    assert spectrum.max() == pytest.approx(0, abs=1.5)


def test_silence_is_at_the_floor():
    assert (spectrogram_levels(np.zeros((RATE, 1)), RATE) == FLOOR_DB).all()


def test_levels_are_those_of_the_pictures_in_tensorboard():
    samples = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)
    expected = _levels_db(torch.from_numpy(samples), 512).numpy()
    np.testing.assert_allclose(spectrogram_levels(samples[:, None], RATE), expected, atol=0.01)


def test_picture_has_low_frequencies_at_the_bottom_and_a_bounded_size():
    png = spectrogram_png(tone(0.9, 1000, seconds=20)[:, None], RATE)
    picture = Image.open(io.BytesIO(png))
    assert (picture.mode, picture.height) == ("P", 257)
    assert picture.width <= 600
    brightness = np.asarray(picture.convert("L"))[:, 300]
    assert brightness.argmax() == pytest.approx(256 * (1 - 1000 / 8000), abs=1)
