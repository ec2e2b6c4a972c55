"""Noise that nobody recorded: what engines, keys, water, wind and music have in common, drawn anew for every sample.

An hour of recordings holds a few engines and a few keyboards; a model that heard only these knows them by heart. A
texture has no recording to remember.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

import torch
from data import SAMPLE_RATE, TrainingMixtures, unit_rms
from torch import Tensor

from audiozen.acoustics import db_to_amplitude
from audiozen.data.mixing import colored_noise, random_equalizer

if TYPE_CHECKING:
    from collections.abc import Callable

FLOOR_DB = (-40.0, -15.0)
"""Level of the steady noise under a texture: no recording is silent between its sounds."""
EQUALIZER_DB = 12.0


def draw_texture(num_samples: int) -> Tensor:
    """One texture or two, over a floor of coloured noise, randomly coloured.

    Draws from the generators of Python and PyTorch. Shape ``(num_samples,)``, rms near 1.
    """
    kinds: list[Callable[[int], Tensor]] = random.sample(TEXTURES, random.choice((1, 1, 2)))
    texture = sum(unit_rms(kind(num_samples)) for kind in kinds)
    floor = colored_noise(num_samples, random.uniform(0.0, 2.0))
    texture = texture + db_to_amplitude(random.uniform(*FLOOR_DB)) * floor
    return random_equalizer(texture, SAMPLE_RATE, max_gain_db=EQUALIZER_DB)


def swelling_noise(num_samples: int) -> Tensor:
    """Coloured noise that swells and falls, as wind, surf and traffic do."""
    depth_db = random.uniform(3.0, 15.0)
    envelope_db = depth_db * wandering(num_samples, random.uniform(0.3, 12.0))
    return colored_noise(num_samples, random.uniform(-0.5, 2.5)) * db_to_amplitude(envelope_db)


def clatter(num_samples: int) -> Tensor:
    """Short knocks at random times: keys, steps, tools, dishes."""
    num_knocks = max(1, round(random.uniform(1.0, 15.0) * num_samples / SAMPLE_RATE))
    kinds = [_knock() for _ in range(random.randint(1, 4))]  # the same few sounds come again
    return placed(num_samples, (random.choice(kinds) for _ in range(num_knocks)), spread_db=8.0)


def bubbling(num_samples: int) -> Tensor:
    """Many short tones that rise while they fade, as drops and bubbles sound."""
    num_bubbles = max(1, round(random.uniform(20.0, 120.0) * num_samples / SAMPLE_RATE))
    lowest = random.uniform(300.0, 1500.0)
    kinds = [_bubble(lowest) for _ in range(12)]
    return placed(num_samples, (random.choice(kinds) for _ in range(num_bubbles)), spread_db=12.0)


def hum(num_samples: int) -> Tensor:
    """Harmonics of a pitch that wanders, with a rhythm: engines, motors, fans, insects."""
    pitch = math.exp(random.uniform(math.log(25.0), math.log(500.0)))
    octaves = random.uniform(0.01, 0.3) * wandering(num_samples, random.uniform(0.2, 3.0))
    phase = 2 * math.pi * torch.cumsum(pitch * 2**octaves, 0) / SAMPLE_RATE
    tone = _harmonics(phase, pitch * 1.3, decay=random.uniform(0.0, 1.5))
    roughness = random.uniform(0.0, 1.0) * wandering(num_samples, random.uniform(5.0, 60.0))
    return tone * (1 + roughness)


def melody(num_samples: int) -> Tensor:
    """Notes and chords one after the other: music."""
    length = round(random.uniform(0.1, 0.8) * SAMPLE_RATE)
    scale = [random.uniform(80.0, 300.0) * 2 ** (step / 12) for step in (0, 2, 4, 5, 7, 9, 12, 16)]
    decay, fading = random.uniform(0.5, 2.0), random.uniform(1.0, 12.0)
    times = torch.arange(2 * length) / SAMPLE_RATE
    envelope = torch.exp(-fading * times) * (times * 100).clamp(max=1.0)
    notes = [
        _harmonics(2 * math.pi * pitch * times, pitch, decay) * envelope
        for pitch in random.sample(scale, 4)
    ]
    melody = torch.zeros(num_samples + 2 * length)
    for start in range(0, num_samples, length):
        for note in random.sample(notes, random.randint(1, 3)):
            melody[start : start + 2 * length] += note
    return melody[:num_samples]


TEXTURES = [swelling_noise, clatter, bubbling, hum, melody]


class TexturedMixtures(TrainingMixtures):
    """As ``data.TrainingMixtures``, with textures among the noises.

    Args:
        texture: how often a noise is a texture, in [0, 1].
        settings: as ``data.TrainingMixtures`` has them.
    """

    def __init__(self, root: str | None = None, *, texture: float = 0.3, **settings: Any) -> None:
        super().__init__(root, **settings)
        self.texture = texture

    def _draw_noise(self) -> Tensor:
        if random.random() < self.texture:
            return draw_texture(self.num_samples)
        return super()._draw_noise()


def wandering(num_samples: int, rate: float) -> Tensor:
    """A smooth random curve of mean square near 1 that turns some ``rate`` times a second. Shape ``(num_samples,)``."""
    num_points = max(4, math.ceil(rate * num_samples / SAMPLE_RATE) + 3)
    points = torch.randn(1, 1, num_points)
    curve = torch.nn.functional.interpolate(points, num_samples, mode="linear", align_corners=True)
    return curve[0, 0] * 1.2


def placed(num_samples: int, sounds: Any, spread_db: float) -> Tensor:
    """Sounds at random times and levels."""
    result = torch.zeros(num_samples)
    for sound in sounds:
        start = random.randrange(num_samples)
        gain = db_to_amplitude(random.gauss(0, spread_db / 2))
        part = sound[: num_samples - start]
        result[start : start + len(part)] += gain * part
    return result


def _knock() -> Tensor:
    """A burst of noise and a few resonances that die away."""
    times = torch.arange(round(random.uniform(0.01, 0.15) * SAMPLE_RATE)) / SAMPLE_RATE
    fading = 5 / float(times[-1])
    knock = torch.randn(len(times)) * torch.exp(-random.uniform(1.0, 4.0) * fading * times)
    for _ in range(random.randint(0, 4)):
        pitch = math.exp(random.uniform(math.log(100.0), math.log(7000.0)))
        tone = torch.sin(2 * math.pi * pitch * times + random.uniform(0, 6.28))
        knock += random.uniform(0.2, 2.0) * tone * torch.exp(-fading * times)
    return unit_rms(knock)


def _bubble(lowest: float) -> Tensor:
    times = torch.arange(round(random.uniform(0.005, 0.06) * SAMPLE_RATE)) / SAMPLE_RATE
    pitch = lowest * math.exp(random.uniform(0.0, 1.5))
    rising = random.uniform(0.0, 10.0)
    phase = 2 * math.pi * pitch * times * (1 + rising * times)
    return torch.sin(phase) * torch.exp(-4 * times / float(times[-1]))


def _harmonics(phase: Tensor, pitch: float, decay: float) -> Tensor:
    """A sum of harmonics below half the sample rate, of random phases; the n-th is ``n ** -decay`` strong."""
    num_harmonics = max(1, min(24, int(0.9 * SAMPLE_RATE / 2 / pitch)))
    numbers = torch.arange(1, num_harmonics + 1)[:, None]
    strengths = numbers**-decay * torch.rand(num_harmonics, 1)
    return (strengths * torch.sin(numbers * phase + 6.28 * torch.rand(num_harmonics, 1))).sum(0)
