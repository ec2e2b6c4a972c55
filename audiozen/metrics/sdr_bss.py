"""Signal-to-distortion ratio of BSS-eval."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from audiozen.errors import MetricError
from audiozen.metrics.measure import Measure, Samples, Signal, evaluate

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    Spectrum = NDArray[np.complex128]

_ANY_RATE = 1
_NUM_TAPS = 512
_EPSILON = np.finfo(np.float64).eps


def sdr_bss(estimate: Signal, reference: Signal, *, strict: bool = False) -> Tensor:
    r"""Signal-to-distortion ratio of BSS-eval, in dB. Higher is better.

    .. math:: 10 \log_{10} \frac{\|h * s\|^2}{\|h * s - \hat s\|^2}

    where :math:`h` is the filter of 512 taps that makes the ratio greatest: level, sign, delays up
    to 511 samples and colouration of the estimate do not count. A constant in the signals does.
    It is BSS-eval's SDR (versions 3 and 4, one filter for the whole signal) of a single source. A
    perfect estimate has about 157 dB, the precision of float64.

    Args:
        estimate: shape ``(time,)`` or ``(batch, time)``.
        reference: same shape.
        strict: raise where it is undefined, instead of NaN.

    Returns:
        float64, shape ``()`` or ``(batch,)``, in dB. NaN where there are fewer samples than taps
        (``too_short``), and where either signal is silent or not finite.

    Raises:
        ShapeError: the shapes differ, or are others than these.
        MetricError: undefined, and ``strict``.

    Source: Vincent et al., "Performance measurement in blind audio source separation", TASLP 2006.

    >>> clean, noise = torch.randn(2, 16000, generator=torch.Generator().manual_seed(0))
    >>> late = clean.roll(5)
    >>> print(f"{sdr_bss(late + 0.1 * noise, clean):.0f} dB")
    20 dB
    """
    return evaluate("sdr_bss", SDR_BSS, estimate, reference, _ANY_RATE, strict=strict)


def _sdr_bss(estimate: Samples, reference: Samples | None, _: int) -> dict[str, float]:
    assert reference is not None
    if estimate.size < _NUM_TAPS:
        raise MetricError("too_short", f"the filter of sdr_bss has {_NUM_TAPS} taps")
    length = estimate.size + _NUM_TAPS - 1
    enhanced, clean = (
        np.fft.rfft(signal / np.linalg.norm(signal), _fft_size(length))
        for signal in (estimate, reference)
    )
    target = _project(enhanced, clean)
    signal = _energy(target)
    noise = _energy(enhanced - target) + _EPSILON * signal
    return {"sdr_bss": 10 * math.log10(signal / noise)}


def _project(estimate: Spectrum, reference: Spectrum) -> Spectrum:
    """Spectrum of the filtered reference that is nearest to the estimate."""
    auto = np.fft.irfft(np.abs(reference) ** 2)[:_NUM_TAPS]
    cross = np.fft.irfft(estimate * reference.conj())[:_NUM_TAPS]
    size = 2 * (len(reference) - 1)
    filtered: Spectrum = np.fft.rfft(_solve_toeplitz(auto, cross), size) * reference
    return filtered


def _energy(spectrum: Spectrum) -> float:
    return float(np.sum(np.fft.irfft(spectrum) ** 2))


def _solve_toeplitz(column: Samples, right: Samples) -> Samples:
    """Solution of the symmetric system with this first column."""
    taps = np.arange(len(column))
    matrix = torch.from_numpy(column[np.abs(taps[:, None] - taps)])
    factor, info = torch.linalg.cholesky_ex(matrix)
    if info == 0:
        solution = torch.cholesky_solve(torch.from_numpy(right)[:, None], factor)
    else:
        # A reference that leaves bands empty: many filters are the best. Take the smallest.
        solution = torch.linalg.lstsq(matrix, torch.from_numpy(right)[:, None], driver="gelsd")[0]
    result: Samples = solution[:, 0].numpy()
    return result


def _fft_size(length: int) -> int:
    return 1 << (length - 1).bit_length()


SDR_BSS = Measure(_sdr_bss)
