"""Weighted spectral slope."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from audiozen.metrics.framed import mean_of_best, n_fft, per_frame, power_spectra
from audiozen.metrics.measure import Measure, Samples, Signal, evaluate

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

# Centre and width of the critical bands of the original program. They end at 3.6 kHz also where the
# signal does not.
_BANDS_HZ = np.array(
    [
        (50, 70),
        (120, 70),
        (190, 70),
        (260, 70),
        (330, 70),
        (400, 70),
        (470, 70),
        (540, 77.3724),
        (617.372, 86.0056),
        (703.378, 95.3398),
        (798.717, 105.411),
        (904.128, 116.256),
        (1020.38, 127.914),
        (1148.30, 140.423),
        (1288.72, 153.823),
        (1442.54, 168.154),
        (1610.70, 183.457),
        (1794.16, 199.776),
        (1993.93, 217.153),
        (2211.08, 235.631),
        (2446.71, 255.255),
        (2701.97, 276.072),
        (2978.04, 298.126),
        (3276.17, 321.465),
        (3597.63, 346.136),
    ]
)
_LEAST_GAIN = np.exp(-30 / (2 * 2.303))
_LEAST_POWER = 1e-10
_GLOBAL_DB, _LOCAL_DB = 20.0, 1.0


def wss(
    estimate: Signal, reference: Signal, *, sample_rate: int = 16000, strict: bool = False
) -> Tensor:
    """Weighted spectral slope distance, from 0 (equal slopes) to 100 and more. Lower is better.

    Squared differences between the slopes of the spectrum from one critical band to the next, in
    dB; slopes near peaks weigh most. It is the mean of the best 95 % of the frames. The level
    counts only where a band falls under -100 dB.

    Args:
        estimate: shape ``(time,)`` or ``(batch, time)``, in ``[-1, 1]``.
        reference: same shape.
        sample_rate: 8000 or 16000, in Hz. The bands end at 3.6 kHz in any case.
        strict: raise where it is undefined, instead of NaN.

    Returns:
        float64, shape ``()`` or ``(batch,)``. NaN under 38 ms (``too_short``), and where either
        signal is silent or not finite.

    Raises:
        ShapeError: the shapes differ, or are others than these.
        RequestError: another sample rate.
        MetricError: undefined, and ``strict``.

    Source: Klatt, "Prediction of perceived phonetic distance from critical-band spectra", ICASSP
    1982; bands and frames as in Hu and Loizou, "Evaluation of objective quality measures for speech
    enhancement", TASLP 2008.
    """
    return evaluate("wss", WSS, estimate, reference, sample_rate, strict=strict)


def weighted_spectral_slope(estimate: Samples, reference: Samples, sample_rate: int) -> float:
    """Of one pair of signals."""
    distances = per_frame(
        lambda estimates, references: _frame_distances(estimates, references, sample_rate),
        estimate,
        reference,
        sample_rate,
    )
    return mean_of_best(distances)


def _frame_distances(estimate: Samples, reference: Samples, sample_rate: int) -> Samples:
    levels = [_band_levels(frames, sample_rate) for frames in (estimate, reference)]
    first, second = (np.diff(level, axis=-1) for level in levels)
    weights = sum(_weights(level) for level in levels)
    distances: Samples = np.average((first - second) ** 2, axis=-1, weights=weights)
    return distances


def _band_levels(frames: Samples, sample_rate: int) -> Samples:
    """In dB, shape ``(frames, bands)``."""
    filters = _critical_bands(n_fft(frames.shape[-1]), sample_rate)
    return 10 * np.log10(np.maximum(power_spectra(frames) @ filters, _LEAST_POWER))


def _weights(level: Samples) -> Samples:
    """Of all slopes: how near their lower band is to the highest level, and to the next peak."""
    lower = level[:, :-1]
    below_maximum = level.max(axis=-1, keepdims=True) - lower
    below_peak = np.take_along_axis(level, _nearest_peaks(level), axis=-1) - lower
    weights: Samples = _GLOBAL_DB / (_GLOBAL_DB + below_maximum)
    return weights * _LOCAL_DB / (_LOCAL_DB + below_peak)


def _nearest_peaks(level: Samples) -> NDArray[np.intp]:
    """Band at which the climb from each slope ends, shape ``(frames, slopes)``.

    Upwards, the original program stops one band before the top; so does this.
    """
    rises = np.diff(level, axis=-1) > 0
    slopes = np.arange(rises.shape[-1])
    to_the_left = np.maximum.accumulate(np.where(rises, slopes + 1, 0), axis=-1)
    falls = np.where(rises, len(slopes), slopes)
    to_the_right = np.minimum.accumulate(falls[:, ::-1], axis=-1)[:, ::-1] - 1
    peaks: NDArray[np.intp] = np.where(rises, to_the_right, to_the_left)
    return peaks


@functools.cache
def _critical_bands(size: int, sample_rate: int) -> Samples:
    """Gaussian filters of equal area on power spectra, shape ``(freq, bands)``."""
    bins = np.arange(size // 2 + 1)[:, None]
    centres, widths = _BANDS_HZ.T * size / sample_rate
    gains = np.exp(-11 * ((bins - np.floor(centres)) / widths) ** 2) * widths[0] / widths
    return np.where(gains > _LEAST_GAIN, gains, 0.0)


def _wss(estimate: Samples, reference: Samples | None, sample_rate: int) -> dict[str, float]:
    assert reference is not None
    return {"wss": weighted_spectral_slope(estimate, reference, sample_rate)}


WSS = Measure(_wss, sample_rates=(8000, 16000))
