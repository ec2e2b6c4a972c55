"""Metrics of estimated signals, one value per signal.

::

    from audiozen.metrics import Scorer, pesq_wb, si_sdr

    si_sdr(estimate, reference)  # float64 tensor: () for (time,), (batch,) for (batch, time)
    pesq_wb(estimate, reference, sample_rate=16000)
    Scorer(["si_sdr", "stoi", "dnsmos_ovrl"])(estimate, reference)  # columns of a table
    Scorer(["si_sdr_i", "csig"])(estimate, reference, noisy=noisy)  # _i: improvement over noisy

==================== =================================================================
``si_sdr``           scale-invariant SDR, means removed
``snr``              signal-to-noise ratio
``sdr_bss``          SDR of BSS-eval: after the best filter of 512 taps
``ssnr``             segmental SNR: frames of 30 ms, each held within -10 and 35 dB
``lsd_urgent``       log-spectral distance as the URGENT challenges have it
``llr``, ``wss``     log-likelihood ratio, weighted spectral slope
``pesq_wb``          PESQ, wide-band; ``pesq_nb``: narrow-band
``csig``             composite measures (with wide-band PESQ), also ``cbak`` and ``covl``
``stoi``, ``estoi``  intelligibility, plain and extended
``dnsmos_sig``       DNSMOS as the official script, also ``_bak``, ``_ovrl``, ``_p808``
``dnsmos_sig_full``  DNSMOS of all segments of 9.01 s, of which the script drops some
==================== =================================================================

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
``crashed``          the process of a pool that computed it died
``failed``           the package that computes it gave up; the text tells what it said
==================== =================================================================

Slow metrics can be computed by other processes while the model goes on: see
:mod:`audiozen.metrics.pool`.
"""

from __future__ import annotations

from audiozen.metrics.catalogue import METRICS, Metric
from audiozen.metrics.composite import cbak, covl, csig
from audiozen.metrics.dnsmos import (
    dnsmos_bak,
    dnsmos_bak_full,
    dnsmos_ovrl,
    dnsmos_ovrl_full,
    dnsmos_p808,
    dnsmos_p808_full,
    dnsmos_sig,
    dnsmos_sig_full,
)
from audiozen.metrics.llr import llr
from audiozen.metrics.lsd import lsd_urgent
from audiozen.metrics.pesq import pesq_nb, pesq_wb
from audiozen.metrics.scorer import Scorer
from audiozen.metrics.sdr import si_sdr, snr
from audiozen.metrics.sdr_bss import sdr_bss
from audiozen.metrics.ssnr import ssnr
from audiozen.metrics.stoi import estoi, stoi
from audiozen.metrics.wss import wss

__all__ = [
    "METRICS",
    "Metric",
    "Scorer",
    "cbak",
    "covl",
    "csig",
    "dnsmos_bak",
    "dnsmos_bak_full",
    "dnsmos_ovrl",
    "dnsmos_ovrl_full",
    "dnsmos_p808",
    "dnsmos_p808_full",
    "dnsmos_sig",
    "dnsmos_sig_full",
    "estoi",
    "llr",
    "lsd_urgent",
    "pesq_nb",
    "pesq_wb",
    "sdr_bss",
    "si_sdr",
    "snr",
    "ssnr",
    "stoi",
    "wss",
]
