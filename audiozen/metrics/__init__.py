"""Metrics of estimated signals, one value per signal.

::

    from audiozen.metrics import Scorer, pesq_wb, si_sdr

    si_sdr(estimate, reference)            # float64 tensor: () for (time,), (batch,) for (batch,
    time) pesq_wb(estimate, reference, sample_rate=16000) Scorer(["si_sdr", "stoi",
    "dnsmos_ovrl"])(estimate, reference)  # columns of a table

Signals are tensors (on any device) or arrays of floating point numbers in ``[-1, 1]``. Everything
is computed in float64 on the CPU; nothing is resampled, trimmed or normalised.

A metric that is undefined for a pair of signals is NaN, or with ``strict=True`` a
:class:`~audiozen.errors.MetricError` with one of these reasons, the first that applies:

==================== =================================================================
``not_installed``    an optional package is missing (raised also without ``strict``)
``too_short``        no sample, or fewer than the metric needs
``nonfinite``        NaN or infinity in either signal
``silent_reference`` all samples of the reference are equal
``silent_estimate``  all samples of the estimate are equal: silence never wins
``no_utterance``     PESQ finds no speech
``failed``           the package that computes it gave up; the text tells what it said
==================== =================================================================
"""

from __future__ import annotations

from audiozen.metrics.catalogue import METRICS, Metric
from audiozen.metrics.dnsmos import dnsmos_bak, dnsmos_ovrl, dnsmos_p808, dnsmos_sig
from audiozen.metrics.pesq import pesq_nb, pesq_wb
from audiozen.metrics.scorer import Scorer
from audiozen.metrics.sdr import si_sdr, snr
from audiozen.metrics.stoi import estoi, stoi

__all__ = [
    "METRICS",
    "Metric",
    "Scorer",
    "dnsmos_bak",
    "dnsmos_ovrl",
    "dnsmos_p808",
    "dnsmos_sig",
    "estoi",
    "pesq_nb",
    "pesq_wb",
    "si_sdr",
    "snr",
    "stoi",
]
