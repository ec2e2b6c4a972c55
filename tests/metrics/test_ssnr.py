from __future__ import annotations

import numpy as np
import pytest

from audiozen.metrics import ssnr


@pytest.mark.parametrize(
    ("name", "sample_rate", "expected"),  # pysepm-evo 0.1.1, SNRseg
    [
        ("pair", 16000, -0.324527375),
        ("pair", 44100, -0.043901221),
        ("rainy", 16000, -2.744146150),
        ("near_train", 16000, 13.563633033),
        ("near_train", 44100, 14.484927367),
    ],
)
def test_equals_the_package(request, name, sample_rate, expected):
    estimate, reference = request.getfixturevalue(name)
    value = ssnr(estimate, reference, sample_rate=sample_rate).item()
    assert value == pytest.approx(expected, abs=1e-7)


def test_known_values():
    signal = np.random.default_rng(0).standard_normal(16000)
    assert ssnr(1.1 * signal, signal).item() == pytest.approx(20.0, abs=1e-9)
    assert ssnr(2 * signal, signal).item() == pytest.approx(0.0, abs=1e-9)


def test_frames_are_held_within_limits(pair):
    assert ssnr(pair.reference, pair.reference).item() == 35.0
    assert ssnr(100 * pair.reference, pair.reference).item() == -10.0


@pytest.mark.parametrize("same", [True, False])
def test_frames_with_a_silent_reference_have_the_lowest_value(same):
    """Half of the signal, whether it is silent in the estimate too or not."""
    signal = np.random.default_rng(0).standard_normal(48000)
    reference = signal.copy()
    reference[24000:] = 0
    value = ssnr(reference if same else signal, reference).item()
    assert value == pytest.approx((35 - 10) / 2, abs=0.5)


def test_last_frame_is_left_out():
    """Two frames of 480 samples have 600; what the second adds does not count."""
    signal = np.random.default_rng(0).standard_normal(600)
    estimate = signal.copy()
    estimate[480:] += 1
    assert ssnr(estimate, signal).item() == 35.0
    estimate[479] += 1e4
    assert ssnr(estimate, signal).item() < 35.0
