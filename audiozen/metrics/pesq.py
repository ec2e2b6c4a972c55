"""Perceptual evaluation of speech quality, computed by the package ``pesq``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audiozen.errors import MetricError
from audiozen.metrics.measure import Measure, Samples, Signal, evaluate, require

if TYPE_CHECKING:
    from torch import Tensor


def pesq_wb(
    estimate: Signal, reference: Signal, *, sample_rate: int = 16000, strict: bool = False
) -> Tensor:
    """Wide-band PESQ (ITU-T P.862.2), a mean opinion score from 1.0 to 4.64. Higher is better.

    The level does not count: both signals are brought to the same one. Meant for speech of some
    seconds. Figures of wide-band and narrow-band PESQ must not be compared.

    Args:
        estimate: shape ``(time,)`` or ``(batch, time)``.
        reference: same shape.
        sample_rate: 16000, in Hz; wide-band PESQ is not defined at any other.
        strict: raise where it is undefined, instead of NaN.

    Returns:
        float64, shape ``()`` or ``(batch,)``. NaN where no speech is found (``no_utterance``),
        under 0.25 s (``too_short``), and where either signal is silent or not finite.

    Raises:
        ShapeError: the shapes differ, or are others than these.
        RequestError: another sample rate.
        MetricError: undefined, and ``strict``; or the package ``pesq`` is not installed.

    Source: ITU-T recommendations P.862 (2001) and P.862.2 (2007).
    """
    return evaluate("pesq_wb", PESQ_WB, estimate, reference, sample_rate, strict=strict)


def pesq_nb(
    estimate: Signal, reference: Signal, *, sample_rate: int = 16000, strict: bool = False
) -> Tensor:
    """Narrow-band PESQ (ITU-T P.862.1), a mean opinion score from 1.02 to 4.55. Higher is better.

    As :func:`pesq_wb`, with the telephone band only. Figures got at 8000 and at 16000 Hz differ.

    Args:
        estimate: shape ``(time,)`` or ``(batch, time)``.
        reference: same shape.
        sample_rate: 8000 or 16000, in Hz.
        strict: raise where it is undefined, instead of NaN.

    Returns:
        float64, shape ``()`` or ``(batch,)``. NaN as in :func:`pesq_wb`.

    Raises:
        ShapeError: the shapes differ, or are others than these.
        RequestError: another sample rate.
        MetricError: undefined, and ``strict``; or the package ``pesq`` is not installed.

    Source: ITU-T recommendations P.862 (2001) and P.862.1 (2003).
    """
    return evaluate("pesq_nb", PESQ_NB, estimate, reference, sample_rate, strict=strict)


def _pesq(estimate: Samples, reference: Samples | None, sample_rate: int, band: str) -> float:
    package = require("pesq", extra="pesq")
    try:
        return float(package.pesq(sample_rate, reference, estimate, band))
    except package.NoUtterancesError as error:
        raise MetricError("no_utterance", "PESQ finds no speech in the signals") from error
    except package.BufferTooShortError as error:
        raise MetricError("too_short", "PESQ needs 0.25 s") from error


def _pesq_wb(estimate: Samples, reference: Samples | None, sample_rate: int) -> dict[str, float]:
    return {"pesq_wb": _pesq(estimate, reference, sample_rate, "wb")}


def _pesq_nb(estimate: Samples, reference: Samples | None, sample_rate: int) -> dict[str, float]:
    return {"pesq_nb": _pesq(estimate, reference, sample_rate, "nb")}


PESQ_WB = Measure(_pesq_wb, sample_rates=(16000,))
PESQ_NB = Measure(_pesq_nb, sample_rates=(8000, 16000))
