"""All metrics by name, with direction, unit and range."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from audiozen.metrics.composite import COMPOSITE, cbak, covl, csig
from audiozen.metrics.dnsmos import (
    DNSMOS,
    DNSMOS_FULL,
    dnsmos_bak,
    dnsmos_bak_full,
    dnsmos_ovrl,
    dnsmos_ovrl_full,
    dnsmos_p808,
    dnsmos_p808_full,
    dnsmos_sig,
    dnsmos_sig_full,
)
from audiozen.metrics.llr import LLR, llr
from audiozen.metrics.lsd import LSD_URGENT, lsd_urgent
from audiozen.metrics.pesq import PESQ_NB, PESQ_WB, pesq_nb, pesq_wb
from audiozen.metrics.sdr import SI_SDR, SNR, si_sdr, snr
from audiozen.metrics.sdr_bss import SDR_BSS, sdr_bss
from audiozen.metrics.ssnr import SSNR, ssnr
from audiozen.metrics.stoi import ESTOI, STOI, estoi, stoi
from audiozen.metrics.wss import WSS, wss

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from audiozen.metrics.measure import Measure


@dataclass(frozen=True)
class Metric:
    """What there is to know of one metric.

    Args:
        function: the metric as a function of ``(estimate, reference)``, or of ``(estimate)`` alone.
        measure: the computation behind it; metrics that share one are computed together.
        unit: ``"dB"``, ``"MOS"`` (an opinion score) or ``""`` (a correlation or distance).
        range: lowest and highest value there can be, or for predicted scores is meant to be.
        higher_is_better: its direction.
    """

    function: Callable[..., Tensor]
    measure: Measure
    unit: str
    range: tuple[float, float]
    higher_is_better: bool = True

    @property
    def needs_reference(self) -> bool:
        """Whether there is no value without a reference."""
        return self.measure.needs_reference


IMPROVEMENT = "_i"
"""``<metric>_i`` is by how much a metric rose over that of the noisy signal. No metric is called so itself."""

_DECIBELS = (-math.inf, math.inf)
_OPINION = (1.0, 5.0)
_DISTANCE = (0.0, math.inf)

METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "si_sdr": Metric(si_sdr, SI_SDR, "dB", _DECIBELS),
        "snr": Metric(snr, SNR, "dB", _DECIBELS),
        "sdr_bss": Metric(sdr_bss, SDR_BSS, "dB", _DECIBELS),
        "ssnr": Metric(ssnr, SSNR, "dB", (-10.0, 35.0)),
        "lsd_urgent": Metric(lsd_urgent, LSD_URGENT, "", _DISTANCE, higher_is_better=False),
        "llr": Metric(llr, LLR, "", _DISTANCE, higher_is_better=False),
        "wss": Metric(wss, WSS, "", _DISTANCE, higher_is_better=False),
        "pesq_wb": Metric(pesq_wb, PESQ_WB, "MOS", (1.0, 4.65)),
        "pesq_nb": Metric(pesq_nb, PESQ_NB, "MOS", (1.0, 4.55)),
        "csig": Metric(csig, COMPOSITE, "MOS", _OPINION),
        "cbak": Metric(cbak, COMPOSITE, "MOS", _OPINION),
        "covl": Metric(covl, COMPOSITE, "MOS", _OPINION),
        "stoi": Metric(stoi, STOI, "", (-1.0, 1.0)),
        "estoi": Metric(estoi, ESTOI, "", (-1.0, 1.0)),
        "dnsmos_sig": Metric(dnsmos_sig, DNSMOS, "MOS", _OPINION),
        "dnsmos_bak": Metric(dnsmos_bak, DNSMOS, "MOS", _OPINION),
        "dnsmos_ovrl": Metric(dnsmos_ovrl, DNSMOS, "MOS", _OPINION),
        "dnsmos_p808": Metric(dnsmos_p808, DNSMOS, "MOS", _OPINION),
        "dnsmos_sig_full": Metric(dnsmos_sig_full, DNSMOS_FULL, "MOS", _OPINION),
        "dnsmos_bak_full": Metric(dnsmos_bak_full, DNSMOS_FULL, "MOS", _OPINION),
        "dnsmos_ovrl_full": Metric(dnsmos_ovrl_full, DNSMOS_FULL, "MOS", _OPINION),
        "dnsmos_p808_full": Metric(dnsmos_p808_full, DNSMOS_FULL, "MOS", _OPINION),
    }
)
"""All metrics, by the name that their columns and functions have."""


def metric_of(column: str) -> Metric | None:
    """The metric that a column has the values or the improvements of; None where it is none of these.

    >>> metric_of("si_sdr_i").unit
    'dB'
    """
    return METRICS.get(column.removesuffix(IMPROVEMENT))
