from __future__ import annotations

import numpy as np
import pytest

from audiozen.metrics.third_octaves import NUM_BANDS, envelopes


def tone(frequency: float, length: int = 10000) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(length) / 10000)


@pytest.mark.parametrize("band", range(NUM_BANDS))
def test_tone_is_loudest_in_its_band(band):
    signal = tone(150 * 2 ** (band / 3))
    for envelope in envelopes(signal, signal):
        assert (envelope.argmax(axis=1) == band).all()


@pytest.mark.parametrize(
    ("length", "num_frames"), [(0, 0), (1, 0), (256, 0), (384, 0), (385, 1), (513, 2), (10000, 76)]
)
def test_each_pass_leaves_out_the_frame_that_ends_with_the_signal(length, num_frames):
    signal = np.random.default_rng(0).standard_normal(length)
    assert [e.shape for e in envelopes(signal, signal)] == [(num_frames, NUM_BANDS)] * 2


@pytest.mark.parametrize(("level_db", "is_pause"), [(-39, False), (-41, True)])
def test_what_is_40_db_below_the_loudest_frame_is_a_pause(level_db, is_pause):
    reference = tone(1000, 20480)
    reference[10240:] *= 10 ** (level_db / 20)
    estimate, _ = envelopes(np.ones(20480), reference)
    assert len(estimate) == (79 if is_pause else 157)


def test_pauses_of_the_estimate_stay():
    estimate = tone(1000)
    estimate[3000:] = 0
    enhanced, clean = envelopes(estimate, tone(1000))
    assert len(enhanced) == len(clean) == 76
    assert not enhanced[24:].any()


def test_long_signal_is_as_its_parts():
    signal = np.random.default_rng(0).standard_normal(128 * 1000)
    whole, _ = envelopes(signal, signal)
    part, _ = envelopes(signal[128 * 300 : 128 * 900], signal[128 * 300 : 128 * 900])
    np.testing.assert_allclose(whole[301:890], part[1:590], rtol=1e-9)
