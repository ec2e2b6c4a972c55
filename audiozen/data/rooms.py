"""Speech as it arrives in a room: random responses of rooms, and what they do to a signal.

In ``__getitem__``, of shape ``(time,)``::

    room = random_room(16_000, rt60=(0.2, 0.8))
    reverberant = reverberate(speech, room)  # heard in the room
    target = reverberate(speech, early_part(room, 16_000))  # the same with only the first 50 ms of its reflections

For a batch, ``torch.stack([random_room(16_000) for _ in speech])`` has the response of each row.

A response begins when the direct sound arrives, with 1: so nothing is delayed, and the direct sound is as loud as the
signal. A recorded one will do as well: ``recorded[recorded.abs().argmax() :] / recorded.abs().max()``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from audiozen.acoustics.room import box_response
from audiozen.data.draws import device_of, moved_to, random_uniform
from audiozen.errors import RequestError, ShapeError

if TYPE_CHECKING:
    from torch import Generator

__all__ = ["early_part", "random_room", "reverberate"]

SMALLEST, LARGEST = (3.0, 3.0, 2.4), (10.0, 8.0, 4.0)
"""Length, width and height of a room, in metres."""
WALL_DISTANCE = 0.4
"""At least so far from the walls are both speaker and microphone, in metres."""

_FFT_MULTIPLE = 1024  # transforms whose length is a large prime take many times as long


def random_room(
    sample_rate: int, *, rt60: tuple[float, float] = (0.2, 0.8), generator: Generator | None = None
) -> Tensor:
    """Response of a random room between a speaker and a microphone at random places in it.

    It is that of an empty box (``audiozen.acoustics.room.box_response``): first reflections one by one, then
    decaying noise. All frequencies are absorbed alike, speaker and microphone have no direction, and there is one
    microphone. As many random numbers are drawn as it has samples.

    Args:
        sample_rate: in Hz.
        rt60: shortest and longest reverberation time, in seconds.
        generator: what draws. All is computed where it draws, and a GPU is waited for.

    Returns:
        Shape ``(rt60[1] * sample_rate,)``, rounded, for whichever time is drawn. It begins with the direct sound, 1.

    Raises:
        RequestError: the reverberation times are not positive, or the second is below the first.
    """
    if not 0 < rt60[0] <= rt60[1]:
        raise RequestError(f"rt60 must be (shortest, longest) in seconds, got {rt60}")
    draws = random_uniform((4, 3), 0.0, 1.0, generator)
    smallest, largest = draws.new_tensor((SMALLEST, LARGEST))
    size = torch.lerp(smallest, largest, draws[0])
    receiver, source = WALL_DISTANCE + (size - 2 * WALL_DISTANCE) * draws[1:3]
    # Moved towards the microphone, or hardly any would be close to it.
    source = torch.lerp(receiver, source, 0.2 + 0.8 * draws[3, 0])
    seconds = rt60[0] + (rt60[1] - rt60[0]) * draws[3, 1]
    num_samples = round(rt60[1] * sample_rate)
    noise = torch.randn(num_samples, generator=generator, device=device_of(generator))
    return box_response(size, source, receiver, seconds, noise, sample_rate)


def reverberate(waveform: Tensor, response: Tensor) -> Tensor:
    """Hear a signal in a room. The direct sound stays in its place; what rings on after the end is cut off.

    Args:
        waveform: shape ``(..., time)``.
        response: of the room, from the direct sound on, shape ``(response,)``, or ``(..., response)`` with one for each
            signal. Its level is kept: one that begins with 1 leaves the direct sound as loud as the signal.

    Returns:
        Shape ``(..., time)``.

    Raises:
        ShapeError: waveform or response is empty, or there is not one response for each signal.

    >>> reverberate(torch.tensor([1.0, 0, 0, 2]), torch.tensor([1.0, 0.5])).round(decimals=3).abs().tolist()
    [1.0, 0.5, 0.0, 2.0]
    """
    _check_responses(waveform, response)
    length = waveform.shape[-1]
    response = moved_to(waveform.device, response[..., :length])
    num_samples = length + response.shape[-1] - 1
    num_samples += -num_samples % _FFT_MULTIPLE
    spectrum = torch.fft.rfft(waveform, num_samples) * torch.fft.rfft(response, num_samples)
    reverberant: Tensor = torch.fft.irfft(spectrum, num_samples)
    return reverberant[..., :length]


def early_part(response: Tensor, sample_rate: int, *, num_seconds: float = 0.05) -> Tensor:
    """The direct sound and its first reflections, which the ear takes for one sound with it.

    A signal that is reverberated with it is what an enhancement can be asked for, where the direct sound alone would be
    too much.

    Args:
        response: of a room, from the direct sound on, shape ``(..., response)``.
        sample_rate: in Hz.
        num_seconds: how much of it.

    Returns:
        Shape ``(..., num_seconds * sample_rate)``, rounded, and no longer than the response.
    """
    return response[..., : max(1, round(num_seconds * sample_rate))]


def _check_responses(waveform: Tensor, response: Tensor) -> None:
    if not (waveform.numel() and response.numel()):
        raise ShapeError(
            f"a waveform of shape {tuple(waveform.shape)} cannot be heard through a response of shape "
            f"{tuple(response.shape)}: both need a sample"
        )
    if response.shape[:-1] not in ((), waveform.shape[:-1]):
        raise ShapeError(
            f"responses of shape {tuple(response.shape)} are not one for each signal of {tuple(waveform.shape)}: there "
            "must be one for all, (response,), or the leading axes must be the same"
        )
