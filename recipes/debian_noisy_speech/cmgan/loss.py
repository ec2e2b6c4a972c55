"""What the generator of CMGAN learns from: compressed spectra, waveforms, and the verdict of the discriminator."""

from __future__ import annotations

from torch import Tensor, nn

from audiozen.acoustics import rms
from audiozen.losses import CompressedSpectrum

LEAST_RMS = 1e-6


class GeneratorLoss(nn.Module):
    r"""Distance of enhanced and clean signals, and of the verdicts from 1. Lower is better.

    .. math:: 0.9 \, \overline{(|\hat S|^{0.3} - |S|^{0.3})^2} + 0.1 \, \overline{|\hat S^{0.3} - S^{0.3}|^2}
              + 0.2 \, \overline{|\hat s - s|} + 0.05 \, \overline{(D(\hat s, s) - 1)^2}

    Signals are taken at the level at which the clean one has an rms of 1.

    Args:
        n_fft: length of the Fourier transform, in samples.
        hop_length: from one frame to the next, in samples.
        win_length: length of the window, in samples.

    Source: Cao, Abdulatif and Yang, "CMGAN: Conformer-based metric GAN for speech enhancement", Interspeech 2022; the
    weights are those of the authors' code.
    """

    def __init__(self, n_fft: int = 400, hop_length: int = 100, win_length: int = 400) -> None:
        super().__init__()
        self.spectra = CompressedSpectrum(
            exponent=0.3,
            magnitude_weight=0.9,
            n_fft=n_fft,
            hop_length=hop_length,
            win_length=win_length,
            window="hamming",
        )

    def forward(self, verdicts: Tensor, enhanced: Tensor, clean: Tensor) -> Tensor:
        """Scalar.

        Args:
            verdicts: of the discriminator, shape ``(batch,)``.
            enhanced: shape ``(batch, time)``.
            clean: same shape.
        """
        level = rms(clean).clamp(min=LEAST_RMS)[:, None]
        estimate, reference = enhanced / level, clean / level
        distance = self.spectra(estimate, reference) + 0.2 * (estimate - reference).abs().mean()
        return distance + 0.05 * (verdicts - 1).square().mean()
