"""Something to learn where there are no recordings."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.utils.data import Dataset

SAMPLE_RATE = 16000


class Tones(Dataset[tuple[Tensor, dict[str, str]]]):
    """No words, but tones in noise, made from seeds.

    A sample is as one of :class:`data.Words`. Class ``tone_0`` is a tone of about 300 Hz, each further class half an
    octave above the one before.

    Args:
        num_classes: at most 10.
        num_clips: of all classes together.
        seed: another one, other clips.
    """

    def __init__(self, num_classes: int, num_clips: int, seed: int) -> None:
        self.num_classes, self.seed = num_classes, seed
        self.ids = [f"tones_{seed}_{number:04d}" for number in range(num_clips)]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, str]]:
        number = index % self.num_classes
        generator = torch.Generator().manual_seed(1_000_000 * self.seed + index)
        detuning, phase = torch.rand(2, generator=generator).tolist()
        frequency = 300 * 2 ** ((number + 0.2 * (detuning - 0.5)) / 2)
        time = torch.arange(SAMPLE_RATE) / SAMPLE_RATE
        tone = torch.sin(2 * math.pi * (frequency * time + phase))
        noise = torch.randn(SAMPLE_RATE, generator=generator)
        return 0.1 * tone + 0.02 * noise, {"id": self.ids[index], "label": f"tone_{number}"}
