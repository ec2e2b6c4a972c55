"""All metrics by name, with direction, unit and range."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from audiozen.metrics.dnsmos import DNSMOS, dnsmos_bak, dnsmos_ovrl, dnsmos_p808, dnsmos_sig
from audiozen.metrics.pesq import PESQ_NB, PESQ_WB, pesq_nb, pesq_wb
from audiozen.metrics.sdr import SI_SDR, SNR, si_sdr, snr
from audiozen.metrics.stoi import ESTOI, STOI, estoi, stoi

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
        unit: ``"dB"``, ``"MOS"`` (an opinion score) or ``""`` (a correlation).
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


_DECIBELS = (-math.inf, math.inf)

METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "si_sdr": Metric(si_sdr, SI_SDR, "dB", _DECIBELS),
        "snr": Metric(snr, SNR, "dB", _DECIBELS),
        "pesq_wb": Metric(pesq_wb, PESQ_WB, "MOS", (1.04, 4.65)),
        "pesq_nb": Metric(pesq_nb, PESQ_NB, "MOS", (1.01, 4.55)),
        "stoi": Metric(stoi, STOI, "", (-1.0, 1.0)),
        "estoi": Metric(estoi, ESTOI, "", (-1.0, 1.0)),
        "dnsmos_sig": Metric(dnsmos_sig, DNSMOS, "MOS", (1.0, 5.0)),
        "dnsmos_bak": Metric(dnsmos_bak, DNSMOS, "MOS", (1.0, 5.0)),
        "dnsmos_ovrl": Metric(dnsmos_ovrl, DNSMOS, "MOS", (1.0, 5.0)),
        "dnsmos_p808": Metric(dnsmos_p808, DNSMOS, "MOS", (1.0, 5.0)),
    }
)
"""All metrics, by the name that their columns and functions have."""
