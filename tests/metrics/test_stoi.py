from __future__ import annotations

import math

import numpy as np
import pystoi
import pytest

from audiozen.errors import MetricError
from audiozen.metrics import estoi, stoi


def test_equals_the_package(pair):
    plain = pystoi.stoi(pair.reference, pair.estimate, 16000)
    assert stoi(*pair).item() == pytest.approx(plain, abs=1e-12)
    extended = pystoi.stoi(pair.reference, pair.estimate, 16000, extended=True)
    assert estoi(*pair).item() == pytest.approx(extended, abs=1e-9)


def test_perfect_estimate_has_one(pair):
    assert stoi(pair.reference, pair.reference).item() == pytest.approx(1.0, abs=1e-6)
    assert estoi(pair.reference, pair.reference).item() == pytest.approx(1.0, abs=1e-6)


def test_sample_rate_counts(pair):
    assert stoi(*pair, sample_rate=8000).item() == pytest.approx(
        pystoi.stoi(pair.reference, pair.estimate, 8000), abs=1e-12
    )


@pytest.mark.parametrize("length", [2, 200, 500, 4000, 6300])
def test_less_than_30_frames_are_too_short(pair, length):
    short = [signal[3000 : 3000 + length] + 1e-3 * np.arange(length) for signal in pair]
    assert math.isnan(stoi(*short))
    with pytest.raises(MetricError, match=r"needs 30 frames \(0.4 s\)") as raised:
        stoi(*short, strict=True)
    assert raised.value.reason == "too_short"


def test_pauses_do_not_count_as_frames(pair):
    """A third of a second of speech in three seconds of silence."""
    reference = 1e-6 * np.random.default_rng(0).standard_normal(48000)
    reference[3000:8000] = pair.reference[3000:8000]
    with pytest.raises(MetricError) as raised:
        stoi(pair.estimate, reference, strict=True)
    assert raised.value.reason == "too_short"


def test_two_syllables_are_enough(pair):
    assert 0.5 < float(stoi(pair.estimate[:19200], pair.reference[:19200])) < 1


def test_random_numbers_inside_neither_leak_out_nor_come_in(pair):
    """pystoi's random numbers decide where the estimate is digitally silent."""
    estimate = pair.estimate.copy()
    estimate[16000:40000] = 0
    np.random.seed(1)
    state = np.random.get_state()[1].copy()
    first = estoi(estimate, pair.reference)
    assert np.array_equal(state, np.random.get_state()[1])
    np.random.seed(2)
    assert estoi(estimate, pair.reference).item() == first.item()
