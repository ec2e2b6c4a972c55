from __future__ import annotations

import math

import fast_bss_eval
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.audio import (
    scale_invariant_signal_distortion_ratio,
    signal_noise_ratio,
)

from audiozen.acoustics import si_sdr, snr
from audiozen.errors import ShapeError


def pair(seed: int = 0, *, dtype: torch.dtype = torch.float64, snr_db: float = 5.0):
    generator = torch.Generator().manual_seed(seed)
    reference, noise = torch.randn(2, 4000, generator=generator, dtype=torch.float64)
    estimate = reference + noise * 10 ** (-snr_db / 20)
    return estimate.to(dtype), reference.to(dtype)


@given(st.integers(0, 10_000), st.floats(-20, 40))
def test_equal_to_other_implementations(seed, snr_db):
    estimate, reference = pair(seed, snr_db=snr_db)
    ours = float(si_sdr(estimate, reference))
    theirs = scale_invariant_signal_distortion_ratio(estimate, reference, zero_mean=True)
    assert ours == pytest.approx(float(theirs), abs=1e-9)
    bss = fast_bss_eval.si_sdr(
        reference.numpy()[None], estimate.numpy()[None], zero_mean=True, clamp_db=100
    )
    assert ours == pytest.approx(float(np.squeeze(bss)), abs=1e-6)
    assert float(snr(estimate, reference)) == pytest.approx(
        float(signal_noise_ratio(estimate, reference)), abs=1e-9
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(
    estimate_scale=st.floats(1e-30, 1e20),
    reference_scale=st.floats(1e-30, 1e20),
    sign=st.sampled_from([-1, 1]),
)
def test_si_sdr_is_the_same_at_any_level(dtype, estimate_scale, reference_scale, sign):
    estimate, reference = pair(dtype=dtype)
    value = si_sdr(sign * estimate_scale * estimate, reference_scale * reference)
    assert float(value) == pytest.approx(float(si_sdr(estimate, reference)), abs=1e-3)


@pytest.mark.parametrize("offsets", [(0.5, 0.0), (0.0, 0.5), (0.5, 0.5), (-3.0, 1.0)])
def test_si_sdr_does_not_see_a_constant(offsets):
    estimate, reference = pair()
    shifted = si_sdr(estimate + offsets[0], reference + offsets[1])
    assert float(shifted) == pytest.approx(float(si_sdr(estimate, reference)), abs=1e-9)


def test_snr_sees_level_sign_and_constant():
    estimate, reference = pair(snr_db=20)
    assert float(snr(reference / 2, reference)) == pytest.approx(6.0206, abs=1e-4)
    assert float(snr(-estimate, reference)) == pytest.approx(-6.0, abs=0.2)
    assert float(snr(reference + 1, reference)) == pytest.approx(0, abs=0.2)


@pytest.mark.parametrize(("dtype", "best"), [(torch.float32, 69.24), (torch.float64, 156.54)])
@pytest.mark.parametrize("function", [si_sdr, snr])
def test_perfect_estimate_has_the_precision_of_the_dtype(function, dtype, best):
    _, reference = pair(dtype=dtype)
    assert float(function(reference, reference)) == pytest.approx(best, abs=2.0)


def test_orthogonal_estimate_has_the_lowest_value():
    reference = torch.tensor([1.0, -1.0, 1.0, -1.0])
    orthogonal = torch.tensor([1.0, 1.0, -1.0, -1.0])
    assert float(si_sdr(orthogonal, reference)) == pytest.approx(-69.24, abs=0.01)


def test_silent_estimate_is_worst_in_si_sdr():
    _, reference = pair(dtype=torch.float32)
    assert float(si_sdr(torch.zeros(4000), reference)) == pytest.approx(-69.24, abs=0.01)
    assert float(snr(torch.zeros(4000), reference)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("function", [si_sdr, snr])
@pytest.mark.parametrize("constant", [0.0, 0.1])
def test_silent_reference_has_no_value(function, constant):
    estimate, _ = pair()
    assert math.isnan(function(estimate, torch.full((4000,), constant, dtype=torch.float64)))


@pytest.mark.parametrize("function", [si_sdr, snr])
def test_leading_axes_are_kept(function):
    estimate, reference = pair()
    values = function(estimate.reshape(2, 4, 500), reference.reshape(2, 4, 500))
    assert values.shape == (2, 4)
    expected = function(estimate[500:1000], reference[500:1000])
    assert float(values[0, 1]) == pytest.approx(float(expected))


@pytest.mark.parametrize("function", [si_sdr, snr])
def test_gradient_is_right(function):
    generator = torch.Generator().manual_seed(0)
    estimate, reference = torch.randn(2, 3, 7, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(function, [estimate.requires_grad_(), reference])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    estimate, reference = pair(dtype=dtype)
    assert si_sdr(estimate, reference).dtype == torch.float32
    assert float(si_sdr(estimate, reference)) == pytest.approx(5.0, abs=0.2)


@pytest.mark.parametrize("function", [si_sdr, snr])
def test_shapes_that_broadcast_are_refused(function):
    with pytest.raises(ShapeError, match=r"\(1, 100\) and reference \(2, 100\) differ"):
        function(torch.ones(1, 100), torch.ones(2, 100))


def test_no_samples_are_refused():
    with pytest.raises(ShapeError, match="no samples"):
        si_sdr(torch.ones(2, 0), torch.ones(2, 0))
