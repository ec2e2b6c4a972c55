"""What users need to test a recipe: tiny signals, a tiny model, a tracker that remembers.

::

    tracker = RecordingTracker()
    trainer = Trainer(TinyEnhancer(), ..., config={"max_steps": 2}, exp_dir=tmp_path, tracker=tracker)
    trainer.train(DataLoader(NoisyTones(8), batch_size=2))
    assert tracker.values("train/loss")
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from audiozen.tracking.tracker import Tracker

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["NoisyTones", "RecordingTracker", "TinyEnhancer"]


class NoisyTones(Dataset[tuple[Tensor, Tensor]]):
    """Harmonic tones in white noise, made on the fly: pairs of noisy and clean, each of shape ``(time,)``.

    Item ``index`` is the same each time.

    Args:
        num_items: how many.
        num_samples: length of each.
        sample_rate: in Hz.
        snr_db: level of the tone over that of the noise.
    """

    def __init__(
        self,
        num_items: int = 8,
        *,
        num_samples: int = 1600,
        sample_rate: int = 16_000,
        snr_db: float = 5.0,
    ) -> None:
        self.num_items = num_items
        self.num_samples = num_samples
        self.sample_rate = sample_rate
        self.snr_db = snr_db

    def __len__(self) -> int:
        return self.num_items

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if not 0 <= index < self.num_items:
            raise IndexError(f"index {index} is not in 0 … {self.num_items - 1}")
        generator = torch.Generator().manual_seed(index)
        pitch = 100 + 200 * torch.rand((), generator=generator)
        time = torch.arange(self.num_samples) / self.sample_rate
        partials = [torch.sin(2 * math.pi * k * pitch * time) / k for k in range(1, 5)]
        clean = 0.1 * torch.stack(partials).sum(0)
        noise = torch.randn(self.num_samples, generator=generator)
        noise *= clean.square().mean().sqrt() * 10 ** (-self.snr_db / 20)
        return clean + noise, clean


class TinyEnhancer(nn.Module):
    """A filter of a few samples, learned. Waveforms ``(batch, time)`` in, the same shape out."""

    def __init__(self, kernel_size: int = 9) -> None:
        super().__init__()
        self.filter = nn.Conv1d(1, 1, kernel_size, padding=kernel_size // 2)

    def forward(self, noisy: Tensor) -> Tensor:
        """Filter the waveforms."""
        enhanced: Tensor = self.filter(noisy.unsqueeze(1)).squeeze(1)
        return enhanced


class RecordingTracker(Tracker):
    """Remembers what was logged.

    Attributes:
        scalars: ``(name, step, value)`` in the order in which they came.
        audio: names of the sounds, with their steps.
    """

    def __init__(self) -> None:
        self.scalars: list[tuple[str, int, float]] = []
        self.audio: list[tuple[str, int]] = []

    def log_scalars(self, scalars: Mapping[str, float], *, step: int, epoch: int) -> None:
        """Remember the numbers."""
        del epoch
        self.scalars += [(name, step, value) for name, value in scalars.items()]

    def log_audio(self, name: str, waveform: Any, sample_rate: int, *, step: int) -> None:
        """Remember the name."""
        del waveform, sample_rate
        self.audio.append((name, step))

    def rewind(self, step: int) -> None:
        """Forget what is beyond ``step``."""
        self.scalars = [entry for entry in self.scalars if entry[1] <= step]
        self.audio = [entry for entry in self.audio if entry[1] <= step]

    def supersede(self, names: Iterable[str], *, step: int) -> None:
        """Forget the numbers of these names at this step."""
        forgotten = {(name, step) for name in names}
        self.scalars = [entry for entry in self.scalars if entry[:2] not in forgotten]

    def values(self, name: str) -> dict[int, float]:
        """The numbers of one name, by step."""
        return {step: value for key, step, value in self.scalars if key == name}
