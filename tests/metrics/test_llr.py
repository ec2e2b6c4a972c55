from __future__ import annotations

import math

import numpy as np
import pytest

from audiozen.errors import MetricError
from audiozen.metrics import llr
from audiozen.metrics.llr import _autocorrelation, _frame_ratios, _prediction_error, _predictor


@pytest.mark.parametrize(
    ("name", "step", "expected"),  # pysepm-evo 0.1.1, llr(used_for_composite=True)
    [
        ("pair", 1, 1.129224811),
        ("pair", 2, 0.419700976),
        ("rainy", 1, 1.932801425),
        ("rainy", 2, 1.578575185),
        ("near_train", 1, 0.070054552),
        ("near_train", 2, 0.078333073),
    ],
)
def test_equals_the_package(request, name, step, expected):
    """At 16 kHz, and every other sample at 8 kHz."""
    estimate, reference = (signal[::step] for signal in request.getfixturevalue(name))
    value = llr(estimate, reference, sample_rate=16000 // step).item()
    assert value == pytest.approx(expected, abs=1e-8)


def test_predictors_solve_the_normal_equations():
    frames = np.random.default_rng(0).standard_normal((3, 480)).cumsum(axis=-1)
    correlation = _autocorrelation(frames, 16)
    direct = [[frame[: 480 - lag] @ frame[lag:] for lag in range(17)] for frame in frames]
    np.testing.assert_allclose(correlation, direct, rtol=1e-9)
    filters = _predictor(correlation)
    lags = np.arange(16)
    for lag_values, coefficients in zip(correlation, filters):
        matrix = lag_values[np.abs(lags[:, None] - lags)]
        expected = -np.linalg.solve(matrix, lag_values[1:])
        np.testing.assert_allclose(coefficients, [1, *expected], rtol=1e-6)
    # The error filter leaves what filtering leaves.
    [energy] = _prediction_error(filters[:1], correlation[:1])
    assert energy == pytest.approx(np.sum(np.convolve(frames[0], filters[0]) ** 2))


def test_same_spectrum_has_no_distance(pair):
    assert llr(pair.reference, pair.reference).item() == 0.0
    assert llr(-0.01 * pair.reference, pair.reference).item() == pytest.approx(0, abs=1e-9)


def test_level_does_not_count(pair):
    assert llr(1e-6 * pair.estimate, 1e-3 * pair.reference).item() == pytest.approx(
        llr(*pair).item(), abs=1e-9
    )


def test_silent_frames_of_the_reference_do_not_count(pair):
    """Less than 5 % of the frames, and half of them."""
    reference = pair.reference.copy()
    for silent in (1000, 24000):
        reference[-silent:] = 0
        value = llr(pair.estimate, reference).item()
        assert value == pytest.approx(llr(*pair).item(), rel=0.2)


def test_silent_frames_of_the_estimate_count_as_flat(pair):
    """Nothing is predicted; so the distance is what the reference would have gained."""
    estimate = pair.estimate.copy()
    estimate[24000:] = 0
    assert llr(*pair).item() < llr(estimate, pair.reference).item() < 3


def test_frames_that_are_predicted_to_the_last_digit_have_a_large_finite_distance():
    time = np.arange(480)
    bumps = np.stack([np.exp(-(((time - 240) / width) ** 2)) for width in (20, 40, 80)])
    correlation = _autocorrelation(bumps, 16)
    left = _prediction_error(_predictor(correlation), correlation) / correlation[:, 0]
    assert left.max() < 1e-8
    noise = np.random.default_rng(0).standard_normal((3, 480))
    ratios = _frame_ratios(noise, bumps, 16)
    assert ((ratios > 20) & (ratios < 40)).all()


def test_reference_that_is_silent_but_for_its_end_is_undefined(pair):
    reference = np.zeros_like(pair.reference)
    reference[-50:] = 0.1
    assert math.isnan(llr(pair.estimate, reference))
    with pytest.raises(MetricError, match="silent in all whole frames") as raised:
        llr(pair.estimate, reference, strict=True)
    assert raised.value.reason == "silent_reference"
