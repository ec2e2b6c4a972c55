"""Distance of magnitude spectra at several resolutions."""

from __future__ import annotations

from collections.abc import Sequence  # noqa: TC003 - checked at run time

import torch
from torch import Tensor, nn

from audiozen.acoustics import STFT
from audiozen.acoustics.sdr import check_same_shape
from audiozen.acoustics.stft import WindowName  # noqa: TC001 - checked at run time
from audiozen.errors import RequestError

# The logarithm and the root have no finite slope at zero.
_LEAST_POWER = 1e-8


def multi_resolution_stft(
    estimate: Tensor,
    reference: Tensor,
    *,
    n_ffts: Sequence[int] = (1024, 2048, 512),
    hop_lengths: Sequence[int] = (120, 240, 50),
    win_lengths: Sequence[int] = (600, 1200, 240),
    convergence_weight: float = 1.0,
    log_magnitude_weight: float = 1.0,
    window: WindowName = "hann",
) -> Tensor:
    """:class:`MultiResolutionSTFT` as a function; a module keeps its windows from call to call."""
    loss = MultiResolutionSTFT(
        n_ffts, hop_lengths, win_lengths, convergence_weight, log_magnitude_weight, window
    )
    value: Tensor = loss.to(estimate.device)(estimate, reference)
    return value


class MultiResolutionSTFT(nn.Module):
    r"""Spectral convergence plus log-magnitude distance, averaged over resolutions. Lower is
    better.

    .. math:: \overline{\frac{\| |S| - |\hat S| \|_F}{\| |S| \|_F}} +
              \overline{| \ln |S| - \ln |\hat S| |}

    The convergence is averaged over signals, the distance over signals, frequencies and frames.
    Magnitudes are at least 1e-4, so a silent reference has a finite, though large, convergence.
    Phase does not count.

    Args:
        n_ffts: length of the Fourier transform of each resolution, in samples.
        hop_lengths: from one frame to the next, in samples, for each resolution.
        win_lengths: length of the window, in samples, for each resolution.
        convergence_weight: factor of the first term.
        log_magnitude_weight: factor of the second term.
        window: ``"hann"``, ``"sqrt_hann"`` or ``"hamming"``.

    Raises:
        RequestError: the three lists differ in length or are empty, or lengths do not fit together.

    Source: Yamamoto et al., "Parallel WaveGAN", ICASSP 2020, eq. 4 to 6. The ends of the signal are
    surrounded by zeros here, where the usual implementation mirrors them.
    """

    def __init__(
        self,
        n_ffts: Sequence[int] = (1024, 2048, 512),
        hop_lengths: Sequence[int] = (120, 240, 50),
        win_lengths: Sequence[int] = (600, 1200, 240),
        convergence_weight: float = 1.0,
        log_magnitude_weight: float = 1.0,
        window: WindowName = "hann",
    ) -> None:
        super().__init__()
        if not len(n_ffts) == len(hop_lengths) == len(win_lengths) > 0:
            raise RequestError(
                "n_ffts, hop_lengths and win_lengths need one entry for each resolution, got "
                f"{len(n_ffts)}, {len(hop_lengths)} and {len(win_lengths)}"
            )
        self.convergence_weight = convergence_weight
        self.log_magnitude_weight = log_magnitude_weight
        self.stfts = nn.ModuleList(
            STFT(n_fft, hop_length, win_length, window)
            for n_fft, hop_length, win_length in zip(n_ffts, hop_lengths, win_lengths)
        )

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
        distances = [
            self._distance(_magnitude(stft(estimate)), _magnitude(stft(reference)))
            for stft in self.stfts
        ]
        return torch.stack(distances).mean()

    def _distance(self, estimate: Tensor, reference: Tensor) -> Tensor:
        convergence = (_norm(reference - estimate) / _norm(reference)).mean()
        log_magnitude = (reference.log() - estimate.log()).abs().mean()
        return self.convergence_weight * convergence + self.log_magnitude_weight * log_magnitude


def _magnitude(spec: Tensor) -> Tensor:
    return (spec.real.square() + spec.imag.square()).clamp(min=_LEAST_POWER).sqrt()


def _norm(magnitude: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.matrix_norm(magnitude)
    return norm
