"""All metrics by name, with direction, unit and range."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from audiozen.metrics import dnsmos, pesq, sdr, stoi

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
        "si_sdr": Metric(sdr.si_sdr, sdr.SI_SDR, "dB", _DECIBELS),
        "snr": Metric(sdr.snr, sdr.SNR, "dB", _DECIBELS),
        "pesq_wb": Metric(pesq.pesq_wb, pesq.PESQ_WB, "MOS", (1.04, 4.65)),
        "pesq_nb": Metric(pesq.pesq_nb, pesq.PESQ_NB, "MOS", (1.01, 4.55)),
        "stoi": Metric(stoi.stoi, stoi.STOI, "", (-1.0, 1.0)),
        "estoi": Metric(stoi.estoi, stoi.ESTOI, "", (-1.0, 1.0)),
        "dnsmos_sig": Metric(dnsmos.dnsmos_sig, dnsmos.DNSMOS, "MOS", (1.0, 5.0)),
        "dnsmos_bak": Metric(dnsmos.dnsmos_bak, dnsmos.DNSMOS, "MOS", (1.0, 5.0)),
        "dnsmos_ovrl": Metric(dnsmos.dnsmos_ovrl, dnsmos.DNSMOS, "MOS", (1.0, 5.0)),
        "dnsmos_p808": Metric(dnsmos.dnsmos_p808, dnsmos.DNSMOS, "MOS", (1.0, 5.0)),
    }
)
"""All metrics, by the name that their columns and functions have."""
