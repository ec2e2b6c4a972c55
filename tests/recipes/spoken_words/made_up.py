"""Folders laid out as Speech Commands and the packages of digits are, with tones in the place of words."""

from __future__ import annotations

import math
from pathlib import Path

import soundfile
import torch
from G722 import G722

from audiozen.config.locate import locate
from audiozen.data.audio import write_audio

RECIPES = Path(__file__).resolve().parents[3] / "recipes" / "spoken_words"
KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
OTHER_WORDS = ("bed", "cat", "happy")
SPEAKERS = {"train": ("a1", "a2"), "valid": ("b1",), "test": ("c1",)}
LISTS = {"valid": "validation_list.txt", "test": "testing_list.txt"}
SAMPLE_RATE = 16000
PITCHES = tuple(300.0 + 150 * digit for digit in range(10))
"""Of the digits, in Hz."""


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


def make_digit_packages(folder: Path) -> dict[str, Path]:
    """The unpacked packages of ``prepare_digits.py``: half a second of a tone between silences, in their formats."""
    voices = locate("prepare_digits.VOICES", [RECIPES])
    for voice in voices:
        sounds = folder / voice.package / "usr/share/asterisk/sounds" / voice.language / "digits"
        sounds.mkdir(parents=True)
        for digit, frequency in enumerate(PITCHES):
            if voice.package.endswith("g722"):
                clip = between_silences(tone(frequency, 8000), SAMPLE_RATE)
                write_g722(sounds / f"{digit}.g722", clip)
            elif voice.package.endswith("wav"):
                clip = between_silences(tone(frequency, 4000, 8000), 8000)
                write_audio(sounds / f"{digit}.wav", clip, 8000)
            else:
                clip = between_silences(tone(frequency, 4000, 8000), 8000)
                write_gsm(sounds / f"{digit}.gsm", clip)
    return {voice.package: folder / voice.package for voice in voices}


def between_silences(clip: torch.Tensor, sample_rate: int) -> torch.Tensor:
    silence = torch.zeros(3 * sample_rate // 10)
    return torch.cat((silence, clip, silence))


def write_g722(path: Path, clip: torch.Tensor) -> None:
    samples = (32767 * clip).short().numpy()
    path.write_bytes(G722(SAMPLE_RATE, 64000).encode(samples))


def write_gsm(path: Path, clip: torch.Tensor) -> None:
    soundfile.write(path, clip.numpy(), 8000, format="RAW", subtype="GSM610")


def tone(
    frequency: float, num_samples: int = 12000, sample_rate: int = SAMPLE_RATE
) -> torch.Tensor:
    time = torch.arange(num_samples) / sample_rate
    return 0.3 * torch.sin(2 * math.pi * frequency * time)
