"""What a recording goes through after the microphone: an overdriven input, a narrow channel.

As in :mod:`audiozen.data.mixing`, signals have shape ``(time,)`` or ``(batch, time)``, each row gets draws of its own,
and nothing waits for the device.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from audiozen.acoustics.level import db_to_amplitude
from audiozen.data.draws import moved, random_uniform

if TYPE_CHECKING:
    from torch import Generator

__all__ = ["band_limit", "clip", "random_band_limit", "random_clipping"]

_TRANSITION = 0.1
"""From full to no response, of the cutoff."""


def clip(waveform: Tensor, overdrive_db: Tensor | float) -> Tensor:
    """Cut off what is louder than the peak less ``overdrive_db``, as an overdriven input does.

    Args:
        waveform: shape ``(..., time)``, at least one sample.
        overdrive_db: how far the peak is above the limit, in dB; one for all, or shape ``(...)``. 0 cuts nothing off.

    Returns:
        Shape ``(..., time)``. What is below the limit is as it was.

    >>> clip(torch.tensor([0.25, -0.75, 1.0]), overdrive_db=20 * math.log10(2)).tolist()
    [0.25, -0.5, 0.5]
    """
    if isinstance(overdrive_db, Tensor):
        overdrive_db = moved(overdrive_db, waveform).to(waveform.dtype)
    limit = (waveform.abs().amax(-1) * db_to_amplitude(-overdrive_db))[..., None]
    return torch.minimum(torch.maximum(waveform, -limit), limit)


def random_clipping(
    waveform: Tensor,
    *,
    lowest_db: float = 3.0,
    highest_db: float = 12.0,
    generator: Generator | None = None,
) -> Tensor:
    """Overdrive each signal by so many dB (:func:`clip`); its level is not made up for.

    Args:
        waveform: shape ``(..., time)``, at least one sample.
        lowest_db: of the peak above the limit.
        highest_db: the same.
        generator: what draws.

    Returns:
        Shape ``(..., time)``.
    """
    return clip(waveform, random_uniform(waveform.shape[:-1], lowest_db, highest_db, generator))


def band_limit(waveform: Tensor, sample_rate: int, cutoff: Tensor | float) -> Tensor:
    """Take away what is above a frequency, without delay (zero phase).

    The response is 1 up to 0.9 of the cutoff, 0 from the cutoff on, and half a cosine between.

    Args:
        waveform: shape ``(..., time)``.
        sample_rate: in Hz.
        cutoff: in Hz; one for all, or shape ``(...)``. From 5/9 of the sample rate on, nothing is taken away.

    Returns:
        Shape ``(..., time)``.
    """
    length = waveform.shape[-1]
    frequencies = torch.fft.rfftfreq(length, 1 / sample_rate, device=waveform.device)
    if isinstance(cutoff, Tensor):
        cutoff = moved(cutoff, waveform).to(frequencies.dtype)[..., None]
    from_cutoff = ((cutoff - frequencies) / (_TRANSITION * cutoff)).clamp(0, 1)
    response = 0.5 - 0.5 * torch.cos(math.pi * from_cutoff)
    limited: Tensor = torch.fft.irfft(torch.fft.rfft(waveform) * response, n=length)
    return limited


def random_band_limit(
    waveform: Tensor,
    sample_rate: int,
    *,
    lowest: float = 3400.0,
    highest: float = 8000.0,
    generator: Generator | None = None,
) -> Tensor:
    """Send each signal through a channel with a random cutoff (:func:`band_limit`), as telephones and codecs have one.

    Args:
        waveform: shape ``(..., time)``.
        sample_rate: in Hz.
        lowest: cutoff, in Hz; all ratios are drawn equally often. 3400 Hz is the telephone.
        highest: the same.
        generator: what draws.

    Returns:
        Shape ``(..., time)``.
    """
    shape = waveform.shape[:-1]
    octaves = random_uniform(shape, math.log2(lowest), math.log2(highest), generator)
    return band_limit(waveform, sample_rate, octaves.exp2())
