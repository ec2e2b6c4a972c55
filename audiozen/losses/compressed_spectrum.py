"""Distance of spectra whose magnitudes are compressed by a power, as loudness is."""

from __future__ import annotations

from torch import Tensor, nn

from audiozen.acoustics import STFT
from audiozen.acoustics.sdr import check_same_shape
from audiozen.acoustics.stft import WindowName  # noqa: TC001 - checked at run time
from audiozen.errors import RequestError

# Power below which a bin counts as empty: the root has no finite slope at zero.
_LEAST_POWER = 1e-12


def compressed_spectrum(
    estimate: Tensor,
    reference: Tensor,
    *,
    exponent: float = 0.3,
    magnitude_weight: float = 0.7,
    n_fft: int = 512,
    hop_length: int = 256,
    win_length: int | None = None,
    window: WindowName = "hann",
) -> Tensor:
    """:class:`CompressedSpectrum` as a function; a module keeps its window from call to call."""
    loss = CompressedSpectrum(exponent, magnitude_weight, n_fft, hop_length, win_length, window)
    value: Tensor = loss.to(estimate.device)(estimate, reference)
    return value


class CompressedSpectrum(nn.Module):
    r"""Mean squared distance of compressed spectra, of magnitudes and of complex values. Lower is
    better.

    .. math:: w \, \overline{(|\hat S|^c - |S|^c)^2} + (1 - w) \, \overline{|\hat S^c - S^c|^2},
              \quad S^c = |S|^c e^{j \angle S}

    The means are over all signals, frequencies and frames. The value depends on the level:
    waveforms are expected in ``[-1, 1]``. Magnitudes under 1e-6 count as zero, which keeps the
    gradient finite where the estimate is silent.

    Args:
        exponent: :math:`c`, in ``(0, 1]``.
        magnitude_weight: :math:`w`, in ``[0, 1]``.
        n_fft: length of the Fourier transform, in samples.
        hop_length: from one frame to the next, in samples.
        win_length: length of the window, in samples. ``None``: ``n_fft``.
        window: ``"hann"``, ``"sqrt_hann"`` or ``"hamming"``.

    Raises:
        RequestError: a setting is outside of its range.

    Source: Ephrat et al., "Looking to listen at the cocktail party", TOG 2018 (the exponent); Braun
    and Tashev, "A consolidated view of loss functions for supervised deep learning-based speech
    enhancement", TSP 2021 (the sum).
    """

    def __init__(
        self,
        exponent: float = 0.3,
        magnitude_weight: float = 0.7,
        n_fft: int = 512,
        hop_length: int = 256,
        win_length: int | None = None,
        window: WindowName = "hann",
    ) -> None:
        super().__init__()
        if not 0 < exponent <= 1:
            raise RequestError(f"exponent must be in (0, 1], got {exponent}")
        if not 0 <= magnitude_weight <= 1:
            raise RequestError(f"magnitude_weight must be in [0, 1], got {magnitude_weight}")
        self.exponent = exponent
        self.magnitude_weight = magnitude_weight
        self.stft = STFT(n_fft, hop_length, win_length, window)

    def forward(self, estimate: Tensor, reference: Tensor) -> Tensor:
        """Distance of two waveforms.

        Args:
            estimate: shape ``(..., time)``.
            reference: same shape.

        Returns:
            Scalar, at least 0.

        Raises:
            ShapeError: the shapes differ, or there is no sample.
        """
        check_same_shape(estimate, reference)
        estimate_magnitude, estimate_spec = self._compress(estimate)
        reference_magnitude, reference_spec = self._compress(reference)
        magnitude = (estimate_magnitude - reference_magnitude).square().mean()
        difference = estimate_spec - reference_spec
        complex_ = (difference.real.square() + difference.imag.square()).mean()
        return self.magnitude_weight * magnitude + (1 - self.magnitude_weight) * complex_

    def _compress(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        spec = self.stft(waveform)
        power = (spec.real.square() + spec.imag.square()).clamp(min=_LEAST_POWER)
        return power ** (self.exponent / 2), spec * power ** ((self.exponent - 1) / 2)
