"""Ratios of signal to distortion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from audiozen import acoustics
from audiozen.metrics.measure import Measure, Samples, Signal, evaluate

if TYPE_CHECKING:
    from torch import Tensor

_ANY_RATE = 1


def si_sdr(estimate: Signal, reference: Signal, *, strict: bool = False) -> Tensor:
    r"""Scale-invariant signal-to-distortion ratio, in dB. Higher is better.

    The mean of both signals is removed first (then it is also called SI-SNR). Neither level nor
    sign of the estimate counts. Values stay within 157 dB, the precision of float64; see
    :func:`audiozen.acoustics.si_sdr` for the formula.

    Args:
        estimate: shape ``(time,)`` or ``(batch, time)``.
        reference: same shape.
        strict: raise where it is undefined, instead of NaN.

    Returns:
        float64, shape ``()`` or ``(batch,)``, in dB. NaN where either signal is silent or not
        finite.

    Raises:
        ShapeError: the shapes differ, or are others than these.
        MetricError: undefined, and ``strict``.

    Source: Le Roux et al., "SDR - half-baked or well done?", ICASSP 2019.

    >>> clean = torch.tensor([1.0, -1.0, 1.0, -1.0])
    >>> noise = torch.tensor([1.0, 1.0, -1.0, -1.0])
    >>> print(f"{si_sdr(3 * (clean + 0.1 * noise), clean):.1f} dB")
    20.0 dB
    """
    return evaluate("si_sdr", SI_SDR, estimate, reference, _ANY_RATE, strict=strict)


def snr(estimate: Signal, reference: Signal, *, strict: bool = False) -> Tensor:
    r"""Signal-to-noise ratio :math:`10 \log_{10} (\|s\|^2 / \|s - \hat s\|^2)`, in dB. Higher is
    better.

    Level, sign and mean of the estimate count, so it catches what SI-SDR hides. A perfect estimate
    has 157 dB, the precision of float64.

    Args:
        estimate: shape ``(time,)`` or ``(batch, time)``.
        reference: same shape.
        strict: raise where it is undefined, instead of NaN.

    Returns:
        float64, shape ``()`` or ``(batch,)``, in dB. NaN where either signal is silent (the formula
        would give a silent estimate 0 dB, more than a bad one) or not finite.

    Raises:
        ShapeError: the shapes differ, or are others than these.
        MetricError: undefined, and ``strict``.

    >>> clean = torch.tensor([1.0, -1.0, 1.0, -1.0])
    >>> noise = torch.tensor([1.0, 1.0, -1.0, -1.0])
    >>> print(f"{snr(clean + 0.1 * noise, clean):.1f} dB")
    20.0 dB
    """
    return evaluate("snr", SNR, estimate, reference, _ANY_RATE, strict=strict)


def _si_sdr(estimate: Samples, reference: Samples | None, _: int) -> dict[str, float]:
    assert reference is not None
    value = acoustics.si_sdr(torch.from_numpy(estimate), torch.from_numpy(reference))
    return {"si_sdr": value.item()}


def _snr(estimate: Samples, reference: Samples | None, _: int) -> dict[str, float]:
    assert reference is not None
    value = acoustics.snr(torch.from_numpy(estimate), torch.from_numpy(reference))
    return {"snr": value.item()}


SI_SDR = Measure(_si_sdr, is_slow=False)
SNR = Measure(_snr, is_slow=False)
