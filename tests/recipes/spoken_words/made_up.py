"""A folder laid out as Speech Commands is, with tones in the place of words."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from audiozen.config.locate import locate
from audiozen.data.audio import write_audio

RECIPES = Path(__file__).resolve().parents[3] / "recipes" / "spoken_words"
KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
OTHER_WORDS = ("bed", "cat", "happy")
SPEAKERS = {"train": ("a1", "a2"), "valid": ("b1",), "test": ("c1",)}
LISTS = {"valid": "validation_list.txt", "test": "testing_list.txt"}
SAMPLE_RATE = 16000


def make_speech_commands(folder: Path) -> Path:
    """Each speaker says each word once, some of them in less than a second."""
    words = (*KEYWORDS, *OTHER_WORDS)
    for number, word in enumerate(words):
        for speaker in (name for names in SPEAKERS.values() for name in names):
            write_audio(
                folder / word / f"{speaker}_nohash_0.wav", tone(200 + 100 * number), SAMPLE_RATE
            )
    for split, name in LISTS.items():
        lines = [f"{word}/{speaker}_nohash_0.wav" for word in words for speaker in SPEAKERS[split]]
        (folder / name).write_text("".join(f"{line}\n" for line in lines))
    for name in ("hum", "tap"):
        noise = 0.1 * torch.randn(10 * SAMPLE_RATE, generator=torch.Generator().manual_seed(0))
        write_audio(folder / "_background_noise_" / f"{name}.wav", noise, SAMPLE_RATE)
    return folder


def make_manifests(folder: Path) -> Path:
    """The manifests beside the sounds."""
    locate("prepare.prepare", [RECIPES])(folder, folder)
    return folder


def tone(frequency: float, num_samples: int = 12000) -> torch.Tensor:
    time = torch.arange(num_samples) / SAMPLE_RATE
    return 0.3 * torch.sin(2 * math.pi * frequency * time)
