from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pystoi.utils import resample_oct

from audiozen.metrics.polyphase import resample

RATES = [8000, 10000, 11025, 16000, 22050, 44100, 48000, 96000]


def noise(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(length)


@pytest.mark.parametrize("rate", [*RATES, 12345, 16001])
@pytest.mark.parametrize("length", [1, 100, 9999])
def test_equals_the_reference_at_any_rate_and_length(rate, length):
    expected = resample_oct(noise(length), 10000, rate)
    np.testing.assert_allclose(resample(noise(length), rate, 10000), expected, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5000), st.sampled_from(RATES), st.sampled_from(RATES), st.integers(0, 9))
def test_equals_the_reference_between_any_two_rates(length, rate, new_rate, seed):
    signal = noise(length, seed)
    expected = resample_oct(signal, new_rate, rate) if rate != new_rate else signal
    np.testing.assert_allclose(resample(signal, rate, new_rate), expected, atol=1e-12)


def test_tone_below_the_band_edge_stays_and_one_above_it_goes():
    time = np.arange(16000) / 16000
    kept = resample(np.sin(2 * np.pi * 1000 * time), 16000, 10000)
    expected = np.sin(2 * np.pi * 1000 * np.arange(10000) / 10000)
    assert np.abs(kept - expected)[200:-200].max() < 1e-3
    assert np.abs(resample(np.sin(2 * np.pi * 6000 * time), 16000, 10000))[200:-200].max() < 2e-3


def test_digital_silence_stays_so():
    signal = noise(16000)
    signal[4000:12000] = 0
    assert not resample(signal, 16000, 10000)[2600:7400].any()


def test_same_rate_changes_nothing():
    assert resample(signal := noise(100), 10000, 10000) is signal
