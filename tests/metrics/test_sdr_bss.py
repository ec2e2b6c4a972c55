from __future__ import annotations

import fast_bss_eval
import numpy as np
import pytest
import torch
from torchmetrics.functional.audio import signal_distortion_ratio

from audiozen.metrics import sdr_bss
from audiozen.metrics.sdr_bss import _solve_toeplitz


def half_band(signal: np.ndarray) -> np.ndarray:
    """Without anything above 4 kHz, as speech that was recorded at 8 kHz."""
    spectrum = np.fft.rfft(signal)
    spectrum[len(spectrum) // 2 :] = 0
    return np.fft.irfft(spectrum, len(signal))


@pytest.mark.parametrize(
    ("name", "of_mir_eval"),  # mir_eval 0.8.2, separation.bss_eval_sources
    [("pair", 10.021863097), ("rainy", 0.119272761), ("near_train", 15.091799796)],
)
def test_equals_other_packages(request, name, of_mir_eval):
    estimate, reference = request.getfixturevalue(name)
    value = sdr_bss(estimate, reference).item()
    assert value == pytest.approx(of_mir_eval, abs=1e-8)
    theirs = fast_bss_eval.sdr(reference[None], estimate[None], filter_length=512)
    assert value == pytest.approx(theirs.item(), abs=1e-8)
    theirs = signal_distortion_ratio(torch.from_numpy(estimate), torch.from_numpy(reference))
    assert value == pytest.approx(theirs.item(), abs=1e-8)


def test_equals_a_least_squares_fit():
    """The definition, with a matrix of all delays."""
    rng = np.random.default_rng(0)
    reference = rng.standard_normal(700)
    estimate = 0.3 * reference + rng.standard_normal(700)
    delays = np.zeros((700 + 511, 512))
    for delay in range(512):
        delays[delay : delay + 700, delay] = reference
    padded = np.pad(estimate, (0, 511))
    target = delays @ np.linalg.lstsq(delays, padded, rcond=None)[0]
    expected = 10 * np.log10(np.sum(target**2) / np.sum((padded - target) ** 2))
    assert sdr_bss(estimate, reference).item() == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("gain", [0.1, -1.0, 1e-8])
def test_level_and_sign_do_not_count(pair, gain):
    assert sdr_bss(gain * pair.estimate, gain * pair.reference).item() == pytest.approx(
        sdr_bss(*pair).item(), abs=1e-8
    )
    assert sdr_bss(gain * pair.estimate, pair.reference).item() == pytest.approx(
        sdr_bss(*pair).item(), abs=1e-8
    )


def test_delays_and_filters_of_the_estimate_do_not_count(pair):
    late = np.concatenate([np.zeros(200), pair.estimate[:-200]])
    assert sdr_bss(late, pair.reference).item() == pytest.approx(sdr_bss(*pair).item(), abs=0.1)
    early = np.concatenate([pair.estimate[200:], np.zeros(200)])
    assert sdr_bss(early, pair.reference).item() < 2
    low_pass = np.hanning(100)
    assert sdr_bss(np.convolve(pair.reference, low_pass)[:48000], pair.reference).item() > 60


def test_perfect_estimate_stays_finite(pair):
    for estimate in (pair.reference, -3 * pair.reference):
        assert sdr_bss(estimate, pair.reference).item() == pytest.approx(156.5, abs=0.1)


def test_reference_with_empty_bands_equals_the_package(pair):
    """Its system of equations has no unique solution to working precision."""
    reference = half_band(pair.reference)
    estimate = reference + 1e-3 * np.random.default_rng(0).standard_normal(48000)
    theirs = fast_bss_eval.sdr(reference[None], estimate[None], filter_length=512)
    assert sdr_bss(estimate, reference).item() == pytest.approx(theirs.item(), abs=1e-4)


def test_pure_tone_is_scored():
    tone = np.sin(0.1 * np.arange(16000))
    noise = np.random.default_rng(0).standard_normal(16000)
    assert sdr_bss(tone + 0.01 * noise, tone).item() == pytest.approx(37.0, abs=0.3)


def test_singular_system_has_the_smallest_solution():
    """All equations are the same: the sum is 3."""
    np.testing.assert_allclose(_solve_toeplitz(np.ones(3), np.full(3, 3.0)), np.ones(3))
