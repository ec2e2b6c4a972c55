from __future__ import annotations

import auraloss
import pytest
import torch

from audiozen.errors import RequestError, ShapeError
from audiozen.losses import MultiResolutionSTFT, multi_resolution_stft


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def surrounded(waveform: torch.Tensor) -> torch.Tensor:
    """With zeros at both ends, where the other implementation mirrors and ours does not."""
    return torch.nn.functional.pad(waveform, (1200, 1200))


@pytest.mark.parametrize(("convergence", "log_magnitude"), [(1.0, 1.0), (1.0, 0.0), (0.3, 2.0)])
def test_equals_auraloss(convergence, log_magnitude):
    # 8400 samples are a multiple of all hops: both have the same frames.
    estimate, reference = surrounded(noise(3, 6000)), surrounded(noise(3, 6000, seed=1))
    theirs = auraloss.freq.MultiResolutionSTFTLoss(w_sc=convergence, w_log_mag=log_magnitude)
    expected = float(theirs(estimate[:, None], reference[:, None]))
    ours = multi_resolution_stft(
        estimate, reference, convergence_weight=convergence, log_magnitude_weight=log_magnitude
    )
    assert float(ours) == pytest.approx(expected, rel=1e-5)


def test_equal_signals_have_no_distance():
    assert float(multi_resolution_stft(noise(2, 3000), noise(2, 3000))) == 0


def test_half_the_level_is_half_a_convergence_and_ln_2():
    waveform = 10 * noise(3000)
    one = {"n_ffts": [64], "hop_lengths": [16], "win_lengths": [64]}
    convergence = multi_resolution_stft(waveform / 2, waveform, **one, log_magnitude_weight=0.0)
    distance = multi_resolution_stft(waveform / 2, waveform, **one, convergence_weight=0.0)
    assert float(convergence) == pytest.approx(0.5, rel=1e-6)
    assert float(distance) == pytest.approx(0.6931, rel=1e-3)


def test_resolutions_are_averaged():
    estimate, reference = noise(3000), noise(3000, seed=1)
    grids = [(64, 16, 64), (128, 32, 100)]
    singles = [MultiResolutionSTFT([n], [h], [w])(estimate, reference) for n, h, w in grids]
    both = MultiResolutionSTFT(*zip(*grids))(estimate, reference)
    assert float(both) == pytest.approx(float(sum(singles)) / 2, rel=1e-6)


@pytest.mark.parametrize("length", [1, 50, 2047])
@pytest.mark.parametrize("estimate_level", [0.0, 1e-12, 1.0])
@pytest.mark.parametrize("reference_level", [0.0, 1e-12, 1.0])
def test_gradient_is_finite_on_silence(length, estimate_level, reference_level):
    estimate = (estimate_level * noise(2, length)).requires_grad_()
    loss = multi_resolution_stft(estimate, reference_level * noise(2, length, seed=1))
    loss.backward()
    assert loss.isfinite()
    assert estimate.grad.isfinite().all()


def test_lists_of_different_lengths_are_refused():
    with pytest.raises(RequestError, match="one entry for each resolution, got 2, 3 and 3"):
        MultiResolutionSTFT(n_ffts=[512, 1024])


def test_no_resolution_is_refused():
    with pytest.raises(RequestError, match="got 0, 0 and 0"):
        MultiResolutionSTFT([], [], [])


def test_different_shapes_are_refused():
    with pytest.raises(ShapeError, match="differ"):
        multi_resolution_stft(torch.ones(1, 3000), torch.ones(1, 2999))
