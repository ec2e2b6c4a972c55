from __future__ import annotations

import pytest
import torch

from audiozen.errors import RequestError, ShapeError
from audiozen.losses import CompressedSpectrum, compressed_spectrum


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_equals_its_definition_in_polar_form():
    estimate, reference = noise(2, 1024), noise(2, 1024, seed=1)
    window = torch.hann_window(64, dtype=torch.float64)

    def compressed(waveform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        spec = torch.stft(waveform, 64, 16, window=window, pad_mode="constant", return_complex=True)
        return spec.abs() ** 0.3, torch.polar(spec.abs() ** 0.3, spec.angle())

    (e_mag, e_spec), (r_mag, r_spec) = compressed(estimate), compressed(reference)
    expected = 0.6 * (e_mag - r_mag).square().mean() + 0.4 * (e_spec - r_spec).abs().square().mean()
    ours = CompressedSpectrum(0.3, 0.6, 64, 16).double()(estimate, reference)
    assert float(ours) == pytest.approx(float(expected), rel=1e-6)


def test_equal_signals_have_no_distance():
    assert float(compressed_spectrum(noise(2, 500), noise(2, 500))) == 0


def test_flipped_sign_counts_in_the_complex_part_only():
    waveform = noise(500)
    assert float(compressed_spectrum(-waveform, waveform, magnitude_weight=1.0)) == 0
    # |-x - x|^2 is four times |x|^2.
    flipped = compressed_spectrum(-waveform, waveform, magnitude_weight=0.0)
    silent = compressed_spectrum(0 * waveform, waveform, magnitude_weight=0.0)
    assert float(flipped) == pytest.approx(4 * float(silent), rel=1e-9)


def test_gain_scales_with_the_exponent():
    waveform = noise(500)
    silence = 0 * waveform
    settings = {"exponent": 0.5, "magnitude_weight": 0.0}
    ratio = compressed_spectrum(silence, 4 * waveform, **settings) / compressed_spectrum(
        silence, waveform, **settings
    )
    assert float(ratio) == pytest.approx(4.0, rel=1e-9)


@pytest.mark.parametrize("estimate_level", [0.0, 1e-12, 1.0])
@pytest.mark.parametrize("reference_level", [0.0, 1e-12, 1.0])
def test_gradient_is_finite_on_silence(estimate_level, reference_level):
    estimate = (estimate_level * noise(2, 1000)).float().requires_grad_()
    loss = compressed_spectrum(estimate, (reference_level * noise(2, 1000, seed=1)).float())
    loss.backward()
    assert loss.isfinite()
    assert estimate.grad.isfinite().all()


def test_gradient_is_right():
    loss = CompressedSpectrum(0.3, 0.5, 16, 4).double()
    estimate = noise(40).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, noise(40, seed=1)), [estimate])


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"exponent": 0.0}, r"exponent must be in \(0, 1\], got 0.0"),
        ({"magnitude_weight": 1.5}, r"magnitude_weight must be in \[0, 1\], got 1.5"),
        ({"hop_length": 512}, "leaves gaps"),
    ],
)
def test_settings_out_of_range_are_refused(settings, text):
    with pytest.raises(RequestError, match=text):
        CompressedSpectrum(**settings)


def test_different_shapes_are_refused():
    with pytest.raises(ShapeError, match="differ"):
        compressed_spectrum(torch.ones(1, 600), torch.ones(2, 600))
