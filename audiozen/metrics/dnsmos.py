"""DNSMOS: mean opinion scores without a reference, predicted by networks of Microsoft's.

The networks come with the package ``speechmos`` and run on onnxruntime; features and protocol are
computed here as the official script does, so that figures compare with published ones:

- A signal shorter than 9.01 s is doubled until it is not.
- Segments of 9.01 s, one second apart, are scored, and the scores averaged.
- The script computes the end of a segment in floating point, and drops those that start 7 to 23 s
  into the signal, since their length comes out one sample short. It also counts whole seconds only,
  and so may miss the last segment.

Metrics named with ``_full`` behind score all segments.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from audiozen.errors import MetricError
from audiozen.metrics.measure import (
    Measure,
    Samples,
    Signal,
    evaluate,
    not_installed,
    require,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

_SAMPLE_RATE = 16000
_SEGMENT_SECONDS = 9.01
_SEGMENT_LENGTH = int(_SEGMENT_SECONDS * _SAMPLE_RATE)

# Half a step of 16 bits: what is quieter is silence in a file. DNSMOS gives silence 1.8, more than
# to really noisy speech.
_LEAST_PEAK = 2.0**-16

# From the raw outputs to scores; highest power first.
_POLYNOMIALS = {
    "dnsmos_sig": (-0.08397278, 1.22083953, 0.0052439),
    "dnsmos_bak": (-0.13166888, 1.60915514, -0.39604546),
    "dnsmos_ovrl": (-0.06766283, 1.11546468, 0.04602535),
}

_NUM_MELS, _MEL_N_FFT, _MEL_HOP_LENGTH = 120, 321, 160


def dnsmos_sig(estimate: Signal, *, sample_rate: int = 16000, strict: bool = False) -> Tensor:
    """Predicted quality of the speech (P.835 SIG), about 1 to 5. Higher is better.

    The level counts. All four scores of a signal come from one pass:
    :class:`~audiozen.metrics.Scorer` shares it.

    Args:
        estimate: shape ``(time,)`` or ``(batch, time)``, in ``[-1, 1]``.
        sample_rate: 16000, in Hz.
        strict: raise where it is undefined, instead of NaN.

    Returns:
        float64, shape ``()`` or ``(batch,)``. NaN where the estimate is not finite, or silent (no
        sample reaches half a step of 16 bits).

    Raises:
        ShapeError: another shape.
        RequestError: another sample rate.
        MetricError: undefined, and ``strict``; or onnxruntime or speechmos is not installed.

    Source: Reddy et al., "DNSMOS P.835", ICASSP 2022.
    """
    return evaluate("dnsmos_sig", DNSMOS, estimate, None, sample_rate, strict=strict)


def dnsmos_bak(estimate: Signal, *, sample_rate: int = 16000, strict: bool = False) -> Tensor:
    """Predicted absence of background (P.835 BAK), about 1 to 5. Higher is better.

    Arguments, result and errors are those of :func:`dnsmos_sig`.
    """
    return evaluate("dnsmos_bak", DNSMOS, estimate, None, sample_rate, strict=strict)


def dnsmos_ovrl(estimate: Signal, *, sample_rate: int = 16000, strict: bool = False) -> Tensor:
    """Predicted overall quality (P.835 OVRL), about 1 to 5. Higher is better.

    Arguments, result and errors are those of :func:`dnsmos_sig`.
    """
    return evaluate("dnsmos_ovrl", DNSMOS, estimate, None, sample_rate, strict=strict)


def dnsmos_p808(estimate: Signal, *, sample_rate: int = 16000, strict: bool = False) -> Tensor:
    """Predicted overall quality (P.808), about 1 to 5. Higher is better.

    Arguments, result and errors are those of :func:`dnsmos_sig`.

    Source: Reddy et al., "DNSMOS: a non-intrusive perceptual objective speech quality metric to
    evaluate noise suppressors", ICASSP 2021.
    """
    return evaluate("dnsmos_p808", DNSMOS, estimate, None, sample_rate, strict=strict)


def dnsmos_sig_full(estimate: Signal, *, sample_rate: int = 16000, strict: bool = False) -> Tensor:
    """As :func:`dnsmos_sig`, of all segments of 9.01 s: the official script drops some.

    The two are equal up to 16 s if the signal has at least 9.01 s. Figures of the two must not be
    compared; published ones are those of the official script.
    """
    return evaluate("dnsmos_sig_full", DNSMOS_FULL, estimate, None, sample_rate, strict=strict)


def dnsmos_bak_full(estimate: Signal, *, sample_rate: int = 16000, strict: bool = False) -> Tensor:
    """As :func:`dnsmos_bak`, of all segments; see :func:`dnsmos_sig_full`."""
    return evaluate("dnsmos_bak_full", DNSMOS_FULL, estimate, None, sample_rate, strict=strict)


def dnsmos_ovrl_full(estimate: Signal, *, sample_rate: int = 16000, strict: bool = False) -> Tensor:
    """As :func:`dnsmos_ovrl`, of all segments; see :func:`dnsmos_sig_full`."""
    return evaluate("dnsmos_ovrl_full", DNSMOS_FULL, estimate, None, sample_rate, strict=strict)


def dnsmos_p808_full(estimate: Signal, *, sample_rate: int = 16000, strict: bool = False) -> Tensor:
    """As :func:`dnsmos_p808`, of all segments; see :func:`dnsmos_sig_full`."""
    return evaluate("dnsmos_p808_full", DNSMOS_FULL, estimate, None, sample_rate, strict=strict)


def _dnsmos(estimate: Samples, _reference: Samples | None, _rate: int) -> dict[str, float]:
    return _mean_scores(estimate, {"": _official_starts})


def _dnsmos_full(estimate: Samples, _reference: Samples | None, _rate: int) -> dict[str, float]:
    return _mean_scores(estimate, {"": _official_starts, "_full": _all_starts})


def _mean_scores(
    signal: Samples, protocols: Mapping[str, Callable[[int], Sequence[int]]]
) -> dict[str, float]:
    """Means over the segments that each protocol chooses, which are scored once."""
    if np.abs(signal).max() < _LEAST_PEAK:
        raise MetricError("silent_estimate", "no sample of the estimate reaches 16-bit precision")
    audio = _repeat(signal)
    # Where the signal was repeated, segments one period apart are the same.
    period = len(signal)
    score = functools.cache(lambda start: _score_segment(audio[start : start + _SEGMENT_LENGTH]))
    means: dict[str, float] = {}
    for suffix, starts in protocols.items():
        scores = np.mean([score(start % period) for start in starts(len(audio))], axis=0)
        names = [name + suffix for name in (*_POLYNOMIALS, "dnsmos_p808")]
        means |= dict(zip(names, scores.tolist()))
    return means


def _repeat(signal: Samples) -> Samples:
    """Doubled until it has a segment."""
    while len(signal) < _SEGMENT_LENGTH:
        signal = np.append(signal, signal)
    return signal


def _official_starts(length: int) -> list[int]:
    num_hops = int(np.floor(length / _SAMPLE_RATE) - _SEGMENT_SECONDS) + 1
    ends = [int((hop + _SEGMENT_SECONDS) * _SAMPLE_RATE) for hop in range(num_hops)]
    starts = [hop * _SAMPLE_RATE for hop in range(num_hops)]
    return [
        start for start, end in zip(starts, ends) if min(end, length) - start >= _SEGMENT_LENGTH
    ]


def _all_starts(length: int) -> Sequence[int]:
    return range(0, length - _SEGMENT_LENGTH + 1, _SAMPLE_RATE)


def _score_segment(segment: Samples) -> NDArray[np.float64]:
    p835, p808 = _sessions(os.getpid())
    [raw] = p835.run(None, {"input_1": segment.astype(np.float32)[None]})[0]
    [[overall]] = p808.run(None, {"input_1": _log_mel(segment[:-160]).astype(np.float32)[None]})[0]
    scores = [np.polyval(p, float(x)) for p, x in zip(_POLYNOMIALS.values(), raw)]
    return np.array([*scores, float(overall)])


@functools.lru_cache(maxsize=1)
def _sessions(_process_id: int) -> tuple[Any, Any]:
    folder = _model_folder()
    return _load_session(folder / "sig_bak_ovr.onnx"), _load_session(folder / "model_v8.onnx")


def _load_session(path: Path) -> Any:
    onnxruntime = require("onnxruntime", extra="metrics")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _model_folder() -> Path:
    # Not imported: speechmos would import librosa, requests and more.
    spec = importlib.util.find_spec("speechmos")
    if spec is None or not spec.submodule_search_locations:
        raise not_installed("speechmos", "metrics")
    return Path(spec.submodule_search_locations[0]) / "dnsmos_models"


def _log_mel(audio: Samples) -> Samples:
    """Mel spectrogram in dB below its maximum, from -1 (-80 dB) to 1 (0 dB); ``(frames, mels)``."""
    padded = np.pad(audio, _MEL_N_FFT // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _MEL_N_FFT)[::_MEL_HOP_LENGTH]
    power = np.abs(np.fft.rfft(frames * _hann_window(), axis=-1)) ** 2
    mel = np.maximum(power @ _mel_filters(), 1e-10)
    level_db = 10 * np.log10(mel / mel.max())
    result: Samples = (np.maximum(level_db, level_db.max() - 80) + 40) / 40
    return result


@functools.cache
def _hann_window() -> Samples:
    window: Samples = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_MEL_N_FFT) / _MEL_N_FFT)
    return window


@functools.cache
def _mel_filters() -> Samples:
    """Triangles of equal area on Slaney's mel scale, ``(freq, mels)``. Some are empty."""
    frequencies = np.fft.rfftfreq(_MEL_N_FFT, 1 / _SAMPLE_RATE)[:, None]
    edges = _mel_to_hz(np.linspace(0, _hz_to_mel(_SAMPLE_RATE / 2), _NUM_MELS + 2))
    lower, peak, upper = edges[:-2], edges[1:-1], edges[2:]
    rising = (frequencies - lower) / (peak - lower)
    falling = (upper - frequencies) / (upper - peak)
    filters: Samples = np.maximum(0, np.minimum(rising, falling)) * 2 / (upper - lower)
    return filters


# Slaney's scale: linear up to 1 kHz (15 mel), logarithmic above (27 mel for each factor of 6.4).
_MELS_PER_HZ, _KNEE_HZ, _KNEE_MEL = 3 / 200, 1000.0, 15.0
_LOG_STEP = np.log(6.4) / 27


def _hz_to_mel(frequency: float) -> float:
    return float(_KNEE_MEL + np.log(frequency / _KNEE_HZ) / _LOG_STEP)


def _mel_to_hz(mels: Samples) -> Samples:
    linear = mels / _MELS_PER_HZ
    return np.where(mels < _KNEE_MEL, linear, _KNEE_HZ * np.exp(_LOG_STEP * (mels - _KNEE_MEL)))


DNSMOS = Measure(_dnsmos, sample_rates=(_SAMPLE_RATE,), needs_reference=False)
DNSMOS_FULL = Measure(
    _dnsmos_full, sample_rates=(_SAMPLE_RATE,), needs_reference=False, covers=(DNSMOS,)
)
