"""Short-time objective intelligibility: how alike both signals are in their envelopes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from audiozen.errors import MetricError
from audiozen.metrics.measure import Measure, Samples, Signal, evaluate
from audiozen.metrics.polyphase import resample
from audiozen.metrics.third_octaves import (
    FRAME_LENGTH,
    HOP_LENGTH,
    NUM_BANDS,
    SAMPLE_RATE,
    envelopes,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

_NUM_FRAMES = 30
_LEAST_SECONDS = (FRAME_LENGTH + (_NUM_FRAMES - 1) * HOP_LENGTH) / SAMPLE_RATE

# Of the frames of a segment, as a product of matrices: it takes half as long as ``mean``.
_AVERAGE = np.full(_NUM_FRAMES, 1 / _NUM_FRAMES)

# Where a band of the estimate goes beyond this multiple of the reference, its error is above -15 dB, and is cut off.
_CEILING = 1 + 10 ** (15 / 20)

# Segments at a time, which then take 2 MB, however long the signal is.
_BLOCK = 512


def stoi(
    estimate: Signal, reference: Signal, *, sample_rate: int = 16000, strict: bool = False
) -> Tensor:
    """Short-time objective intelligibility: a correlation, mostly in ``[0, 1]``. Higher is better.

    The level does not count. Pauses of the reference are left out.

    Args:
        estimate: shape ``(time,)`` or ``(batch, time)``.
        reference: same shape.
        sample_rate: in Hz. Both signals are brought to 10 kHz, as the definition wants it.
        strict: raise where it is undefined, instead of NaN.

    Returns:
        float64, shape ``()`` or ``(batch,)``. NaN where fewer than 30 frames (0.4 s) are left
        without the pauses (``too_short``), and where either signal is silent or not finite.

    Raises:
        ShapeError: the shapes differ, or are others than these.
        MetricError: undefined, and ``strict``.

    Source: Taal et al., "An algorithm for intelligibility prediction of time-frequency weighted
    noisy speech", TASLP 2011.
    """
    return evaluate("stoi", STOI, estimate, reference, sample_rate, strict=strict)


def estoi(
    estimate: Signal, reference: Signal, *, sample_rate: int = 16000, strict: bool = False
) -> Tensor:
    """Extended short-time objective intelligibility, mostly in ``[0, 1]``. Higher is better.

    As :func:`stoi`, but for maskers that fluctuate, such as babble; values are lower.

    Args:
        estimate: shape ``(time,)`` or ``(batch, time)``.
        reference: same shape.
        sample_rate: in Hz. Both signals are brought to 10 kHz, as the definition wants it.
        strict: raise where it is undefined, instead of NaN.

    Returns:
        float64, shape ``()`` or ``(batch,)``. NaN as in :func:`stoi`.

    Raises:
        ShapeError: the shapes differ, or are others than these.
        MetricError: undefined, and ``strict``.

    Source: Jensen and Taal, "An algorithm for predicting the intelligibility of speech masked by
    modulated noise maskers", TASLP 2016.
    """
    return evaluate("estoi", ESTOI, estimate, reference, sample_rate, strict=strict)


def _stoi(estimate: Samples, reference: Samples | None, sample_rate: int) -> dict[str, float]:
    return {"stoi": _mean_correlation(_over_time, estimate, reference, sample_rate)}


def _estoi(estimate: Samples, reference: Samples | None, sample_rate: int) -> dict[str, float]:
    return {"estoi": _mean_correlation(_over_bands, estimate, reference, sample_rate)}


def _mean_correlation(
    correlations: Callable[[Samples, Samples], Samples],
    estimate: Samples,
    reference: Samples | None,
    sample_rate: int,
) -> float:
    """Mean of the correlations of all segments of 30 frames, one frame apart.

    Args:
        correlations: of the segments of both, whose frames it takes, each ``(frames, bands)``.
        estimate: shape ``(time,)``.
        reference: same shape.
        sample_rate: in Hz.

    Raises:
        MetricError: too short.
    """
    assert reference is not None
    if estimate.size < _LEAST_SECONDS * sample_rate:
        raise _too_short()
    both = (resample(signal, sample_rate, SAMPLE_RATE) for signal in (estimate, reference))
    estimates, references = envelopes(*both)
    num_segments = len(estimates) - _NUM_FRAMES + 1
    if num_segments < 1:
        raise _too_short()
    starts = range(0, num_segments, _BLOCK)
    blocks = [slice(start, start + _BLOCK + _NUM_FRAMES - 1) for start in starts]
    values = [correlations(estimates[block], references[block]) for block in blocks]
    return float(np.concatenate(values).mean())


def _segments(envelope: Samples) -> Samples:
    """A view of shape ``(frames, segments * bands)``."""
    shape = _NUM_FRAMES, envelope.size - (_NUM_FRAMES - 1) * NUM_BANDS
    strides = envelope.itemsize * NUM_BANDS, envelope.itemsize
    # As ``sliding_window_view``, which takes many times as long to set up.
    return np.ndarray(shape, envelope.dtype, envelope, strides=strides)


def _over_time(estimate: Samples, reference: Samples) -> Samples:
    """Of each band, the estimate limited by the reference, which is brought to its level; ``(segments * bands,)``."""
    energies = (_segments(signal * signal).sum(axis=0) for signal in (estimate, reference))
    ceiling = _segments(reference) * (_CEILING * np.sqrt(_ratio(*energies)))
    limited = np.minimum(ceiling, _segments(estimate))
    limited -= _AVERAGE @ limited
    ceiling -= _AVERAGE @ ceiling
    product = np.einsum("fs,fs->s", limited, ceiling)
    return _ratio(product, _norm(limited) * _norm(ceiling))


def _over_bands(estimate: Samples, reference: Samples) -> Samples:
    """Of each frame, all bands brought to mean 0 and norm 1 before; ``(frames * segments,)``."""
    first, second = _normalised(_segments(estimate)), _normalised(_segments(reference))
    product = np.einsum("fb,fb->f", first, second)
    energy = np.einsum("fb,fb->f", first, first) * np.einsum("fb,fb->f", second, second)
    return _ratio(product, np.sqrt(energy))


def _normalised(segments: Samples) -> Samples:
    """Bands with mean 0 and norm 1, or zeros; then frames with mean 0, ``(frames * segments, bands)``."""
    centred = segments - segments.mean(axis=0)
    centred *= _ratio(np.array(1.0), _norm(centred))
    frames: Samples = centred.reshape(-1, NUM_BANDS)
    frames -= frames.mean(axis=1, keepdims=True)
    return frames


def _norm(segments: Samples) -> Samples:
    norm: Samples = np.sqrt(np.einsum("fs,fs->s", segments, segments))
    return norm


def _ratio(numerator: Samples, denominator: Samples) -> Samples:
    """Zero where the denominator is."""
    ratio: Samples = np.zeros_like(denominator)
    np.divide(numerator, denominator, out=ratio, where=denominator > 0)
    return ratio


def _too_short() -> MetricError:
    return MetricError(
        "too_short", f"STOI needs 30 frames ({_LEAST_SECONDS:.1f} s) without the pauses"
    )


STOI = Measure(_stoi)
ESTOI = Measure(_estoi)
