"""Resampling as Octave's signal package does it, which the definitions of some metrics want.

The filter is a sinc in a Kaiser window: from 0.9 to 1.0 of the lower Nyquist frequency it falls by 60 dB. It is linear
in phase, without delay.

The output comes in periods: so many samples out for so many in, all with the same weights. A period, or a part of a
long one, is one matrix product of the window of the input that it sees.

Source: ``resample`` of Octave's signal package; the formulas for the Kaiser window are those of Oppenheim and Schafer,
"Discrete-Time Signal Processing", 7.5.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from audiozen.metrics.measure import Samples

_REJECTION_DB = 60.0

# Samples of the output that one matrix product makes of each window: fewer make it slow, of more weights many are zero.
_LEAST_COLUMNS, _MOST_COLUMNS = 40, 128


def resample(signal: Samples, sample_rate: int, new_sample_rate: int) -> Samples:
    """The signal at another rate.

    Args:
        signal: shape ``(time,)``.
        sample_rate: its rate, in Hz.
        new_sample_rate: the other, in Hz.

    Returns:
        Shape ``(ceil(time * new_sample_rate / sample_rate),)``.
    """
    divisor = math.gcd(sample_rate, new_sample_rate)
    up, down = new_sample_rate // divisor, sample_rate // divisor
    if up == down:
        return signal
    period, parts = _bank(up, down)
    hop_length, reach = period * down, _reach(up, down)
    size = -(-len(signal) * up // down)
    num_periods = -(-size // (period * up))
    padded = np.zeros(num_periods * hop_length + 2 * reach + 1)
    padded[reach : reach + len(signal)] = signal
    output = np.empty((num_periods, period * up))
    for part in parts:
        _apply(part, padded, hop_length, output)
    return output.reshape(-1)[:size]


class _Part(NamedTuple):
    """Some samples of every period of the output."""

    start: int
    """First sample of the padded input that they see in the first period."""
    columns: slice
    """Which they are."""
    weights: Samples
    """Shape ``(input, columns)``."""


def _apply(part: _Part, padded: Samples, hop_length: int, output: Samples) -> None:
    size = padded.itemsize
    shape, strides = (len(output), len(part.weights)), (hop_length * size, size)
    # As ``sliding_window_view``, which takes many times as long to set up.
    windows = np.ndarray(shape, padded.dtype, padded, part.start * size, strides)
    # BLAS takes no rows that overlap: every so many do not, and need no copy.
    step = -(-len(part.weights) // hop_length)
    for first in range(step):
        rows = slice(first, None, step)
        np.matmul(windows[rows], part.weights, out=output[rows, part.columns])


@functools.lru_cache(maxsize=4)
def _bank(up: int, down: int) -> tuple[int, list[_Part]]:
    """Multiples of ``up`` and ``down`` that make a period, and its parts."""
    period = -(-_LEAST_COLUMNS // up)
    edges = [*range(0, period * up, _MOST_COLUMNS), period * up]
    response = _filter(up, down)
    return period, [_part(up, down, response, slice(*pair)) for pair in itertools.pairwise(edges)]


def _part(up: int, down: int, response: Samples, columns: slice) -> _Part:
    half = _half_length(up, down)
    reach = _reach(up, down)
    first, last = columns.start * down // up - reach, (columns.stop - 1) * down // up + reach + 1
    inputs = np.arange(first, last + 1)[:, None]
    outputs = np.arange(columns.start, columns.stop)
    taps = outputs * down - inputs * up + half
    is_inside = (taps >= 0) & (taps <= 2 * half)
    weights = np.where(is_inside, response[np.clip(taps, 0, 2 * half)], 0.0)
    return _Part(first + reach, columns, weights)


def _filter(up: int, down: int) -> Samples:
    """Impulse response at the rate that both have in common."""
    half = _half_length(up, down)
    beta = 0.1102 * (_REJECTION_DB - 8.7)
    sinc = np.sinc(np.arange(-half, half + 1) / max(up, down))
    response: Samples = np.kaiser(2 * half + 1, beta) * sinc
    response *= up / response.sum()
    return response


def _half_length(up: int, down: int) -> int:
    roll_off = 1 / (20 * max(up, down))
    return math.ceil((_REJECTION_DB - 8) / (28.714 * roll_off))


def _reach(up: int, down: int) -> int:
    """Samples of the input before and after its own time that one of the output may see."""
    return _half_length(up, down) // up + 1
