from __future__ import annotations

import math

import pytest
import torch
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

from audiozen.errors import ShapeError
from audiozen.losses import NegSISDR, neg_si_sdr, neg_si_sdr_per_signal


def batch(size: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    reference, noise = torch.randn(2, size, 800, generator=generator)
    return reference + 0.3 * noise, reference


def test_equals_the_mean_of_another_implementation():
    estimate, reference = batch()
    theirs = scale_invariant_signal_distortion_ratio(estimate, reference, zero_mean=True)
    assert float(neg_si_sdr(estimate, reference)) == pytest.approx(-float(theirs.mean()), abs=1e-4)


def test_module_equals_function():
    estimate, reference = batch()
    assert torch.equal(NegSISDR()(estimate, reference), neg_si_sdr(estimate, reference))


def test_value_of_each_signal_is_that_of_the_signal_alone():
    estimate, reference = batch(4)
    reference[2] = 0
    each = neg_si_sdr_per_signal(estimate.reshape(2, 2, -1), reference.reshape(2, 2, -1))
    alone = torch.stack([neg_si_sdr(*pair) for pair in zip(estimate, reference)])
    torch.testing.assert_close(each, alone.reshape(2, 2))
    assert each[1, 0] == 0


def test_silent_target_contributes_zero_and_is_counted():
    estimate, reference = batch(4)
    reference[2] = 0
    others = neg_si_sdr(estimate[[0, 1, 3]], reference[[0, 1, 3]])
    assert float(neg_si_sdr(estimate, reference)) == pytest.approx(0.75 * float(others), rel=1e-6)


def test_silent_target_has_no_gradient():
    estimate, reference = batch(2)
    reference[0] = 0.1  # a constant is silent, too
    estimate.requires_grad_()
    neg_si_sdr(estimate, reference).backward()
    assert torch.equal(estimate.grad[0], torch.zeros(800))
    assert estimate.grad[1].abs().max() > 0
    assert estimate.grad.isfinite().all()


@pytest.mark.parametrize("level", [0.0, 1e-30, 1e-20, 1e-8])
def test_gradient_is_finite_where_the_estimate_is_nearly_silent(level):
    estimate, reference = batch()
    estimate = (level * estimate).requires_grad_()
    loss = neg_si_sdr(estimate, reference)
    loss.backward()
    assert loss.isfinite()
    assert estimate.grad.isfinite().all()


def test_silence_on_both_sides_is_zero_with_finite_gradient():
    estimate = torch.zeros(2, 100, requires_grad=True)
    loss = neg_si_sdr(estimate, torch.zeros(2, 100))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(estimate.grad, torch.zeros(2, 100))


def test_silence_never_wins():
    _, reference = batch()
    terrible = torch.randn(4, 800, generator=torch.Generator().manual_seed(1))
    assert neg_si_sdr(torch.zeros(4, 800), reference) > neg_si_sdr(terrible, reference)


def test_nan_in_an_estimate_is_not_hidden():
    estimate, reference = batch()
    estimate[1, 5] = math.nan
    assert neg_si_sdr(estimate, reference).isnan()


def test_two_halves_average_to_the_whole():
    estimate, reference = batch(4)
    reference[0] = 0
    halves = [neg_si_sdr(estimate[i : i + 2], reference[i : i + 2]) for i in (0, 2)]
    whole = neg_si_sdr(estimate, reference)
    assert float(whole) == pytest.approx(float(sum(halves)) / 2, rel=1e-6)


def test_descent_along_the_gradient_improves():
    estimate, reference = batch()
    estimate.requires_grad_()
    before = neg_si_sdr(estimate, reference)
    before.backward()
    after = neg_si_sdr((estimate - estimate.grad).detach(), reference)
    assert after < before - 0.01


def test_different_shapes_are_refused():
    with pytest.raises(ShapeError, match=r"\(2, 100\) and reference \(2, 99\) differ"):
        neg_si_sdr(torch.ones(2, 100), torch.ones(2, 99))
