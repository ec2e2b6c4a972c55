"""Log-spectral distance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from audiozen.errors import MetricError
from audiozen.metrics.measure import Measure, Samples, Signal, evaluate

if TYPE_CHECKING:
    from torch import Tensor

_FRAME_SECONDS, _HOP_SECONDS = 0.032, 0.016
_EPSILON = 1e-8


def lsd_urgent(
    estimate: Signal, reference: Signal, *, sample_rate: int = 16000, strict: bool = False
) -> Tensor:
    """Log-spectral distance as the URGENT challenges have it, from 0 up. Lower is better.

    Root mean square over frequency of the difference between the natural logarithms of the power
    spectra, then the mean over time. Frames have 32 ms and are 16 ms apart: ``n_fft`` 512 and hop
    256 at 16 kHz. The estimate is scaled to fit the reference best, so neither level nor sign of it
    counts. Figures that were got with another ``n_fft``, with decimal logarithms or without scaling
    do not compare.

    Args:
        estimate: shape ``(time,)`` or ``(batch, time)``, in ``[-1, 1]``.
        reference: same shape.
        sample_rate: in Hz.
        strict: raise where it is undefined, instead of NaN.

    Returns:
        float64, shape ``()`` or ``(batch,)``. NaN under 32 ms (``too_short``), and where either
        signal is silent or not finite.

    Raises:
        ShapeError: the shapes differ, or are others than these.
        MetricError: undefined, and ``strict``.

    Source: Gray and Markel, "Distance measures for speech processing", TASSP 1976; constants of
    Zhang et al., "URGENT challenge", Interspeech 2024.
    """
    return evaluate("lsd_urgent", LSD_URGENT, estimate, reference, sample_rate, strict=strict)


def _lsd_urgent(estimate: Samples, reference: Samples | None, sample_rate: int) -> dict[str, float]:
    assert reference is not None
    n_fft, hop_length = int(sample_rate * _FRAME_SECONDS), int(sample_rate * _HOP_SECONDS)
    if estimate.size < n_fft or hop_length == 0:
        raise MetricError("too_short", "lsd_urgent needs 32 ms")
    scale = np.dot(reference, estimate) / (np.dot(estimate, estimate) + _EPSILON)
    enhanced = _magnitudes(scale * estimate, n_fft, hop_length)
    clean = _magnitudes(reference, n_fft, hop_length)
    distance = np.log(clean**2 / (enhanced + _EPSILON) ** 2 + _EPSILON)
    return {"lsd_urgent": float(np.mean(np.sqrt(np.mean(distance**2, axis=-1))))}


def _magnitudes(signal: Samples, n_fft: int, hop_length: int) -> Samples:
    """Of frames around multiples of the hop, ``(frames, freq)``."""
    padded = np.pad(signal, n_fft // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop_length]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    return np.abs(np.fft.rfft(frames * window))


LSD_URGENT = Measure(_lsd_urgent)
