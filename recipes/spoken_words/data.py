"""Seconds of sound and the class of each. Random draws come from the generators that the trainer seeds per sample."""

from __future__ import annotations

import random
from pathlib import Path

from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import Dataset

from audiozen.data.audio import read_audio
from audiozen.data.manifest import Entry, read_manifest

SAMPLE_RATE = 16000
MAX_SHIFT = 1600
"""Training clips are moved by up to 100 ms to either side."""
NOISE_SHARE, MAX_NOISE_GAIN = 0.8, 0.1
"""How often noise is added to a training clip, and its greatest gain."""


class Words(Dataset[tuple[Tensor, dict[str, str]]]):
    """Clips of a manifest that ``prepare.py`` has written.

    A sample is ``(waveform, {"id", "label"})``, the waveform of shape ``(16000,)``, cut or filled up with zeros at its
    end.

    Args:
        manifest: file name, such as ``"train.jsonl"``.
        root: folder of the manifests.
        noise: file name of the manifest of noises: clips are then moved in time, and most are mixed with noise. None:
            they are as they are.
    """

    def __init__(self, manifest: str, root: str, noise: str | None = None) -> None:
        self.entries = read_manifest(Path(root) / manifest)
        self.noises = read_manifest(Path(root) / noise) if noise else []

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, str]]:
        entry = self.entries[index]
        waveform = _second(entry, entry.labels.get("start", 0))
        if self.noises:
            shift = random.randint(-MAX_SHIFT, MAX_SHIFT)
            waveform = pad(waveform, (shift, -shift))
            if random.random() < NOISE_SHARE:
                noise = random.choice(self.noises)
                start = random.randint(noise["start"], noise["stop"] - SAMPLE_RATE)
                waveform = waveform + random.uniform(0, MAX_NOISE_GAIN) * _second(noise, start)
        return waveform, {"id": entry.id, "label": entry["label"]}


def _second(entry: Entry, start: int) -> Tensor:
    length = min(SAMPLE_RATE, entry.num_samples - start)
    waveform = read_audio(entry.path, start=start, num_samples=length, expected_rate=SAMPLE_RATE)
    return pad(waveform, (0, SAMPLE_RATE - length))
