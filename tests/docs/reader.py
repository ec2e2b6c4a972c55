"""What the reader of a page has already: hidden blocks of pages make it."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

import torch

from audiozen.cli.main import main
from audiozen.data.audio import write_audio

NUM_SIGNALS = 16


def recipe(folder: str) -> None:
    """The recipe of ``audiozen new``, which takes a second to train."""
    quietly("new", folder)
    shrink(folder)


def shrink(folder: str, max_epochs: int = 1) -> None:
    """Let the recipe of ``audiozen new`` train on less."""
    settings = Path(folder, "baseline.toml")
    text = settings.read_text(encoding="utf-8")
    text = re.sub(r"^num_signals = \d+", f"num_signals = {NUM_SIGNALS}", text, flags=re.M)
    text = re.sub(r"^max_epochs = \d+", f"max_epochs = {max_epochs}", text, flags=re.M)
    settings.write_text(text, encoding="utf-8")


def run(folder: str, *settings: str) -> None:
    """A run of this recipe that was trained and tested."""
    quietly("train", f"{folder}/baseline.toml", *settings)
    quietly("test", f"{folder}/baseline.toml", *settings)


def recordings(*folders: str) -> None:
    """Two files in each folder, with half a second of noise at 16 kHz."""
    for folder in folders:
        for name in ("a.wav", "b.wav"):
            write_audio(Path(folder, name), 0.1 * torch.randn(8000), 16_000)


def quietly(*words: str) -> None:
    """Run a command that must not fail, and do not print what it prints."""
    with (
        Path(os.devnull).open("w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
    ):
        assert main(words) == 0
