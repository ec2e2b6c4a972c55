"""The loss of GTCRN: compressed spectra, and the ratio of signal to distortion."""

from __future__ import annotations

from torch import Tensor, nn

from audiozen.losses import CompressedSpectrum, neg_si_sdr


class HybridLoss(nn.Module):
    r"""Distance of compressed spectra, minus the logarithm of the scale-invariant ratio. Lower is better.

    .. math:: 70 \, \overline{(|\hat S|^{0.3} - |S|^{0.3})^2} + 30 \, \overline{|\hat S^{0.3} - S^{0.3}|^2}
              - \overline{\log_{10} \frac{\|\alpha s\|^2}{\|\alpha s - \hat s\|^2}}

    The spectra are those of the waveforms; the authors take that of the estimate as the model wrote it. The last term
    is a tenth of the negative SI-SDR in dB: -6.9 for equal signals, where the others are 0, and 0 for a silent
    reference.

    Args:
        n_fft: length of the Fourier transform, in samples.
        hop_length: from one frame to the next, in samples.
        win_length: length of the window, in samples.

    Source: Rong et al., "GTCRN: a speech enhancement model requiring ultralow computational resources", ICASSP 2024.
    """

    def __init__(self, n_fft: int = 512, hop_length: int = 256, win_length: int = 512) -> None:
        super().__init__()
        self.spectra = CompressedSpectrum(
            exponent=0.3,
            magnitude_weight=0.7,
            n_fft=n_fft,
            hop_length=hop_length,
            win_length=win_length,
            window="sqrt_hann",
        )

    def forward(self, estimate: Tensor, reference: Tensor) -> Tensor:
        """Scalar, of two waveforms ``(..., time)`` in [-1, 1]."""
        return 100 * self.spectra(estimate, reference) + 0.1 * neg_si_sdr(estimate, reference)
