"""Frames as the measures of Hu and Loizou take them: 30 ms, three quarters overlapping, Hann."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from audiozen.errors import MetricError

if TYPE_CHECKING:
    from collections.abc import Callable

    from audiozen.metrics.measure import Samples

_SECONDS = 0.03
_KEPT = 0.95

# Frames at a time: the spectra of one signal then take 8 MB, however long it is.
_BLOCK = 1024


def frame_length(sample_rate: int) -> int:
    """Samples of a frame."""
    return round(_SECONDS * sample_rate)


def per_frame(
    compute: Callable[[Samples, Samples], Samples],
    estimate: Samples,
    reference: Samples,
    sample_rate: int,
) -> Samples:
    """Values of all frames.

    As in the original programs, the last frame is left out.

    Args:
        compute: from windowed frames of estimate and reference, each ``(frames, time)``, to values
            ``(frames, ...)``.
        estimate: shape ``(time,)``.
        reference: same shape.
        sample_rate: in Hz.

    Raises:
        MetricError: too short for two frames.
    """
    estimates, references = (_frames(signal, sample_rate) for signal in (estimate, reference))
    if len(estimates) == 0:
        raise MetricError("too_short", "it needs two frames of 30 ms (38 ms in all)")
    window = _window(frame_length(sample_rate))
    blocks = [slice(start, start + _BLOCK) for start in range(0, len(estimates), _BLOCK)]
    return np.concatenate(
        [compute(window * estimates[block], window * references[block]) for block in blocks]
    )


def mean_of_best(distances: Samples) -> float:
    """Mean of the lowest 95 % of the frames, of which NaN is the highest."""
    return float(np.nanmean(np.sort(distances)[: round(_KEPT * len(distances))]))


def power_spectra(frames: Samples) -> Samples:
    """Power spectra, zero-padded to the power of two from twice the frame on; ``(frames, freq)``."""
    power: Samples = np.abs(np.fft.rfft(frames, n_fft(frames.shape[-1]))) ** 2
    return power


def n_fft(length: int) -> int:
    """The power of two from twice the length on."""
    return 1 << (2 * length - 1).bit_length()


def _frames(signal: Samples, sample_rate: int) -> Samples:
    length = frame_length(sample_rate)
    if len(signal) < length:
        return np.empty((0, length))
    return np.lib.stride_tricks.sliding_window_view(signal, length)[:: length // 4][:-1]


@functools.cache
def _window(length: int) -> Samples:
    """Hann's window without its zeros at both ends."""
    window: Samples = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1, length + 1) / (length + 1))
    return window
