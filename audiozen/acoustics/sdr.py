"""The formulas of SI-SDR and SNR, differentiable. Losses negate them, metrics report them."""

from __future__ import annotations

import torch
from torch import Tensor

from audiozen.acoustics._precision import at_least_float32
from audiozen.acoustics.level import is_silent
from audiozen.errors import ShapeError


def si_sdr(estimate: Tensor, reference: Tensor) -> Tensor:
    r"""Scale-invariant signal-to-distortion ratio, in dB. Higher is better.

    .. math:: 10 \log_{10} \frac{S + \varepsilon (S + D)}{D + \varepsilon (S + D)},
              \quad S = \|\alpha s\|^2, \quad D = \|\alpha s - \hat s\|^2,
              \quad \alpha = \frac{\hat s^\top s}{\|s\|^2}

    The mean of both signals is removed first. :math:`\varepsilon` is the machine epsilon of the
    dtype: it bounds the value (to 69 dB in float32, 157 dB in float64, either way) and, being
    relative, leaves it the same at any level of either signal. A silent reference gives NaN. A
    silent estimate gives the lowest value and no gradient.

    Args:
        estimate: :math:`\hat s`, shape ``(..., time)``.
        reference: :math:`s`, same shape.

    Returns:
        Shape ``(...)``. The gradient is finite wherever the signals are, also where the value is
        NaN.

    Raises:
        ShapeError: the shapes differ, or there is no sample.

    Source: Le Roux et al., "SDR - half-baked or well done?", ICASSP 2019, eq. 4 and 5.

    >>> clean = torch.tensor([1.0, -1.0, 1.0, -1.0])
    >>> noise = torch.tensor([1.0, 1.0, -1.0, -1.0])
    >>> print(f"{si_sdr(3 * (clean + 0.1 * noise), clean):.1f} dB")
    20.0 dB
    """
    check_same_shape(estimate, reference)
    estimate, reference = at_least_float32(estimate), at_least_float32(reference)
    no_estimate, no_reference = is_silent(estimate), is_silent(reference)
    estimate = _unit_peak(estimate - estimate.mean(-1, keepdim=True), no_estimate)
    reference = _unit_peak(reference - reference.mean(-1, keepdim=True), no_reference)
    scale = _dot(estimate, reference) / _dot(reference, reference)
    target = scale[..., None] * reference
    signal, distortion = _energy(target), _energy(target - estimate)
    floor = torch.finfo(signal.dtype).eps * (signal + distortion)
    ratio = _decibels(signal + floor, distortion + floor)
    return torch.where(no_reference, torch.nan, ratio)


def snr(estimate: Tensor, reference: Tensor) -> Tensor:
    r"""Signal-to-noise ratio, in dB. Higher is better.

    .. math:: 10 \log_{10} \frac{\|s\|^2}{\|s - \hat s\|^2 + \varepsilon \|s\|^2}

    Level and sign count, and the mean is not removed. A perfect estimate has 69 dB in float32, 157
    dB in float64 (:math:`\varepsilon` is the machine epsilon); a silent estimate 0 dB; a silent
    reference (all samples equal) NaN.

    Args:
        estimate: :math:`\hat s`, shape ``(..., time)``.
        reference: :math:`s`, same shape.

    Returns:
        Shape ``(...)``.

    Raises:
        ShapeError: the shapes differ, or there is no sample.
    """
    check_same_shape(estimate, reference)
    estimate, reference = at_least_float32(estimate), at_least_float32(reference)
    no_reference = is_silent(reference)
    peak = _peak(reference, no_reference)
    estimate, reference = estimate / peak, torch.where(no_reference[..., None], 1, reference / peak)
    signal, noise = _energy(reference), _energy(reference - estimate)
    ratio = _decibels(signal, noise + torch.finfo(signal.dtype).eps * signal)
    return torch.where(no_reference, torch.nan, ratio)


def check_same_shape(estimate: Tensor, reference: Tensor) -> None:
    """Refuse signals of different shapes (also where they broadcast), and empty ones."""
    if estimate.shape != reference.shape:
        raise ShapeError(
            f"estimate {tuple(estimate.shape)} and reference {tuple(reference.shape)} differ in "
            "shape; trim or pad one of them first"
        )
    if estimate.ndim == 0 or estimate.shape[-1] == 0:
        raise ShapeError(f"signals of shape {tuple(estimate.shape)} have no samples")


def _unit_peak(waveform: Tensor, silent: Tensor) -> Tensor:
    # Squares of quiet signals would leave the range of float32. Ones stand in for silence: nothing
    # becomes 0 / 0, and a constant is orthogonal to every reference without mean.
    return torch.where(silent[..., None], 1, waveform / _peak(waveform, silent))


def _peak(waveform: Tensor, silent: Tensor) -> Tensor:
    peak = waveform.detach().abs().amax(-1)
    return torch.where(silent, 1, peak)[..., None]


def _dot(left: Tensor, right: Tensor) -> Tensor:
    return (left * right).sum(-1)


def _energy(waveform: Tensor) -> Tensor:
    return waveform.square().sum(-1)


def _decibels(numerator: Tensor, denominator: Tensor) -> Tensor:
    return 10 * torch.log10(numerator / denominator)
