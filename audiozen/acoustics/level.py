"""How loud a signal is. 0 dBFS is an rms of 1; a full-scale sine has -3 dBFS."""

from __future__ import annotations

import math
from typing import overload

import torch
from torch import Tensor

from audiozen.errors import RequestError, ShapeError

_FRAME_SECONDS = 0.020
_ACTIVE_RANGE_DB = 35.0
_ACTIVE_QUANTILE = 0.95

# Subtracting the mean of a constant leaves rounding errors of a few epsilons per sample.
_ROUNDING_EPSILONS = 16.0


def rms(waveform: Tensor) -> Tensor:
    """Root mean square, linear; 0 for silence.

    Args:
        waveform: shape ``(..., time)``.

    Returns:
        Shape ``(...)``. ``amplitude_to_db`` makes it dBFS.

    >>> round(float(amplitude_to_db(rms(torch.tensor([0.5, -0.5])))), 2)
    -6.02
    """
    return waveform.square().mean(-1).sqrt()


def active_rms(waveform: Tensor, sample_rate: int) -> Tensor:
    """Root mean square where something is to be heard, linear: the level of speech without its
    pauses.

    Over frames of 20 ms (those within 35 dB of the 95th percentile of all frame levels). A rest
    shorter than a frame is left out, and a signal shorter than a frame is one frame. Silence gives
    0.

    Args:
        waveform: shape ``(..., time)``, at least one sample.
        sample_rate: in Hz.

    Returns:
        Shape ``(...)``.

    Raises:
        ShapeError: no sample.
        RequestError: the sample rate is not positive.
    """
    if waveform.ndim == 0 or waveform.shape[-1] == 0:
        raise ShapeError(f"a waveform of shape {tuple(waveform.shape)} has no active level")
    energies = _frame_energies(waveform, sample_rate)
    levels_db = _energy_to_db(energies)
    loud = torch.quantile(levels_db, _ACTIVE_QUANTILE, dim=-1, keepdim=True)
    active = levels_db > loud - _ACTIVE_RANGE_DB
    return ((energies * active).sum(-1) / active.sum(-1)).sqrt()


def is_silent(waveform: Tensor) -> Tensor:
    """Whether a signal carries nothing: all samples equal, up to rounding.

    A constant other than zero counts as silent. Any other signal does not, however quiet it is; nor
    does one with NaN in it. An empty one is silent.

    Args:
        waveform: shape ``(..., time)``.

    Returns:
        Boolean, shape ``(...)``.
    """
    if waveform.shape[-1] == 0:
        return torch.ones(waveform.shape[:-1], dtype=torch.bool, device=waveform.device)
    waveform = waveform.detach()
    centred = waveform - waveform.mean(-1, keepdim=True)
    rounding = _ROUNDING_EPSILONS * torch.finfo(waveform.dtype).eps
    return centred.abs().amax(-1) <= rounding * waveform.abs().amax(-1)


@overload
def amplitude_to_db(amplitude: Tensor) -> Tensor: ...
@overload
def amplitude_to_db(amplitude: float) -> float: ...
def amplitude_to_db(amplitude: Tensor | float) -> Tensor | float:
    """Decibels of an amplitude (an rms: dBFS), ``20 log10``; 0 gives minus infinity.

    >>> amplitude_to_db(0.1)
    -20.0
    """
    if isinstance(amplitude, Tensor):
        return 20 * torch.log10(amplitude)
    return 20 * math.log10(amplitude) if amplitude else -math.inf


@overload
def db_to_amplitude(level_db: Tensor) -> Tensor: ...
@overload
def db_to_amplitude(level_db: float) -> float: ...
def db_to_amplitude(level_db: Tensor | float) -> Tensor | float:
    """Amplitude of a level or gain in decibels; minus infinity gives 0.

    >>> round(db_to_amplitude(-6.0), 7)
    0.5011872
    """
    return 10 ** (level_db / 20)


def _frame_energies(waveform: Tensor, sample_rate: int) -> Tensor:
    if sample_rate <= 0:
        raise RequestError(f"sample_rate must be positive, got {sample_rate}")
    frame_length = min(max(1, round(_FRAME_SECONDS * sample_rate)), waveform.shape[-1])
    num_frames = waveform.shape[-1] // frame_length
    frames = waveform[..., : num_frames * frame_length]
    frames = frames.reshape(*waveform.shape[:-1], num_frames, frame_length)
    return frames.square().mean(-1)


def _energy_to_db(energies: Tensor) -> Tensor:
    # Interpolating between infinities would give NaN.
    return 10 * torch.log10(energies.clamp(min=torch.finfo(energies.dtype).tiny))
