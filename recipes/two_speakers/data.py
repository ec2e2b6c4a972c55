"""Two people who speak at once: mixed anew for training, frozen for evaluation. 8 kHz.

The voices are those of the pack beside this folder, or of the larger corpus that is made there. All random draws of
training come from the generators of Python and PyTorch, which the trainer seeds for each sample.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Mapping, Sequence  # noqa: TC003 - checked at run time
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from audiozen.acoustics import active_rms, db_to_amplitude
from audiozen.data.audio import read_audio
from audiozen.data.manifest import Entry, read_manifest
from audiozen.data.mixing import fit_length, random_segment, random_speed

PACK = Path(__file__).resolve().parents[1] / "debian_noisy_speech" / "audio"
SAMPLE_RATE = 8000
SPEED = 1.25
"""Recordings are played up to so much faster or slower."""
RATIOS_DB = (-5.0, -2.5, 0.0, 2.5, 5.0)
"""Of the frozen mixtures."""
LEVEL_DBFS = -25.0
PEAK = 0.98

Part = Literal["all", "train", "valid", "test"]
NUM_SHARES = 8
"""Of the utterances of each voice, in the order of the manifest, every eighth is for validation, and the one after it
for the test."""


class Voices:
    """Utterances by speaker, at 8 kHz. A file is read when it is first asked for, and kept from then on.

    Args:
        manifests: file names, and which part of the utterances of each voice in them.
        root: folder of the manifests. None: the pack.
    """

    def __init__(self, manifests: Mapping[str, Part], root: str | None = None) -> None:
        folder = PACK if root is None else Path(root)
        self.utterances: dict[str, list[Entry]] = {}
        for name, part in manifests.items():
            for speaker, entries in _by_speaker(read_manifest(folder / name)).items():
                self.utterances.setdefault(speaker, []).extend(_part(entries, part))
        self.speakers = sorted(self.utterances)
        self._kept: dict[str, Tensor] = {}

    def read(self, entry: Entry) -> Tensor:
        """All of an utterance, shape ``(time,)``."""
        if entry.id not in self._kept:
            self._kept[entry.id] = read_audio(entry.path, sample_rate=SAMPLE_RATE)
        return self._kept[entry.id]

    def fingerprint(self) -> str:
        """Changes with the utterances. No sound is read, and the folder may have moved."""
        told = [
            (speaker, entry.id, entry.path.name, entry.sample_rate, entry.num_samples)
            for speaker in self.speakers
            for entry in self.utterances[speaker]
        ]
        return _hashed(told)


class TrainingMixtures(Dataset[tuple[Tensor, Tensor]]):
    """Random segments of two different speakers, at a random ratio and level. Every speaker is as frequent.

    A sample is ``(mixture, sources)``, of shapes ``(time,)`` and ``(2, time)``, within [-1, 1]; the mixture is the sum
    of the sources.

    Args:
        speech: file names of manifests, and which part of the utterances of each voice in them.
        root: folder of the manifests. None: the pack.
        num_mixtures: samples of an epoch.
        num_seconds: length of each.
        ratio_db: lowest and highest level of the first voice relative to the second.
        level_dbfs: lowest and highest of the mean of their levels.
        speed_augmentation: how often the speed of a voice is changed, in [0, 1]. Another speed is another voice.
    """

    def __init__(
        self,
        speech: Mapping[str, Part],
        root: str | None = None,
        *,
        num_mixtures: int = 4800,
        num_seconds: float = 3.0,
        ratio_db: tuple[float, float] = (-5.0, 5.0),
        level_dbfs: tuple[float, float] = (-35.0, -20.0),
        speed_augmentation: float = 0.8,
    ) -> None:
        self.voices = Voices(speech, root)
        self.num_mixtures = num_mixtures
        self.num_samples = round(num_seconds * SAMPLE_RATE)
        self.ratio_db, self.level_dbfs = ratio_db, level_dbfs
        self.speed_augmentation = speed_augmentation

    def __len__(self) -> int:
        return self.num_mixtures

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        sources = [self._draw(speaker) for speaker in random.sample(self.voices.speakers, 2)]
        return mix(*sources, random.uniform(*self.ratio_db), random.uniform(*self.level_dbfs))

    def fingerprint(self) -> str:
        """Changes with the utterances and with the settings of the mixtures."""
        return _hashed({**vars(self), "voices": self.voices.fingerprint()})

    def _draw(self, speaker: str) -> Tensor:
        waveform = self.voices.read(random.choice(self.voices.utterances[speaker]))
        if random.random() >= self.speed_augmentation:
            return random_segment(waveform, self.num_samples)
        segment = random_segment(waveform, int(self.num_samples * SPEED) + 1)
        segment = random_speed(segment, slowest=1 / SPEED, fastest=SPEED)
        return fit_length(segment, self.num_samples)


class FrozenMixtures(Dataset[tuple[Tensor, Tensor, dict[str, Any]]]):
    """Whole utterances of each two speakers, as long as the shorter one, in an order that never changes.

    A sample is ``(mixture, sources, labels)``: waveforms of shapes ``(time,)`` and ``(2, time)``, within [-1, 1], and
    the labels ``id``, ``ratio_db`` and ``speakers``, all of them strings.

    Args:
        speech: file names of manifests, and which part of the utterances of each voice in them.
        root: folder of the manifests. None: the pack.
        num_mixtures_per_pair: of speakers.
    """

    def __init__(
        self,
        speech: Mapping[str, Part],
        root: str | None = None,
        *,
        num_mixtures_per_pair: int = 20,
    ) -> None:
        self.voices = Voices(speech, root)
        utterances = self.voices.utterances
        self.pairs = [
            pair
            for first, second in combinations(self.voices.speakers, 2)
            for pair in _pairs(utterances[first], utterances[second], num_mixtures_per_pair)
        ]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, dict[str, Any]]:
        pair, ratio_db = self.pairs[index], RATIOS_DB[index % len(RATIOS_DB)]
        waveforms = [self.voices.read(entry) for entry in pair]
        length = min(map(len, waveforms))
        mixture, sources = mix(*(waveform[:length] for waveform in waveforms), ratio_db, LEVEL_DBFS)
        labels = {
            "id": "+".join(entry.id for entry in pair),
            "ratio_db": f"{ratio_db:g}",
            "speakers": "+".join(entry["speaker"] for entry in pair),
        }
        return mixture, sources, labels


def mix(first: Tensor, second: Tensor, ratio_db: float, level_dbfs: float) -> tuple[Tensor, Tensor]:
    """Two voices at a ratio of their active levels, which are on either side of ``level_dbfs``.

    What would exceed full scale is made quieter as a whole.

    Args:
        first: shape ``(time,)``.
        second: same shape.
        ratio_db: level of the first relative to the second.
        level_dbfs: mean of both levels, in dB.

    Returns:
        Mixture ``(time,)`` and sources ``(2, time)``; the mixture is their sum.
    """
    waveforms = torch.stack([first, second])
    wanted = db_to_amplitude(level_dbfs + ratio_db / 2 * torch.tensor([1.0, -1.0]))
    sources = waveforms * (wanted / active_rms(waveforms, SAMPLE_RATE).clamp(min=1e-6))[:, None]
    loudest = torch.cat([sources, sources.sum(0, keepdim=True)]).abs().max()
    sources = sources * (PEAK / loudest).clamp(max=1.0)
    return sources.sum(0), sources


def _by_speaker(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    speakers: dict[str, list[Entry]] = {}
    for entry in entries:
        speakers.setdefault(entry["speaker"], []).append(entry)
    return speakers


def _part(entries: Sequence[Entry], part: Part) -> list[Entry]:
    shares = {"valid": {0}, "test": {1}, "train": set(range(2, NUM_SHARES))}
    wanted = shares.get(part, set(range(NUM_SHARES)))
    return [entry for number, entry in enumerate(entries) if number % NUM_SHARES in wanted]


def _pairs(
    first: Sequence[Entry], second: Sequence[Entry], num_pairs: int
) -> list[tuple[Entry, Entry]]:
    """Both go round in step, so that all are heard as often; once they are back at the start, the second is one on."""
    period = math.lcm(len(first), len(second))
    return [
        (first[k % len(first)], second[(k + k // period) % len(second)])
        for k in range(min(num_pairs, len(first) * len(second)))
    ]


def _hashed(value: object) -> str:
    parts = sorted(value.items()) if isinstance(value, dict) else value
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
