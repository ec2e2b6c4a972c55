"""Digits, a second each. Random draws come from the generators that the trainer seeds per sample."""

from __future__ import annotations

import random
from pathlib import Path

from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import Dataset

from audiozen.data.audio import read_audio
from audiozen.data.distortion import random_clipping
from audiozen.data.manifest import read_manifest
from audiozen.data.mixing import colored_noise, mix_at_snr, random_equalizer, random_speed
from audiozen.data.rooms import random_room, reverberate

SAMPLE_RATE = 8000
SPEED = 1.25
"""Played so much faster or slower, a voice is another one."""
EQUALIZER_DB = 6.0
RT60, ROOM_SHARE = (0.1, 0.5), 0.3
CLIPPING_SHARE = 0.1
SNR_DB, COLORS = (10.0, 40.0), (-0.5, 2.0)
LEVEL_DBFS = (-26.0, -20.0)


class Digits(Dataset[tuple[Tensor, dict[str, str]]]):
    """Clips of a manifest that ``prepare_digits.py`` has written.

    A sample is ``(waveform, {"id", "label", "speaker"})``, the waveform of shape ``(8000,)``.

    Args:
        manifest: file name, such as ``"test.jsonl"``.
        root: folder of the manifests.
        num_clips: so many clips in an epoch, each of them changed at random: speed, place, colour, room, noise, level.
            None: all as they are, in the middle of their second.
    """

    def __init__(self, manifest: str, root: str, num_clips: int | None = None) -> None:
        self.entries = read_manifest(Path(root) / manifest)
        self.clips = [read_audio(e.path, expected_rate=SAMPLE_RATE) for e in self.entries]
        self.num_clips = num_clips

    def __len__(self) -> int:
        return self.num_clips or len(self.entries)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, str]]:
        number = index % len(self.entries)
        entry, clip = self.entries[number], self.clips[number]
        labels = {"id": entry.id, "label": entry["label"], "speaker": entry["speaker"]}
        return (changed(clip) if self.num_clips else in_a_second(clip, 0.5)), labels


def in_a_second(clip: Tensor, place: float) -> Tensor:
    """Put a clip between zeros: at the beginning of its second (0), in the middle (0.5), at the end (1)."""
    room = SAMPLE_RATE - len(clip)
    before = round(place * room) if room > 0 else 0
    return pad(clip, (before, room - before))  # what is too long loses its end


def changed(clip: Tensor) -> Tensor:
    """The same digit, said by another voice in another place."""
    word = random_speed(clip, slowest=1 / SPEED, fastest=SPEED)
    word = random_equalizer(
        in_a_second(word, random.random()), SAMPLE_RATE, max_gain_db=EQUALIZER_DB
    )
    if random.random() < ROOM_SHARE:
        word = reverberate(word, random_room(SAMPLE_RATE, rt60=RT60))
    noise = colored_noise(SAMPLE_RATE, random.uniform(*COLORS))
    mixture = mix_at_snr(
        word,
        noise,
        random.uniform(*SNR_DB),
        sample_rate=SAMPLE_RATE,
        level_dbfs=random.uniform(*LEVEL_DBFS),
    )
    is_clipped = random.random() < CLIPPING_SHARE
    return random_clipping(mixture.noisy) if is_clipped else mixture.noisy
