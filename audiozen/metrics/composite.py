"""Composite measures: regressions of opinion scores on PESQ, LLR, WSS and segmental SNR."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audiozen.metrics.llr import log_likelihood_ratio
from audiozen.metrics.measure import Measure, Samples, Signal, evaluate
from audiozen.metrics.pesq import PESQ_WB
from audiozen.metrics.ssnr import segmental_snr
from audiozen.metrics.wss import weighted_spectral_slope

if TYPE_CHECKING:
    from torch import Tensor


def csig(
    estimate: Signal, reference: Signal, *, sample_rate: int = 16000, strict: bool = False
) -> Tensor:
    """Composite measure of the distortion of the speech, from 1 to 5. Higher is better.

    ``3.093 - 1.029 LLR + 0.603 PESQ - 0.009 WSS``, held within 1 and 5. As the field does,
    wide-band PESQ is put in, though the regression was made with narrow-band PESQ at 8 kHz;
    figures at 16 kHz compare with each other only. Signals are in ``[-1, 1]``: programs that divide
    them by 32768 once more get a lower WSS. All three composite measures of a signal, and
    ``pesq_wb``, come from one pass: :class:`~audiozen.metrics.Scorer` shares it.

    Args:
        estimate: shape ``(time,)`` or ``(batch, time)``, in ``[-1, 1]``.
        reference: same shape.
        sample_rate: 16000, in Hz.
        strict: raise where it is undefined, instead of NaN.

    Returns:
        float64, shape ``()`` or ``(batch,)``. NaN where
        :func:`~audiozen.metrics.pesq_wb` is.

    Raises:
        ShapeError: the shapes differ, or are others than these.
        RequestError: another sample rate.
        MetricError: undefined, and ``strict``; or the package ``pesq`` is not installed.

    Source: Hu and Loizou, "Evaluation of objective quality measures for speech enhancement", TASLP
    2008.
    """
    return evaluate("csig", COMPOSITE, estimate, reference, sample_rate, strict=strict)


def cbak(
    estimate: Signal, reference: Signal, *, sample_rate: int = 16000, strict: bool = False
) -> Tensor:
    """Composite measure of the intrusion of background, from 1 to 5. Higher is better.

    ``1.634 + 0.478 PESQ - 0.007 WSS + 0.063 SSNR``, held within 1 and 5. All else is as in
    :func:`csig`; the level counts.
    """
    return evaluate("cbak", COMPOSITE, estimate, reference, sample_rate, strict=strict)


def covl(
    estimate: Signal, reference: Signal, *, sample_rate: int = 16000, strict: bool = False
) -> Tensor:
    """Composite measure of the overall quality, from 1 to 5. Higher is better.

    ``1.594 + 0.805 PESQ - 0.512 LLR - 0.007 WSS``, held within 1 and 5. All else is as in
    :func:`csig`.
    """
    return evaluate("covl", COMPOSITE, estimate, reference, sample_rate, strict=strict)


def _composite(estimate: Samples, reference: Samples | None, sample_rate: int) -> dict[str, float]:
    assert reference is not None
    pesq = PESQ_WB(estimate, reference, sample_rate)["pesq_wb"]
    llr = log_likelihood_ratio(estimate, reference, sample_rate)
    wss = weighted_spectral_slope(estimate, reference, sample_rate)
    ssnr = segmental_snr(estimate, reference, sample_rate)
    return {
        "pesq_wb": pesq,
        "csig": _opinion(3.093 - 1.029 * llr + 0.603 * pesq - 0.009 * wss),
        "cbak": _opinion(1.634 + 0.478 * pesq - 0.007 * wss + 0.063 * ssnr),
        "covl": _opinion(1.594 + 0.805 * pesq - 0.512 * llr - 0.007 * wss),
    }


def _opinion(score: float) -> float:
    return min(max(score, 1.0), 5.0)


COMPOSITE = Measure(_composite, sample_rates=PESQ_WB.sample_rates, covers=(PESQ_WB,))
