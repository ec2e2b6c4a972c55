from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.audio import (
    scale_invariant_signal_noise_ratio,
    signal_noise_ratio,
)

from audiozen.errors import MetricError, ShapeError
from audiozen.metrics import si_sdr, snr


def test_equals_torchmetrics(pair):
    estimate, reference = map(torch.from_numpy, pair)
    theirs = scale_invariant_signal_noise_ratio(estimate, reference)
    assert si_sdr(*pair).item() == pytest.approx(float(theirs), abs=1e-9)
    theirs = signal_noise_ratio(estimate, reference)
    assert snr(*pair).item() == pytest.approx(float(theirs), abs=1e-9)
    assert snr(*pair).item() == pytest.approx(10.0, abs=1e-6)


def test_level_of_both_does_not_count(pair):
    for gain in (1e-2, 1e-4, 1e-8):
        scaled = si_sdr(gain * pair.estimate, gain * pair.reference)
        assert scaled.item() == pytest.approx(si_sdr(*pair).item(), abs=1e-9)


@pytest.mark.parametrize("gain", [0.1, -1.0, 1e-8])
def test_si_sdr_ignores_level_and_sign(pair, gain):
    assert si_sdr(gain * pair.estimate, pair.reference).item() == pytest.approx(
        si_sdr(*pair).item(), abs=1e-9
    )
    assert snr(gain * pair.estimate, pair.reference).item() < snr(*pair).item() - 5


@pytest.mark.parametrize("offsets", [(0.5, 0.0), (0.5, 0.5)])
def test_si_sdr_ignores_a_constant(pair, offsets):
    shifted = si_sdr(pair.estimate + offsets[0], pair.reference + offsets[1])
    assert shifted.item() == pytest.approx(si_sdr(*pair).item(), abs=1e-9)


def test_perfect_estimate_stays_finite(pair):
    assert si_sdr(pair.reference, pair.reference).item() > 150
    assert snr(pair.reference, pair.reference).item() == pytest.approx(156.5, abs=0.1)


def test_delay_of_one_sample_counts(pair):
    assert si_sdr(np.roll(pair.estimate, 1), pair.reference).item() < si_sdr(*pair).item()


@pytest.mark.parametrize("function", [si_sdr, snr])
def test_silent_estimate_is_undefined_and_does_not_win(pair, function):
    silence = np.zeros_like(pair.reference)
    assert math.isnan(function(silence, pair.reference))
    with pytest.raises(MetricError, match="estimate is silent") as raised:
        function(silence, pair.reference, strict=True)
    assert raised.value.reason == "silent_estimate"


@pytest.mark.parametrize("function", [si_sdr, snr])
def test_half_precision_is_scored_in_double_precision(pair, function):
    half = [torch.from_numpy(signal).half() for signal in pair]
    value = function(*half)
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx(function(*(x.double() for x in half)).item(), abs=1e-12)


def test_other_length_is_refused_whether_strict_or_not(pair):
    for strict in (False, True):
        with pytest.raises(ShapeError, match=r"estimate \(47900,\) and reference \(48000,\)"):
            si_sdr(pair.estimate[:-100], pair.reference, strict=strict)
