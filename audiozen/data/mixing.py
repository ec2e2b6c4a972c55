"""Speech and noise become noisy speech. The random pieces draw from PyTorch's global generator.

noise = random_segment(noise, speech.shape[-1])
mixture = mix_at_snr(speech, random_equalizer(noise, 16_000), 5.0, sample_rate=16_000)
mixture.noisy, mixture.clean  # 5 dB apart, and below full scale
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from audiozen.acoustics.level import active_rms, db_to_amplitude, is_silent, rms
from audiozen.data.audio import resample
from audiozen.errors import AudioError, ShapeError


class Mixture(NamedTuple):
    """Noisy speech and its parts, all of shape ``(time,)``; ``noisy`` is ``clean + noise``."""

    noisy: Tensor
    clean: Tensor
    noise: Tensor
    speech_gain: float
    """Linear; ``clean`` is the speech times this."""
    noise_gain: float
    """Linear; ``noise`` is the noise that was given times this."""


def mix_at_snr(
    speech: Tensor,
    noise: Tensor,
    snr_db: float,
    *,
    sample_rate: int,
    level_dbfs: float | None = None,
    peak: float = 0.98,
) -> Mixture:
    """Add noise to speech at a signal-to-noise ratio.

    The ratio is that of the active level of the speech (pauses do not count: 20-ms frames within
    35 dB of the 95th percentile) to the rms of the whole noise. So the same noise is heard
    equally well whether a sentence has pauses or not.

    Args:
        speech: shape ``(time,)``.
        noise: shape ``(time,)``, as long as the speech (:func:`fit_length`).
        snr_db: in dB.
        sample_rate: in Hz; what 20 ms are.
        level_dbfs: active level of the clean speech in the mixture, in dBFS; None keeps it.
        peak: the greatest magnitude allowed in ``noisy``, ``clean`` and ``noise``. Where it would
            be exceeded, all three get one gain, so the level is then lower and the ratio the same.

    Raises:
        ShapeError: the lengths differ, or there is more than one axis.
        AudioError: speech or noise is silent, so that no gain gives the ratio.
    """
    if speech.ndim != 1 or speech.shape != noise.shape:
        raise ShapeError(
            f"speech {tuple(speech.shape)} and noise {tuple(noise.shape)} must both be (time,) and "
            "of one length; see fit_length"
        )
    for name, waveform in (("speech", speech), ("noise", noise)):
        if bool(is_silent(waveform)):
            raise AudioError(
                f"cannot mix at {snr_db} dB: the {name} is silent; draw another segment "
                "(random_segment avoids silence) or leave the file out (manifest_problems finds it)"
            )
    level = float(active_rms(speech, sample_rate))
    speech_gain = 1.0 if level_dbfs is None else db_to_amplitude(level_dbfs) / level
    noise_gain = speech_gain * level / float(rms(noise)) * db_to_amplitude(-snr_db)
    clean, scaled = speech * speech_gain, noise * noise_gain
    loudest = max(float(part.abs().max()) for part in (clean + scaled, clean, scaled))
    gain = min(1.0, peak / loudest)
    clean, scaled = clean * gain, scaled * gain
    return Mixture(clean + scaled, clean, scaled, speech_gain * gain, noise_gain * gain)


def fit_length(waveform: Tensor, num_samples: int, start: int = 0) -> Tensor:
    """``num_samples`` from ``start`` on, going round to the beginning as often as it takes.

    Args:
        waveform: shape ``(..., time)``, at least one sample.
        num_samples: length of the result.
        start: first sample; beyond the end it goes round as well.

    Returns:
        Shape ``(..., num_samples)``.

    Raises:
        ShapeError: the waveform is empty.

    >>> fit_length(torch.tensor([1, 2, 3]), 5, start=1).tolist()
    [2, 3, 1, 2, 3]
    """
    length = waveform.shape[-1]
    if length == 0:
        raise ShapeError("an empty waveform cannot be made longer")
    if 0 <= start <= length - num_samples:
        return waveform[..., start : start + num_samples]
    return waveform[..., torch.arange(start, start + num_samples) % length]


def random_segment(waveform: Tensor, num_samples: int, *, num_tries: int = 10) -> Tensor:
    """A segment from a random place, and not a silent one if that can be avoided.

    A waveform that is too short is repeated, from a random place on.

    Args:
        waveform: shape ``(time,)``.
        num_samples: length of the segment.
        num_tries: after so many silent segments, a silent one is returned.

    Returns:
        Shape ``(num_samples,)``.

    Raises:
        ShapeError: the waveform is empty.
    """
    length = waveform.shape[-1]
    num_starts = length - num_samples + 1 if length >= num_samples else length
    for _ in range(num_tries):
        segment = fit_length(waveform, num_samples, _random_integer(num_starts))
        if not bool(is_silent(segment)):
            break
    return segment


def random_equalizer(waveform: Tensor, sample_rate: int, *, max_gain_db: float = 6.0) -> Tensor:
    """Colour a signal with a smooth random frequency response, without delay (zero phase).

    Gains within ± ``max_gain_db`` are drawn at octave distances from half the sample rate down to
    62.5 Hz and interpolated over the logarithm of the frequency. The rms is kept.

    Args:
        waveform: shape ``(time,)``.
        sample_rate: in Hz.
        max_gain_db: in dB.

    Returns:
        Shape ``(time,)``.
    """
    num_octaves = max(1, math.ceil(math.log2(sample_rate / 2 / 62.5)))
    gains_db = max_gain_db * (2 * torch.rand(num_octaves + 1) - 1)
    frequencies = torch.fft.rfftfreq(waveform.shape[-1], 1 / sample_rate)
    # 0 at half the sample rate, one more with each octave down
    octaves = -torch.log2((2 * frequencies / sample_rate).clamp(min=2.0**-num_octaves))
    lower = octaves.long().clamp(max=num_octaves - 1)
    response_db = torch.lerp(gains_db[lower], gains_db[lower + 1], octaves - lower)
    spectrum = torch.fft.rfft(waveform) * db_to_amplitude(response_db)
    return _with_rms(torch.fft.irfft(spectrum, n=waveform.shape[-1]), rms(waveform))


def random_speed(waveform: Tensor, *, slowest: float = 0.9, fastest: float = 1.1) -> Tensor:
    """Play a signal at a random speed: length and pitch change together.

    Args:
        waveform: shape ``(time,)``.
        slowest: 0.9 makes it a ninth longer.
        fastest: 1.1 makes it an eleventh shorter.

    Returns:
        Shape ``(time / speed,)``, rounded.
    """
    return resample(waveform, _random_uniform(slowest, fastest), 1.0)


def colored_noise(num_samples: int, exponent: float) -> Tensor:
    """Gaussian noise with a power density proportional to ``1 / frequency ** exponent``, rms 1.

    Args:
        num_samples: length.
        exponent: 0 is white, 1 pink, 2 brown (red); negative values favour high frequencies.

    Returns:
        Shape ``(num_samples,)``; zero mean for two samples and more.
    """
    spectrum = torch.fft.rfft(torch.randn(num_samples))
    bins = torch.arange(len(spectrum)).clamp(min=1)
    spectrum = spectrum * bins.pow(-exponent / 2)
    if num_samples > 1:
        spectrum[0] = 0
    return _with_rms(torch.fft.irfft(spectrum, n=num_samples), torch.tensor(1.0))


def _with_rms(waveform: Tensor, wanted: Tensor) -> Tensor:
    tiny = torch.finfo(waveform.dtype).tiny
    return waveform * (wanted / rms(waveform).clamp(min=tiny))


def _random_integer(limit: int) -> int:
    return int(torch.randint(max(limit, 1), ()))


def _random_uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))
