"""Speech and noise become noisy speech: one signal in a dataset, or a whole batch in ``training_step``.

In ``__getitem__``, of shape ``(time,)``::

    noise = random_segment(noise, speech.shape[-1])
    mixture = mix_at_snr(speech, random_equalizer(noise, 16_000), 5.0, sample_rate=16_000)
    mixture.noisy, mixture.clean  # 5 dB apart, and below full scale

In ``training_step``, of shape ``(batch, time)``, on the device of the model. Each row gets draws of its own::

    def training_step(self, batch, batch_idx):
        speech, noise = batch
        noise = random_choice(random_equalizer(noise, 16_000), noise, 0.3)
        noise = random_choice(random_second_noise(noise, noise.roll(1, 0)), noise, 0.3)
        snr_db = torch.empty(len(speech)).uniform_(-5, 20)
        mixture = mix_at_snr(speech, noise, snr_db, sample_rate=16_000, level_dbfs=-26.0)
        return self.loss_function(self.model(mixture.noisy), mixture.clean)

Random numbers are drawn on the CPU, from PyTorch's global generator, which the trainer seeds for each sample and each
step, or from a ``generator`` that is given. They are a few for each row, go to the device without waiting for it, and
are the same for every device. A generator of a GPU draws there, and other numbers.

A signal of its own is looked at: silence is refused or avoided. A batch is not, as that would wait for the GPU.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from audiozen.acoustics.level import active_rms, db_to_amplitude, is_silent, rms
from audiozen.data.audio import resample
from audiozen.data.draws import device_of, moved, moved_to, random_integer, random_uniform
from audiozen.errors import AudioError, ShapeError

if TYPE_CHECKING:
    from torch import Generator

__all__ = [
    "Mixture",
    "colored_noise",
    "fit_length",
    "mix_at_snr",
    "random_choice",
    "random_equalizer",
    "random_gain",
    "random_second_noise",
    "random_segment",
    "random_shift",
    "random_speed",
]


class Mixture(NamedTuple):
    """Noisy speech and its parts, all of shape ``(..., time)``; ``noisy`` is ``clean + noise``."""

    noisy: Tensor
    clean: Tensor
    noise: Tensor
    speech_gain: Tensor
    """Linear, shape ``(...)``; ``clean`` is the speech times this."""
    noise_gain: Tensor
    """Linear, shape ``(...)``; ``noise`` is the noise that was given times this."""


def mix_at_snr(
    speech: Tensor,
    noise: Tensor,
    snr_db: Tensor | float,
    *,
    sample_rate: int,
    level_dbfs: Tensor | float | None = None,
    peak: float = 0.98,
) -> Mixture:
    """Add noise to speech at a signal-to-noise ratio.

    The ratio is that of the active level of the speech (pauses do not count: 20-ms frames within
    35 dB of the 95th percentile) to the rms of the whole noise. So the same noise is heard
    equally well whether a sentence has pauses or not.

    In a batch, what is silent gets gain 0: where the noise is silent, the speech is alone; where
    the speech is, the noise has the level ``level_dbfs - snr_db``, or, without ``level_dbfs``, gain
    0 as well. Nothing waits for the device.

    Args:
        speech: shape ``(..., time)``.
        noise: of the same shape (:func:`fit_length`).
        snr_db: in dB; one for all, or shape ``(...)``, on any device.
        sample_rate: in Hz; what 20 ms are.
        level_dbfs: active level of the clean speech in the mixture, in dBFS, as ``snr_db``; None
            keeps it.
        peak: the greatest magnitude allowed in ``noisy``, ``clean`` and ``noise``. Where it would
            be exceeded, all three get one gain, so the level is then lower and the ratio the same.

    Raises:
        ShapeError: the shapes differ, or there is not one ratio or level for each signal.
        AudioError: speech or noise of shape ``(time,)`` is silent, so that no gain gives the ratio.
    """
    _check_shapes(speech, noise, snr_db=snr_db, level_dbfs=level_dbfs)
    is_speech_silent, is_noise_silent = is_silent(speech), is_silent(noise)
    if speech.ndim == 1:
        _refuse_silence(snr_db, speech=is_speech_silent, noise=is_noise_silent)
    # In float64, as Python has it: the few numbers of a row shall not add to the rounding.
    level = active_rms(speech.detach(), sample_rate).double().masked_fill(is_speech_silent, 0.0)
    noise_level = rms(noise.detach()).double().masked_fill(is_noise_silent, 0.0)
    wanted = level if level_dbfs is None else _amplitude(level_dbfs, level)
    speech_gain = _gain(wanted, level)
    noise_gain = _gain(wanted, noise_level) * _amplitude(-snr_db, level)
    clean, scaled = _times(speech, speech_gain), _times(noise, noise_gain)
    loudest = torch.maximum(_peak(clean + scaled), torch.maximum(_peak(clean), _peak(scaled)))
    gain = _gain(peak, loudest.double()).clamp(max=1.0)
    for part in (clean, scaled):  # in place: fetching new memory takes longer than multiplying
        part.mul_(gain.to(part.dtype)[..., None])
    gains = ((each * gain).to(speech.dtype) for each in (speech_gain, noise_gain))
    return Mixture(clean + scaled, clean, scaled, *gains)


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


def random_segment(
    waveform: Tensor, num_samples: int, *, num_tries: int = 10, generator: Generator | None = None
) -> Tensor:
    """A segment from a random place, and not a silent one if that can be avoided.

    A waveform that is too short is repeated, from a random place on.

    Args:
        waveform: shape ``(time,)``.
        num_samples: length of the segment.
        num_tries: after so many silent segments, a silent one is returned.
        generator: what draws.

    Returns:
        Shape ``(num_samples,)``.

    Raises:
        ShapeError: the waveform is empty.
    """
    length = waveform.shape[-1]
    num_starts = length - num_samples + 1 if length >= num_samples else length
    for _ in range(num_tries):
        segment = fit_length(waveform, num_samples, random_integer(num_starts, generator))
        if not bool(is_silent(segment)):
            break
    return segment


def random_shift(waveform: Tensor, *, generator: Generator | None = None) -> Tensor:
    """Begin each signal at a random place, and go round to its beginning.

    ``random_shift(noise)[..., :num_samples]`` is a segment of a longer noise; it may run over the
    end.

    Args:
        waveform: shape ``(..., time)``.
        generator: what draws.

    Returns:
        Shape ``(..., time)``.

    Raises:
        ShapeError: the waveform is empty.
    """
    length = waveform.shape[-1]
    if length == 0:
        raise ShapeError("an empty waveform cannot be shifted")
    rows = waveform.reshape(-1, length)
    num_rows = len(rows)
    starts = torch.randint(length, (num_rows,), generator=generator, device=device_of(generator))
    starts_at = torch.cat((rows, rows), -1).unfold(-1, length, 1)
    numbers = torch.arange(num_rows, device=waveform.device)
    return starts_at[numbers, moved(starts, waveform)].reshape(waveform.shape)


def random_gain(
    waveform: Tensor,
    *,
    lowest_db: float = -6.0,
    highest_db: float = 6.0,
    generator: Generator | None = None,
) -> Tensor:
    """Make each signal louder or quieter by a random gain.

    Args:
        waveform: shape ``(..., time)``.
        lowest_db: in dB.
        highest_db: in dB.
        generator: what draws.

    Returns:
        Shape ``(..., time)``.
    """
    gains_db = random_uniform(waveform.shape[:-1], lowest_db, highest_db, generator)
    return _times(waveform, db_to_amplitude(moved(gains_db, waveform)))


def random_second_noise(
    noise: Tensor,
    second: Tensor,
    *,
    lowest_db: float = -10.0,
    highest_db: float = 0.0,
    generator: Generator | None = None,
) -> Tensor:
    """Add another noise to a noise, at a random level (rms) relative to it.

    Args:
        noise: shape ``(..., time)``.
        second: of the same shape. ``noise.roll(1, 0)`` is the noise of another row, and costs no
            reading. A silent one adds nothing.
        lowest_db: level of the second less that of the first, in dB.
        highest_db: the same.
        generator: what draws.

    Returns:
        Shape ``(..., time)``.

    Raises:
        ShapeError: the shapes differ.
    """
    _check_shapes(noise, second)
    ratios_db = random_uniform(noise.shape[:-1], lowest_db, highest_db, generator)
    wanted = rms(noise).double() * _amplitude(ratios_db, noise)
    return noise + _times(second, _gain(wanted, rms(second).double()))


def random_choice(
    first: Tensor, second: Tensor, probability: float, *, generator: Generator | None = None
) -> Tensor:
    """For each row, the first or the second signal: an augmentation that comes so often.

    Args:
        first: shape ``(..., time)``.
        second: of the same shape. ``random_choice(-speech, speech, 0.5)`` is a random polarity.
        probability: of the first.
        generator: what draws.

    Returns:
        Shape ``(..., time)``.

    Raises:
        ShapeError: the shapes differ.
    """
    _check_shapes(first, second)
    is_first = random_uniform(first.shape[:-1], 0.0, 1.0, generator) < probability
    return torch.where(moved(is_first, first)[..., None], first, second)


def random_equalizer(
    waveform: Tensor,
    sample_rate: int,
    *,
    max_gain_db: float = 6.0,
    generator: Generator | None = None,
) -> Tensor:
    """Colour a signal with a smooth random frequency response, without delay (zero phase).

    Gains within ± ``max_gain_db`` are drawn at octave distances from half the sample rate down to
    62.5 Hz and interpolated over the logarithm of the frequency. The rms is kept.

    Args:
        waveform: shape ``(..., time)``.
        sample_rate: in Hz.
        max_gain_db: in dB.
        generator: what draws.

    Returns:
        Shape ``(..., time)``.
    """
    num_octaves = max(1, math.ceil(math.log2(sample_rate / 2 / 62.5)))
    shape = (*waveform.shape[:-1], num_octaves + 1)
    draws = torch.rand(shape, generator=generator, device=device_of(generator))
    gains_db = moved(max_gain_db * (2 * draws - 1), waveform)
    length = waveform.shape[-1]
    frequencies = torch.fft.rfftfreq(length, 1 / sample_rate, device=waveform.device)
    # 0 at half the sample rate, one more with each octave down
    octaves = -torch.log2((2 * frequencies / sample_rate).clamp(min=2.0**-num_octaves))
    lower = octaves.long().clamp(max=num_octaves - 1)
    response_db = torch.lerp(gains_db[..., lower], gains_db[..., lower + 1], octaves - lower)
    spectrum = torch.fft.rfft(waveform) * db_to_amplitude(response_db)
    return _with_rms(torch.fft.irfft(spectrum, n=length), rms(waveform))


def random_speed(
    waveform: Tensor,
    *,
    slowest: float = 0.9,
    fastest: float = 1.1,
    generator: Generator | None = None,
) -> Tensor:
    """Play a signal at a random speed: length and pitch change together.

    Args:
        waveform: shape ``(time,)``.
        slowest: 0.9 makes it a ninth longer.
        fastest: 1.1 makes it an eleventh shorter.
        generator: what draws.

    Returns:
        Shape ``(time / speed,)``, rounded.
    """
    draw = float(torch.rand((), generator=generator, device=device_of(generator)))
    return resample(waveform, slowest + (fastest - slowest) * draw, 1.0)


def colored_noise(
    num_samples: int,
    exponent: Tensor | float,
    *,
    device: torch.device | str | None = None,
    generator: Generator | None = None,
) -> Tensor:
    """Gaussian noise with a power density proportional to ``1 / frequency ** exponent``, rms 1.

    This draws as many numbers as there are samples. Where that is too slow on the CPU, give the
    generator of the GPU: ``torch.cuda.default_generators[index]`` is seeded by the trainer, too.

    Args:
        num_samples: length.
        exponent: 0 is white, 1 pink, 2 brown (red); negative values favour high frequencies. One,
            or shape ``(...)``.
        device: where the noise goes; None: it stays where it is drawn.
        generator: what draws.

    Returns:
        Shape ``(..., num_samples)``; zero mean for two samples and more.
    """
    shape = exponent.shape if isinstance(exponent, Tensor) else ()
    white = torch.randn((*shape, num_samples), generator=generator, device=device_of(generator))
    spectrum = torch.fft.rfft(moved_to(device or white.device, white))
    bins = torch.arange(spectrum.shape[-1], device=spectrum.device).clamp(min=1)
    slope = moved(exponent, spectrum)[..., None] if isinstance(exponent, Tensor) else exponent
    spectrum = spectrum * bins.pow(-slope / 2)
    if num_samples > 1:
        spectrum[..., 0] = 0
    return _with_rms(torch.fft.irfft(spectrum, n=num_samples), 1.0)


# ---- levels and gains, one for each row ----------------------------------------------------------


def _gain(wanted: Tensor | float, level: Tensor) -> Tensor:
    """What brings a level to the wanted one; 0 for silence."""
    return torch.where(level == 0, 0.0, wanted / level)


def _amplitude(level_db: Tensor | float, like: Tensor) -> Tensor | float:
    """In float64, where ``like`` is."""
    if isinstance(level_db, Tensor):
        return db_to_amplitude(moved(level_db, like).double())
    return db_to_amplitude(level_db)


def _times(waveform: Tensor, gain: Tensor) -> Tensor:
    """Each signal times its gain."""
    return waveform * gain.to(waveform.dtype)[..., None]


def _peak(waveform: Tensor) -> Tensor:
    # Twice over the signal is faster than making a batch of magnitudes.
    waveform = waveform.detach()
    return torch.maximum(waveform.amax(-1), -waveform.amin(-1))


def _with_rms(waveform: Tensor, wanted: Tensor | float) -> Tensor:
    tiny = torch.finfo(waveform.dtype).tiny
    return waveform * (wanted / rms(waveform).clamp(min=tiny))[..., None]


# ---- refusals ------------------------------------------------------------------------------------


def _check_shapes(first: Tensor, second: Tensor, **of_each: Tensor | float | None) -> None:
    if first.shape != second.shape or first.ndim == 0:
        raise ShapeError(
            f"{tuple(first.shape)} and {tuple(second.shape)}: both signals must have the same shape, (time,) or "
            "(batch, time); see fit_length"
        )
    for name, value in of_each.items():
        if isinstance(value, Tensor) and value.shape not in ((), first.shape[:-1]):
            raise ShapeError(
                f"{name} of shape {tuple(value.shape)} is not one for each signal of {tuple(first.shape)}: it must be "
                f"a number or have shape {tuple(first.shape[:-1])}"
            )


def _refuse_silence(snr_db: Tensor | float, **silent: Tensor) -> None:
    for name, is_part_silent in silent.items():
        if bool(is_part_silent):
            raise AudioError(
                f"cannot mix at {float(snr_db):g} dB: the {name} is silent; draw another segment "
                "(random_segment avoids silence) or leave the file out (manifest_problems finds it)"
            )
