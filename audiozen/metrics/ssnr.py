"""Segmental signal-to-noise ratio."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from audiozen.metrics.framed import per_frame
from audiozen.metrics.measure import Measure, Samples, Signal, evaluate

if TYPE_CHECKING:
    from torch import Tensor

_LOWEST_DB, _HIGHEST_DB = -10.0, 35.0


def ssnr(
    estimate: Signal, reference: Signal, *, sample_rate: int = 16000, strict: bool = False
) -> Tensor:
    """Segmental signal-to-noise ratio, in dB from -10 to 35. Higher is better.

    The mean of the SNR of Hann-windowed frames of 30 ms, 7.5 ms apart, each held within -10 and
    35 dB. Level and sign of the estimate count. A frame in which the reference is digitally silent
    has -10 dB, whatever the estimate is.

    Args:
        estimate: shape ``(time,)`` or ``(batch, time)``.
        reference: same shape.
        sample_rate: in Hz.
        strict: raise where it is undefined, instead of NaN.

    Returns:
        float64, shape ``()`` or ``(batch,)``, in dB. NaN under 38 ms (``too_short``), and where
        either signal is silent or not finite.

    Raises:
        ShapeError: the shapes differ, or are others than these.
        MetricError: undefined, and ``strict``.

    Source: Hansen and Pellom, "An effective quality evaluation protocol for speech enhancement
    algorithms", ICSLP 1998; frames as in Hu and Loizou, "Evaluation of objective quality measures
    for speech enhancement", TASLP 2008.

    >>> clean = np.random.default_rng(0).standard_normal(16000)
    >>> print(f"{ssnr(clean * 1.1, clean):.1f} dB")
    20.0 dB
    """
    return evaluate("ssnr", SSNR, estimate, reference, sample_rate, strict=strict)


def segmental_snr(estimate: Samples, reference: Samples, sample_rate: int) -> float:
    """Of one pair of signals, in dB."""
    return float(np.mean(per_frame(_frame_snr, estimate, reference, sample_rate)))


def _frame_snr(estimate: Samples, reference: Samples) -> Samples:
    signal = np.sum(reference**2, axis=-1)
    noise = np.sum((reference - estimate) ** 2, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        level_db = 10 * np.log10(signal / noise)
    return np.clip(np.where(signal > 0, level_db, _LOWEST_DB), _LOWEST_DB, _HIGHEST_DB)


def _ssnr(estimate: Samples, reference: Samples | None, sample_rate: int) -> dict[str, float]:
    assert reference is not None
    return {"ssnr": segmental_snr(estimate, reference, sample_rate)}


SSNR = Measure(_ssnr, is_slow=False)
