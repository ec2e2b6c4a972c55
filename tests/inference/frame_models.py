"""Small models that work frame by frame, and recorded sound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from audiozen.acoustics import STFT
from audiozen.data.audio import find_audio, read_audio
from audiozen.streaming import FrameByFrame

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
AUDIO = RECIPES / "debian_noisy_speech" / "audio"
N_FFT, HOP = 64, 32


def recorded(num_seconds: float) -> Tensor:
    """Speech in noise at 16 kHz, shape ``(time,)``."""
    length = round(16_000 * num_seconds)
    speech, noise = (
        read_audio(find_audio(AUDIO / kind / "test")[0], sample_rate=16_000)[:length]
        for kind in ("speech", "noise")
    )
    assert len(speech) == len(noise) == length
    return speech + 0.3 * noise


class Small(FrameByFrame):
    """A GRU that sets the gain of each bin; its memory is None before the first frame."""

    def __init__(self, n_fft: int = N_FFT, hop_length: int = HOP, win_length: int = 2 * HOP):
        super().__init__(STFT(n_fft, hop_length, win_length, window="sqrt_hann"))
        self.norm = nn.BatchNorm1d(self.stft.num_freqs)
        self.gru = nn.GRU(self.stft.num_freqs, 8, batch_first=True)
        self.output = nn.Linear(8, self.stft.num_freqs)

    def enhance(self, spec: Tensor, memory: Any = None) -> tuple[Tensor, Any]:
        features = self.norm(torch.log10(spec.abs() + 1e-4).mT).mT
        hidden, memory = self.gru(features, memory)
        return spec * torch.sigmoid(self.output(hidden)), memory


class GRUGains(FrameByFrame):
    """Gains by a GRU, which remembers all frames before; counts the frames it gets at once."""

    def __init__(self, stft: STFT) -> None:
        super().__init__(stft)
        torch.manual_seed(0)
        self.gru = nn.GRU(stft.num_freqs, stft.num_freqs, batch_first=True)
        self.num_frames: list[int] = []

    def enhance(self, spec: Tensor, memory: Any = None) -> tuple[Tensor, Any]:
        self.num_frames.append(spec.shape[1])
        gains, memory = self.gru(spec.abs(), memory)
        return spec * gains, memory


class WithMemory(FrameByFrame):
    """Does what :attr:`step` says; before the first frame it remembers :attr:`memory`."""

    memory: Any = None

    def __init__(self) -> None:
        super().__init__(STFT(N_FFT, HOP, window="hann"))

    def initial_state(self, batch_size: int = 1) -> Any:
        return super().initial_state(batch_size)._replace(memory=self.memory)

    def enhance(self, spec: Tensor, memory: Any = None) -> tuple[Tensor, Any]:
        return self.step(spec, memory)

    def step(self, spec: Tensor, memory: Any) -> tuple[Tensor, Any]:
        return spec, memory


class Odd(WithMemory):
    """A memory of many kinds: dict, tuple, None, an integer, a flag, a tensor that never changes, initial values."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = {
            "mean": (torch.full((1, 1, self.stft.num_freqs), 0.5), None),
            "count": torch.zeros((), dtype=torch.int64),
            "is_first": torch.ones(1, dtype=torch.bool),
            "gains": torch.linspace(0, 1, self.stft.num_freqs),
        }

    def step(self, spec: Tensor, memory: Any) -> tuple[Tensor, Any]:
        memory = self.memory if memory is None else memory
        (mean, _), count, is_first = memory["mean"], memory["count"], memory["is_first"]
        gains = []
        for magnitude in spec.abs().split(1, dim=1):
            mean = 0.9 * mean + 0.1 * magnitude
            count = count + 1
            gains.append(memory["gains"] * torch.where(is_first, 0.0, 1 / (1 + mean / count)))
            is_first = torch.zeros_like(is_first)
        changed = {"mean": (mean, None), "count": count, "is_first": is_first}
        return spec * torch.cat(gains, 1), memory | changed
