"""Log-likelihood ratio of linear prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from audiozen.errors import MetricError
from audiozen.metrics.framed import mean_of_best, n_fft, per_frame, power_spectra
from audiozen.metrics.measure import Measure, Samples, Signal, evaluate

if TYPE_CHECKING:
    from torch import Tensor

_EPSILON = np.finfo(np.float64).eps


def llr(
    estimate: Signal, reference: Signal, *, sample_rate: int = 16000, strict: bool = False
) -> Tensor:
    """Log-likelihood ratio of linear prediction, from 0 up. Lower is better.

    How much worse the spectral envelope of the estimate predicts the reference than that of the
    reference itself; the mean of the best 95 % of the frames. As in the composite measures, no
    frame is held to 2. The level does not count. Frames in which the reference is digitally silent
    have no ratio; they are among the 5 % left out, or if they are more, they alone are.

    Args:
        estimate: shape ``(time,)`` or ``(batch, time)``.
        reference: same shape.
        sample_rate: 8000 (prediction of order 10) or 16000 (order 16), in Hz.
        strict: raise where it is undefined, instead of NaN.

    Returns:
        float64, shape ``()`` or ``(batch,)``. NaN under 38 ms (``too_short``), and where either
        signal is silent or not finite.

    Raises:
        ShapeError: the shapes differ, or are others than these.
        RequestError: another sample rate.
        MetricError: undefined, and ``strict``.

    Source: Quackenbush et al., "Objective measures of speech quality", 1988; frames as in Hu and
    Loizou, "Evaluation of objective quality measures for speech enhancement", TASLP 2008.
    """
    return evaluate("llr", LLR, estimate, reference, sample_rate, strict=strict)


def log_likelihood_ratio(estimate: Samples, reference: Samples, sample_rate: int) -> float:
    """Of one pair of signals."""
    order = 10 if sample_rate < 10000 else 16
    ratios = per_frame(
        lambda estimates, references: _frame_ratios(estimates, references, order),
        estimate,
        reference,
        sample_rate,
    )
    if np.isnan(ratios).all():
        raise MetricError("silent_reference", "the reference is silent in all whole frames")
    return mean_of_best(ratios)


def _frame_ratios(estimate: Samples, reference: Samples, order: int) -> Samples:
    """One value per frame; NaN where the reference is silent."""
    correlation = _autocorrelation(reference, order)
    with_own = _prediction_error(_predictor(correlation), correlation)
    with_other = _prediction_error(_predictor(_autocorrelation(estimate, order)), correlation)
    energy = correlation[:, 0]
    # What is predicted to the last digit leaves rounding, which may be negative.
    ratio = with_other / np.maximum(with_own, np.where(energy > 0, _EPSILON * energy, 1))
    # No predictor is better than the reference's own: less than 1 is rounding.
    return np.where(energy > 0, np.log(np.maximum(ratio, 1)), np.nan)


def _autocorrelation(frames: Samples, order: int) -> Samples:
    """Lags 0 to ``order``, shape ``(frames, lags)``."""
    return np.fft.irfft(power_spectra(frames), n_fft(frames.shape[-1]))[:, : order + 1]


def _predictor(correlation: Samples) -> Samples:
    """Coefficients of the prediction error filter, by Levinson and Durbin; ``(frames, lags)``."""
    filters = np.zeros_like(correlation)
    filters[:, 0] = 1
    error = correlation[:, 0].copy()
    for last in range(1, correlation.shape[-1]):
        missed = np.sum(filters[:, :last] * correlation[:, last:0:-1], axis=-1)
        # Silence has nothing to predict.
        reflection = -np.divide(missed, error, out=np.zeros_like(error), where=error > 0)
        filters[:, 1 : last + 1] += reflection[:, None] * filters[:, last - 1 :: -1]
        error = error * (1 - reflection**2)
    return filters


def _prediction_error(filters: Samples, correlation: Samples) -> Samples:
    """Energy that a filter leaves of the signal with this autocorrelation, one per frame."""
    lags = np.arange(correlation.shape[-1])
    matrices = correlation[:, np.abs(lags[:, None] - lags)]
    error: Samples = np.sum((filters[:, None] @ matrices)[:, 0] * filters, axis=-1)
    return error


def _llr(estimate: Samples, reference: Samples | None, sample_rate: int) -> dict[str, float]:
    assert reference is not None
    return {"llr": log_likelihood_ratio(estimate, reference, sample_rate)}


LLR = Measure(_llr, sample_rates=(8000, 16000))
