from __future__ import annotations

import numpy as np
import pytest

from audiozen.errors import MetricError
from audiozen.metrics import framed
from audiozen.metrics.framed import mean_of_best, n_fft, per_frame, power_spectra


def both(estimate, reference):
    return np.stack([estimate, reference], axis=1)


def test_frames_are_windowed_and_7_5_ms_apart():
    first, second = np.random.default_rng(0).standard_normal((2, 1000))
    frames = per_frame(both, first, second, 16000)
    # hann(480) of MATLAB, which has no zeros at its ends
    window = np.hanning(482)[1:-1]
    assert frames.shape == (4, 2, 480)
    np.testing.assert_allclose(frames[3], [window * first[360:840], window * second[360:840]])


@pytest.mark.parametrize(
    ("length", "sample_rate", "num_frames"),
    [(600, 16000, 1), (719, 16000, 1), (720, 16000, 2), (300, 8000, 1), (1653, 44100, 1)],
)
def test_last_frame_is_left_out(length, sample_rate, num_frames):
    signal = np.ones(length)
    assert len(per_frame(both, signal, signal, sample_rate)) == num_frames
    shorter = signal[: round(0.03 * sample_rate) * 5 // 4 - 1]
    with pytest.raises(MetricError, match="two frames of 30 ms") as raised:
        per_frame(both, shorter, shorter, sample_rate)
    assert raised.value.reason == "too_short"


def test_long_signals_are_computed_in_parts(pair, monkeypatch):
    whole = per_frame(both, *pair, 16000)
    sizes = []
    monkeypatch.setattr(framed, "_BLOCK", 100)
    parts = per_frame(lambda *frames: sizes.append(len(frames[0])) or both(*frames), *pair, 16000)
    np.testing.assert_array_equal(parts, whole)
    assert sizes == [100, 100, 100, 96]


@pytest.mark.parametrize(("length", "size"), [(240, 512), (256, 512), (257, 1024), (480, 1024)])
def test_spectra_have_at_least_twice_the_frame(length, size):
    assert n_fft(length) == size
    assert power_spectra(np.ones((2, length))).shape == (2, size // 2 + 1)


def test_worst_twentieth_is_left_out():
    assert mean_of_best(np.arange(100.0)[::-1]) == np.mean(np.arange(95))
    assert mean_of_best(np.array([3.0])) == 3.0


def test_frames_without_a_value_are_the_worst():
    values = np.arange(100.0)
    values[:3] = np.nan
    assert mean_of_best(values) == np.mean(np.arange(3, 98))
    values[:50] = np.nan
    assert mean_of_best(values) == np.mean(np.arange(50, 100))
