"""Envelopes in thirds of an octave as STOI takes them: 10 kHz, frames of 256 samples, 128 apart, without the pauses.

A signal is kept in halves of a frame, called rows: a frame is one row and the next.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from audiozen.metrics.measure import Samples

SAMPLE_RATE = 10000
FRAME_LENGTH, HOP_LENGTH = 256, 128
NUM_BANDS = 15

_N_FFT = 512
_LOWEST_HZ = 150.0

# Of the energy of the loudest frame, where a pause begins: 40 dB below.
_PAUSE = 1e-4

# Frames at a time: their spectra stay near the core, and take 0.5 MB, however long the signal is.
_BLOCK = 128


def envelopes(estimate: Samples, reference: Samples) -> tuple[Samples, Samples]:
    """Magnitudes of both signals in 15 bands, without the frames in which the reference is 40 dB below its loudest.

    As in the original program, a frame that ends with the signal is left out; twice, as the frames that are left are
    joined to a signal, which is taken apart again.

    Args:
        estimate: at 10 kHz, shape ``(time,)``.
        reference: same shape.

    Returns:
        Two of shape ``(frames, bands)``. There may be no frames.
    """
    estimates, references = _rows(estimate), _rows(reference)
    kept = _without_pauses(references)
    return _magnitudes(_join(estimates, kept)), _magnitudes(_join(references, kept))


def _rows(signal: Samples) -> Samples:
    """Shape ``(rows, time)``, as many rows as the frames need."""
    num_frames = max(0, -(-(len(signal) - FRAME_LENGTH) // HOP_LENGTH))
    num_rows = num_frames + 1 if num_frames else 0
    return signal[: num_rows * HOP_LENGTH].reshape(-1, HOP_LENGTH)


def _without_pauses(rows: Samples) -> NDArray[np.intp]:
    """Numbers of the frames that are loud enough."""
    rise, fall = _window()
    power = rows * rows
    energy = power[:-1] @ (rise * rise) + power[1:] @ (fall * fall)
    return np.flatnonzero(energy > energy.max(initial=0.0) * _PAUSE)


def _join(rows: Samples, frames: NDArray[np.intp]) -> Samples:
    """Rows of the windowed frames, overlapped and added, but for the last row, which no frame will take."""
    rise, fall = _window()
    joined = rows.take(frames, axis=0)
    # Almost everywhere, a frame and the one before it share the row; elsewhere this is made good.
    joined *= rise + fall
    later = 1 + np.flatnonzero(frames[1:] - frames[:-1] > 1)
    joined[later] = rows[frames[later]] * rise + rows[frames[later - 1] + 1] * fall
    joined[:1] = rows[frames[:1]] * rise
    return joined


def _magnitudes(rows: Samples) -> Samples:
    num_frames = max(0, len(rows) - 1)
    power = np.empty((num_frames, NUM_BANDS + 1))
    frames = np.zeros((min(num_frames, _BLOCK), _N_FFT))
    for start in range(0, num_frames, _BLOCK):
        block = power[start : start + _BLOCK]
        _band_power(rows[start : start + len(block) + 1], frames[: len(block)], block)
    magnitudes: Samples = np.sqrt(power[:, :NUM_BANDS])
    return magnitudes


def _band_power(rows: Samples, frames: Samples, power: Samples) -> None:
    """Written to ``power``, which has a column more, for what is above the bands.

    Args:
        rows: shape ``(frames + 1, time)``.
        frames: zeros, but for the first half, which is written to.
        power: shape ``(frames, bands + 1)``.
    """
    rise, fall = _window()
    np.multiply(rows[:-1], rise, out=frames[:, :HOP_LENGTH])
    np.multiply(rows[1:], fall, out=frames[:, HOP_LENGTH:FRAME_LENGTH])
    parts = np.fft.rfft(frames).view(np.float64)  # real and imaginary in turn
    # All bins, in place: those of the bands alone, which are not contiguous, take three times as long.
    parts *= parts
    np.add.reduceat(parts, 2 * _band_edges(), axis=1, out=power)


@functools.cache
def _window() -> tuple[Samples, Samples]:
    """Both halves of Hann's window without the zeros at its ends."""
    rise, fall = np.hanning(FRAME_LENGTH + 2)[1:-1].reshape(2, HOP_LENGTH)
    return rise, fall


@functools.cache
def _band_edges() -> NDArray[np.intp]:
    """First frequency bin of each band, and the one after the last."""
    frequencies = _LOWEST_HZ * 2.0 ** ((2 * np.arange(NUM_BANDS + 1) - 1) / 6)
    return np.rint(frequencies * _N_FFT / SAMPLE_RATE).astype(np.intp)
