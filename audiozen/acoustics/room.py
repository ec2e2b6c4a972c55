"""Sound between two points of an empty box: where its reflections come from, what arrives, how long it lasts.

Lengths are in metres, coordinates count from a corner of the room.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from audiozen.acoustics.level import amplitude_to_db
from audiozen.errors import RequestError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Images", "image_sources", "reverberation_time"]

SPEED_OF_SOUND = 343.0
"""In metres per second, at 20 °C."""

TRACED_SECONDS = 0.03
"""How long after the direct sound reflections are followed one by one."""

_HALF_WIDTH = 32
_DECAYED = 6 * math.log(10)  # 60 dB, as an exponent of e, for an energy


class Images(NamedTuple):
    """The mirror images of a source in the walls, nearest first, each of shape ``(images,)``."""

    distances: Tensor
    """To the receiver, in metres. The first one is the source itself."""
    num_reflections: Tensor


def box_response(
    size: Tensor,
    source: Tensor,
    receiver: Tensor,
    rt60: Tensor | float,
    noise: Tensor,
    sample_rate: int,
) -> Tensor:
    """What a receiver hears of a pulse, from the moment on when the direct sound arrives, relative to it.

    The reflections of the first 30 ms are those of a box with equal walls (mirror images). From then on there are so
    many that noise takes their place, of the level that they have on average, decaying with the reverberation time.

    Walls reflect with the opposite sign: with one sign all reflections would add up at 0 Hz.

    Args:
        size: length, width and height of the room, shape ``(3,)``.
        source: its place, shape ``(3,)``.
        receiver: the same; another place than that of the source.
        rt60: reverberation time, in seconds.
        noise: white, of rms 1, shape ``(time,)``.
        sample_rate: in Hz.

    Returns:
        Shape ``(time,)``. The first sample is the direct sound, which is 1, and what reflections right after it add.

    Source: Allen and Berkley, "Image method for efficiently simulating small-room acoustics", JASA 65(4), 1979, for the
    reflections; Moorer, "About this reverberation business", Computer Music Journal 3(2), 1979, for the noise.
    """
    distance = (source - receiver).norm()
    images = image_sources(
        size, source, receiver, float(distance) + SPEED_OF_SOUND * TRACED_SECONDS
    )
    num_traced = min(round(TRACED_SECONDS * sample_rate), len(noise))
    traced = pulses(
        (images.distances - distance) * (sample_rate / SPEED_OF_SOUND),
        distance / images.distances * (-reflection_factor(size, rt60)) ** images.num_reflections,
        num_traced,
    )
    time = torch.arange(num_traced, len(noise), device=noise.device) / sample_rate
    decay = 10 ** (-3 * (time + distance / SPEED_OF_SOUND) / rt60)
    # Images lie evenly in space, and the sphere grows as their energy falls: so much arrives in each sample.
    energy = 4 * math.pi * SPEED_OF_SOUND * distance.square() / (size.prod() * sample_rate)
    return torch.cat((traced, noise[num_traced:] * decay * energy.sqrt()))


def image_sources(size: Tensor, source: Tensor, receiver: Tensor, max_distance: float) -> Images:
    """Mirror images of a source that are up to ``max_distance`` from the receiver.

    Args:
        size: length, width and height of the room, shape ``(3,)``.
        source: its place, shape ``(3,)``.
        receiver: the same.
        max_distance: in metres.

    Source: Allen and Berkley, "Image method for efficiently simulating small-room acoustics", JASA 65(4), 1979.

    >>> images = image_sources(*torch.tensor([[5.0, 4, 3], [1, 2, 1], [3, 2, 1]]), max_distance=4.0)
    >>> images.distances.tolist(), images.num_reflections.tolist()  # straight on, by the floor, by the near wall
    ([2.0, 2.8284270763397217, 4.0], [0, 1, 1])
    """
    squares, counts = [], []
    for length, start, end in zip(size, source, receiver):
        reach = math.ceil(max_distance / (2 * float(length))) + 1
        period = torch.arange(-reach, reach + 1, device=size.device)
        # Walls at 0 and at ``length``: 2 n length + start is mirrored 2 |n| times, 2 n length - start |2 n - 1| times.
        places = torch.cat((2 * period * length + start, 2 * period * length - start))
        squares.append((places - end).square())
        counts.append(torch.cat((2 * period.abs(), (2 * period - 1).abs())))
    distances = _sums(squares).sqrt()
    is_near = distances <= max_distance
    distances, order = distances[is_near].sort(stable=True)
    return Images(distances, _sums(counts)[is_near][order])


def pulses(delays: Tensor, amplitudes: Tensor, num_samples: int) -> Tensor:
    """Pulses between the samples: band-limited (windowed sinc), flat within 0.1 dB up to 0.93 of half the sample rate.

    Args:
        delays: in samples, shape ``(pulses,)``. What is before sample 0 or after the end is cut off.
        amplitudes: of the same shape.
        num_samples: length of the result.

    Returns:
        Shape ``(num_samples,)``.
    """
    steps = torch.arange(-_HALF_WIDTH, _HALF_WIDTH + 1, device=delays.device)
    places = delays.round().long()[:, None] + steps
    from_peak = places - delays[:, None]
    window = torch.cos(from_peak * (math.pi / (2 * _HALF_WIDTH + 2))).square()
    values = amplitudes[:, None] * torch.sinc(from_peak) * window
    is_inside = (places >= 0) & (places < num_samples)
    waveform = torch.zeros(num_samples, dtype=values.dtype, device=delays.device)
    return waveform.index_add(0, places[is_inside], values[is_inside])


def reflection_factor(size: Tensor, rt60: Tensor | float) -> Tensor:
    """Part of the sound pressure that all six walls of a box must reflect for a reverberation time, in (0, 1).

    Args:
        size: length, width and height, shape ``(3,)``.
        rt60: in seconds, until sound is 60 dB weaker.

    Source: Eyring, "Reverberation time in 'dead' rooms", JASA 1, 1930.
    """
    length, width, height = size
    surface = 2 * (length * width + width * height + height * length)
    return torch.exp(-2 * _DECAYED * size.prod() / (SPEED_OF_SOUND * surface * rt60))


def reverberation_time(
    response: Tensor, sample_rate: int, *, from_db: float = -5.0, to_db: float = -25.0
) -> Tensor:
    """Seconds in which sound decays by 60 dB, from the slope of a part of the decay (Schroeder's backward integration).

    Args:
        response: of a room, shape ``(..., time)``.
        sample_rate: in Hz.
        from_db: where the part begins, less than the whole energy.
        to_db: where it ends. -25 is T20 of ISO 3382; -35 is T30.

    Returns:
        Shape ``(...)``; NaN for silence.

    Raises:
        ShapeError: no sample.
        RequestError: ``to_db`` is not below ``from_db``.

    >>> decay = 10 ** (-3 * torch.arange(8000.0) / 4000)  # 60 dB in half a second
    >>> round(float(reverberation_time(decay, 8000)), 3)
    0.5
    """
    if response.ndim == 0 or response.shape[-1] == 0:
        raise ShapeError(f"a response of shape {tuple(response.shape)} has no decay")
    if to_db >= from_db:
        raise RequestError(f"to_db must be below from_db ({from_db:g}), got {to_db:g}")
    energy = response.double().square()
    left = energy.flip(-1).cumsum(-1).flip(-1)
    level_db = amplitude_to_db((left / left[..., :1]).sqrt())
    is_part = (level_db <= from_db) & (level_db >= to_db)
    weight = is_part.double()
    time = torch.arange(response.shape[-1], device=response.device) / sample_rate
    num = weight.sum(-1, keepdim=True)
    time = weight * (time - (weight * time).sum(-1, keepdim=True) / num)
    # The slope of the straight line that fits best.
    slope = (time * level_db.where(is_part, 0.0)).sum(-1) / (time * time).sum(-1)
    return (-60 / slope).to(response.dtype)


def _sums(parts: Sequence[Tensor]) -> Tensor:
    """All sums of one number of each part, in a row."""
    first, second, third = parts
    return (first[:, None, None] + second[:, None] + third).flatten()
