"""Sound that stands in for that of a corpus: syllables of noise, always the same for one name."""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from audiozen.data.audio import write_audio

if TYPE_CHECKING:
    from pathlib import Path


def voice(name: str, num_samples: int) -> Tensor:
    """Swells five times in its length."""
    swelling = torch.sin(5 * math.pi * torch.arange(num_samples) / num_samples).abs()
    return swelling * noise(name, num_samples)


def noise(name: str, num_samples: int) -> Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    return 0.1 * torch.randn(num_samples, generator=generator).clamp(-3, 3)


def write_pair(folders: tuple[Path, Path], names: tuple[str, str], length: int, rate: int) -> None:
    """A noisy and a clean signal."""
    clean = voice(names[1], length)
    for folder, name, signal in zip(folders, names, (clean + 0.3 * noise("noise", length), clean)):
        write_audio(folder / f"{name}.wav", signal, rate)
