from __future__ import annotations

import math
import warnings

import numpy as np
import pystoi
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiozen.errors import MetricError
from audiozen.metrics import estoi, stoi

from .conftest import mixed, synthetic_speech

RATES = [8000, 10000, 16000, 22050, 44100, 48000]
SPEECH = synthetic_speech(3.0, seed=1)


def both(estimate, reference, sample_rate=16000):
    values = [metric(estimate, reference, sample_rate=sample_rate) for metric in (stoi, estoi)]
    return [value.item() for value in values]


def of_the_package(estimate, reference, sample_rate=16000):
    """NaN where the package warns that there are too few frames, and returns 1e-5."""
    np.random.seed(0)  # pystoi adds tiny random numbers to tell silence from none
    try:
        return [
            pystoi.stoi(reference, estimate, sample_rate, extended=extended)
            for extended in (False, True)
        ]
    except RuntimeWarning as warning:
        if "Not enough STFT frames" not in str(warning):
            raise
        return [math.nan, math.nan]


def assert_equal_to_the_package(estimate, reference, sample_rate=16000):
    expected = of_the_package(estimate, reference, sample_rate)
    found = both(estimate, reference, sample_rate)
    assert found == pytest.approx(expected, abs=1e-8, nan_ok=True)


@pytest.mark.parametrize("sample_rate", RATES)
def test_equals_the_package_at_any_rate(pair, sample_rate):
    assert_equal_to_the_package(*pair, sample_rate)


def test_equals_the_package_for_recordings(rainy, near_train):
    assert_equal_to_the_package(*rainy)
    assert_equal_to_the_package(*near_train)


@settings(max_examples=30, deadline=None)
@given(
    seconds=st.floats(1.0, 2.5),
    snr_db=st.floats(-30, 60),
    sample_rate=st.sampled_from(RATES),
    seed=st.integers(0, 99),
)
def test_equals_the_package_for_any_length_and_noise(seconds, snr_db, sample_rate, seed):
    length = int(seconds * sample_rate)
    noise = np.random.default_rng(seed).standard_normal(length)
    assert_equal_to_the_package(*mixed(np.resize(SPEECH, length), noise, snr_db), sample_rate)


@settings(max_examples=20, deadline=None)
@given(
    start=st.integers(0, 40000),
    length=st.integers(100, 30000),
    level_db=st.floats(-110, -20),
    where=st.sampled_from(["reference", "estimate", "both"]),
)
def test_equals_the_package_with_pauses_and_ends_that_are_almost_silent(
    start, length, level_db, where
):
    estimate, reference = mixed(SPEECH, np.random.default_rng(0).standard_normal(len(SPEECH)), 10)
    pause = slice(start, start + length)
    gain = 10 ** (level_db / 20)
    if where != "estimate":
        reference[pause] *= gain
    if where != "reference":
        estimate = estimate.copy()
        estimate[pause] *= gain
    assert_equal_to_the_package(estimate, reference)


@pytest.mark.parametrize("metric", [stoi, estoi])
def test_perfect_estimate_has_one(pair, metric):
    assert metric(pair.reference, pair.reference).item() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("gain", [1e-6, 0.5, 1e4])
def test_level_does_not_count(pair, gain):
    expected = pytest.approx(both(*pair), abs=1e-12)
    assert both(gain * pair.estimate, pair.reference) == expected
    assert both(pair.estimate, gain * pair.reference) == expected


def test_long_signal_is_as_the_package_has_it(pair):
    """So many segments that they are computed in several blocks."""
    assert_equal_to_the_package(*(np.tile(signal, 5) for signal in pair))


@pytest.mark.parametrize("length", [2, 200, 500, 4000, 6300])
def test_less_than_30_frames_are_too_short(pair, length):
    short = [signal[3000 : 3000 + length] + 1e-3 * np.arange(length) for signal in pair]
    assert math.isnan(stoi(*short))
    with pytest.raises(MetricError, match=r"needs 30 frames \(0.4 s\)") as raised:
        stoi(*short, strict=True)
    assert raised.value.reason == "too_short"


def test_has_a_value_from_the_length_on_that_the_package_has_one(pair):
    """It returns 1e-5 where it has none."""
    start, lengths = 3000, range(6390, 6620, 10)
    speech = [signal + 1e-2 * np.sin(np.arange(48000)) for signal in pair]
    found, expected = [], []
    for length in lengths:
        part = [signal[start : start + length] for signal in speech]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            expected.append(of_the_package(*part)[0] != 1e-5)
        found.append(not math.isnan(stoi(*part)))
    assert found == expected
    assert {*found} == {False, True}


def test_pauses_do_not_count_as_frames(pair):
    """A third of a second of speech in three seconds of silence."""
    reference = 1e-6 * np.random.default_rng(0).standard_normal(48000)
    reference[3000:8000] = pair.reference[3000:8000]
    with pytest.raises(MetricError) as raised:
        stoi(pair.estimate, reference, strict=True)
    assert raised.value.reason == "too_short"


def test_two_syllables_are_enough(pair):
    assert 0.5 < float(stoi(pair.estimate[:19200], pair.reference[:19200])) < 1


def test_digital_silence_of_the_estimate_is_worth_nothing(pair):
    """The package has random numbers there in ESTOI, which add nothing in the mean."""
    estimate = pair.estimate.copy()
    estimate[16000:40000] = 0
    plain, extended = both(estimate, pair.reference)
    expected = of_the_package(estimate, pair.reference)
    assert plain == pytest.approx(expected[0], abs=1e-8)
    assert extended == pytest.approx(expected[1], abs=5e-3)
    assert plain < 0.7 * both(*pair)[0]


def test_random_numbers_of_others_neither_count_nor_change(pair):
    state = np.random.get_state()[1].copy()
    first = both(*pair)
    assert np.array_equal(state, np.random.get_state()[1])
    np.random.seed(2)
    assert both(*pair) == first
