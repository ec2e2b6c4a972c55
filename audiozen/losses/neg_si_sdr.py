"""Negative scale-invariant signal-to-distortion ratio."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audiozen.acoustics import is_silent, si_sdr


def neg_si_sdr(estimate: Tensor, reference: Tensor) -> Tensor:
    """Negative SI-SDR in dB, averaged over all signals. Lower is better.

    A signal with a silent reference has no SI-SDR: it contributes 0 to the mean, without gradient,
    and is counted (so that micro-batches of equal size average to the mean of their union). A
    silent estimate of a reference that is not contributes the highest value (69 dB in float32),
    without gradient. NaN stays NaN. The level of the estimate is not controlled.

    Args:
        estimate: shape ``(..., time)``.
        reference: same shape.

    Returns:
        Scalar, in dB.

    Raises:
        ShapeError: the shapes differ, or there is no sample.

    Source: Le Roux et al., "SDR - half-baked or well done?", ICASSP 2019.

    >>> clean = torch.tensor([1.0, -1.0, 1.0, -1.0])
    >>> noise = torch.tensor([1.0, 1.0, -1.0, -1.0])
    >>> print(f"{neg_si_sdr(clean + 0.1 * noise, clean):.1f} dB")
    -20.0 dB
    """
    return neg_si_sdr_per_signal(estimate, reference).mean()


def neg_si_sdr_per_signal(estimate: Tensor, reference: Tensor) -> Tensor:
    """Negative SI-SDR in dB of each signal; :func:`neg_si_sdr` is its mean. Lower is better.

    Args:
        estimate: shape ``(..., time)``.
        reference: same shape.

    Returns:
        Shape ``(...)``, in dB; 0 where the reference is silent.

    Raises:
        ShapeError: the shapes differ, or there is no sample.
    """
    ratio = si_sdr(estimate, reference)
    return -torch.where(is_silent(reference), 0, ratio)


class NegSISDR(nn.Module):
    """:func:`neg_si_sdr` as a module."""

    def forward(self, estimate: Tensor, reference: Tensor) -> Tensor:
        """Scalar, in dB, of two waveforms ``(..., time)``."""
        return neg_si_sdr(estimate, reference)
