"""Short-time objective intelligibility, computed by the package ``pystoi``."""

from __future__ import annotations

import contextlib
import warnings
from typing import TYPE_CHECKING

import numpy as np

from audiozen.errors import MetricError
from audiozen.metrics.measure import Measure, Samples, Signal, evaluate, require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

# 30 frames of 256 samples, 128 apart, at 10 kHz.
_LEAST_SECONDS = (256 + 29 * 128) / 10000

# What pystoi returns, with a warning, where less than that is left without the pauses.
_TOO_FEW_FRAMES = 1e-5


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
        MetricError: undefined, and ``strict``; or the package ``pystoi`` is not installed.

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
        MetricError: undefined, and ``strict``; or the package ``pystoi`` is not installed.

    Source: Jensen and Taal, "An algorithm for predicting the intelligibility of speech masked by
    modulated noise maskers", TASLP 2016.
    """
    return evaluate("estoi", ESTOI, estimate, reference, sample_rate, strict=strict)


def _stoi(estimate: Samples, reference: Samples | None, sample_rate: int) -> dict[str, float]:
    return {"stoi": _pystoi(estimate, reference, sample_rate, extended=False)}


def _estoi(estimate: Samples, reference: Samples | None, sample_rate: int) -> dict[str, float]:
    with _fixed_random_numbers():
        return {"estoi": _pystoi(estimate, reference, sample_rate, extended=True)}


def _pystoi(
    estimate: Samples, reference: Samples | None, sample_rate: int, *, extended: bool
) -> float:
    package = require("pystoi", extra="metrics")
    if estimate.size < _LEAST_SECONDS * sample_rate:
        raise _too_short()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        value = float(package.stoi(reference, estimate, sample_rate, extended=extended))
    if value == _TOO_FEW_FRAMES:
        raise _too_short()
    return value


def _too_short() -> MetricError:
    return MetricError(
        "too_short", f"STOI needs 30 frames ({_LEAST_SECONDS:.1f} s) without the pauses"
    )


@contextlib.contextmanager
def _fixed_random_numbers() -> Iterator[None]:
    # pystoi adds tiny random numbers, which decide where the estimate is digitally silent, and
    # takes them from NumPy's global generator, which belongs to the training data.
    state = np.random.get_state()  # noqa: NPY002 - the generator that pystoi uses
    np.random.seed(0)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


STOI = Measure(_stoi)
ESTOI = Measure(_estoi)
