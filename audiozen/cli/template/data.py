"""Harmonic tones in noise, made when they are asked for; or recordings. Put your own data here."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from audiozen.data.audio import audio_info, read_audio

NUM_HARMONICS = 8


class TonesInNoise(Dataset[tuple[Tensor, Tensor, str]]):
    """Pairs of a noisy and a clean signal, each of shape ``(time,)`` in [-1, 1], with a name.

    Args:
        num_signals: how many there are.
        sample_rate: in Hz.
        seed: makes signal ``index`` the same for ever, as validation and test need it. Without it,
            signals are new in each epoch: AudioZEN seeds PyTorch's generator before each of them
            by (seed of the run, epoch, index), so runs can still be repeated.
        duration: of each signal, in seconds.
    """

    def __init__(
        self, num_signals: int, sample_rate: int, seed: int | None = None, duration: float = 1.0
    ) -> None:
        self.num_signals = num_signals
        self.sample_rate = sample_rate
        self.seed = seed
        self.time = torch.arange(round(duration * sample_rate)) / sample_rate

    def __len__(self) -> int:
        return self.num_signals

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, str]:
        generator, number = torch.default_generator, index
        if self.seed is not None:
            number += self.seed
            generator = torch.Generator().manual_seed(number)

        clean = self.tone(generator)
        noise = torch.randn(len(clean), generator=generator)
        snr_db = uniform(-5, 10, generator)
        noise *= clean.norm() / noise.norm() * 10 ** (-snr_db / 20)

        noisy = clean + noise
        gain = 0.9 / noisy.abs().max()
        return gain * noisy, gain * clean, f"tone_{number:05d}"

    def tone(self, generator: torch.Generator) -> Tensor:
        """A tone of random pitch and timbre that comes and goes four times a second."""
        pitch = uniform(100, 400, generator)
        harmonics = torch.arange(1, NUM_HARMONICS + 1)[:, None]
        amplitudes, phases = torch.rand(2, NUM_HARMONICS, 1, generator=generator)
        angles = 2 * torch.pi * (pitch * harmonics * self.time + phases)
        loudness = torch.sin(4 * torch.pi * self.time).square()
        return loudness * (amplitudes / harmonics * torch.sin(angles)).sum(0)


class Recordings(Dataset[tuple[Tensor, Tensor, str]]):
    """Pairs of a noisy and a clean recording, each of shape ``(time,)``, with a name.

    Args:
        folder: with the folders ``noisy`` and ``clean``, which have wav files of the same names.
        sample_rate: of all files, in Hz. Others are refused.
        duration: of the random segments that are read, in seconds. Without it, all is read.
    """

    def __init__(self, folder: str, sample_rate: int, duration: float | None = None) -> None:
        self.noisy = sorted(Path(folder, "noisy").glob("*.wav"))
        self.clean = Path(folder, "clean")
        self.sample_rate = sample_rate
        self.num_samples = None if duration is None else round(duration * sample_rate)

    def __len__(self) -> int:
        return len(self.noisy)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, str]:
        noisy = self.noisy[index]
        start = 0
        if self.num_samples is not None:
            latest = audio_info(noisy).num_samples - self.num_samples
            start = int(torch.randint(max(latest, 0) + 1, ()))
        return self.read(noisy, start), self.read(self.clean / noisy.name, start), noisy.stem

    def read(self, path: Path, start: int) -> Tensor:
        """A segment of a file."""
        return read_audio(
            path, start=start, num_samples=self.num_samples, expected_rate=self.sample_rate
        )


def uniform(low: float, high: float, generator: torch.Generator) -> float:
    """A random number between ``low`` and ``high``."""
    return low + (high - low) * torch.rand((), generator=generator).item()
