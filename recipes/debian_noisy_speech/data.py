"""Noisy speech: mixed anew for training, frozen for evaluation.

All random draws of training come from the generators of Python and PyTorch, which the trainer seeds for each sample.
"""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from audiozen.acoustics import db_to_amplitude, rms
from audiozen.data.audio import read_audio
from audiozen.data.distortion import band_limit, clip
from audiozen.data.manifest import read_manifest
from audiozen.data.mixing import (
    colored_noise,
    fit_length,
    mix_at_snr,
    random_equalizer,
    random_segment,
    random_speed,
)
from audiozen.data.rooms import early_part, random_room, reverberate

PACK = Path(__file__).resolve().parent / "audio"
SAMPLE_RATE = 16000

SPEECH_SPEED, NOISE_SPEED = 1.25, 1.4
"""Recordings are played up to so much faster or slower."""
SPEECH_EQUALIZER_DB, NOISE_EQUALIZER_DB = 4.0, 8.0
NUM_BABBLE_VOICES = 6
BABBLE_SPREAD_DB = 2.0
SECOND_NOISE_DB = (-10.0, 0.0)
COLORS = (0.0, 2.0)
"""From white to brown."""
RT60 = (0.2, 0.8)
"""Reverberation times, in seconds."""
CUTOFF_HZ, OVERDRIVE_DB = (3400.0, 8000.0), (3.0, 12.0)
ADDED_LATER = ("reverberation", "band_limit", "clipping")
"""Settings that are 0 where an experiment does not name them."""


class Recordings:
    """The sound files of a manifest, or the parts of them that its labels ``start`` and ``stop`` state.

    A file is read when it is first asked for, and kept from then on.

    Args:
        manifest: path of the manifest.
        keep_in_memory: False reads again each time, and only what is asked for: for hours of sound.
    """

    def __init__(self, manifest: Path, *, keep_in_memory: bool = True) -> None:
        self.entries = read_manifest(manifest)
        self.index_of = {entry.id: index for index, entry in enumerate(self.entries)}
        self.keep_in_memory = keep_in_memory
        self._kept: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.entries)

    def read(self, index: int) -> Tensor:
        """All of a recording, shape ``(time,)``."""
        if index in self._kept:
            return self._kept[index]
        start, length = self._bounds(index)
        waveform = _read(self.entries[index].path, start, length)
        if self.keep_in_memory:
            self._kept[index] = waveform
        return waveform

    def segment(self, index: int, num_samples: int) -> Tensor:
        """A segment from a random place, shape ``(num_samples,)``. What is too short is repeated."""
        start, length = self._bounds(index)
        if self.keep_in_memory or length <= num_samples:
            return random_segment(self.read(index), num_samples)
        start += random.randint(0, length - num_samples)
        return _read(self.entries[index].path, start, num_samples)

    def any_segment(self, num_samples: int) -> Tensor:
        """A segment of any recording, shape ``(num_samples,)``."""
        return self.segment(random.randrange(len(self)), num_samples)

    def by_label(self, label: str) -> list[list[int]]:
        """Indices of the recordings, grouped by the value of a label."""
        groups: dict[str, list[int]] = {}
        for index, entry in enumerate(self.entries):
            groups.setdefault(entry[label], []).append(index)
        return list(groups.values())

    def fingerprint(self) -> str:
        """Changes with the manifest. No sound is read, and the folder may have moved."""
        hashed = hashlib.sha256()
        for entry in self.entries:
            name, labels = entry.path.name, sorted(entry.labels.items())
            hashed.update(
                f"{(entry.id, name, entry.sample_rate, entry.num_samples, labels)}\n".encode()
            )
        return hashed.hexdigest()[:16]

    def _bounds(self, index: int) -> tuple[int, int]:
        entry = self.entries[index]
        start = entry.labels.get("start", 0)
        return start, entry.labels.get("stop", entry.num_samples) - start


class TrainingMixtures(Dataset[tuple[Tensor, Tensor]]):
    """Random segments of speech and noise, mixed at a random ratio and level.

    A sample is ``(noisy, clean)``, each of shape ``(time,)``, within [-1, 1].

    What is clean in a room is the speech with the reflections of the first 50 ms: noise and late reverberation are to
    be removed. The ratio and the level are those of all the speech that arrives. A narrow channel limits noisy and
    clean alike, as nobody knows what was above; an overdriven input clips the noisy signal alone.

    Args:
        root: folder of ``speech_train.jsonl`` and ``noise_train.jsonl``. None: the pack in ``audio/``.
        num_mixtures: samples of an epoch.
        num_seconds: length of each.
        snr_db: lowest and highest signal-to-noise ratio.
        level_dbfs: lowest and highest level of the active speech.
        speech_augmentation: how often speed and colour of the speech are changed, in [0, 1]. Another
            speed is another voice.
        noise_augmentation: the same for recorded noise, in [0, 1].
        second_noise: how often there are two noises, in [0, 1].
        synthetic_noise: how often a noise is coloured noise, in [0, 1].
        babble: how often a noise is several of the training voices at once, in [0, 1].
        keep_in_memory: hold decoded files; False for a corpus of hours.
        reverberation: how often the speech is heard in a room, in [0, 1].
        band_limit: how often speech and noise come through a narrow channel, in [0, 1].
        clipping: how often the noisy signal is overdriven, in [0, 1].
    """

    def __init__(
        self,
        root: str | None = None,
        *,
        num_mixtures: int = 4800,
        num_seconds: float = 2.0,
        snr_db: tuple[float, float] = (-5.0, 20.0),
        level_dbfs: tuple[float, float] = (-35.0, -15.0),
        speech_augmentation: float = 0.8,
        noise_augmentation: float = 0.3,
        second_noise: float = 0.3,
        synthetic_noise: float = 0.05,
        babble: float = 0.05,
        keep_in_memory: bool = True,
        reverberation: float = 0.0,
        band_limit: float = 0.0,
        clipping: float = 0.0,
    ) -> None:
        folder = PACK if root is None else Path(root)
        self.speech = Recordings(folder / "speech_train.jsonl", keep_in_memory=keep_in_memory)
        self.noise = Recordings(folder / "noise_train.jsonl", keep_in_memory=keep_in_memory)
        self.noise_types = self.noise.by_label("noise_type")
        self.num_mixtures = num_mixtures
        self.num_samples = round(num_seconds * SAMPLE_RATE)
        self.snr_db, self.level_dbfs = snr_db, level_dbfs
        self.speech_augmentation = speech_augmentation
        self.noise_augmentation = noise_augmentation
        self.second_noise = second_noise
        self.synthetic_noise, self.babble = synthetic_noise, babble
        self.reverberation = reverberation
        self.band_limit, self.clipping = band_limit, clipping

    def __len__(self) -> int:
        return self.num_mixtures

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        speech, late = self._in_a_room(self._draw_speech())
        noise = self._draw_noises()
        if _comes(self.band_limit):
            cutoff = random.uniform(*CUTOFF_HZ)
            speech, noise, late = (
                band_limit(part, SAMPLE_RATE, cutoff) for part in (speech, noise, late)
            )
        mixture = mix_at_snr(
            speech,
            noise,
            random.uniform(*self.snr_db),
            sample_rate=SAMPLE_RATE,
            level_dbfs=random.uniform(*self.level_dbfs),
        )
        noisy, clean = mixture.noisy, mixture.clean - late * mixture.speech_gain
        if _comes(self.clipping):
            noisy = clip(noisy, random.uniform(*OVERDRIVE_DB))
        return noisy, clean

    def fingerprint(self) -> str:
        """Changes with the manifests and with the settings of the mixtures."""
        parts = [
            (name, value.fingerprint() if isinstance(value, Recordings) else value)
            for name, value in sorted(vars(self).items())
            if value or name not in ADDED_LATER  # a run that began without them may go on
        ]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    def _in_a_room(self, speech: Tensor) -> tuple[Tensor, Tensor]:
        """Speech, and how much of it is late reverberation: none, where it is in no room."""
        if not _comes(self.reverberation):
            return speech, torch.zeros_like(speech)
        room = random_room(SAMPLE_RATE, rt60=RT60)
        reverberant = reverberate(speech, room)
        return reverberant, reverberant - reverberate(speech, early_part(room, SAMPLE_RATE))

    def _draw_speech(self) -> Tensor:
        index = random.randrange(len(self.speech))
        if random.random() < self.speech_augmentation:
            return self._changed(self.speech, index, SPEECH_SPEED, SPEECH_EQUALIZER_DB)
        return self.speech.segment(index, self.num_samples)

    def _draw_noises(self) -> Tensor:
        noise = self._draw_noise()
        if random.random() >= self.second_noise:
            return noise
        gain = db_to_amplitude(random.uniform(*SECOND_NOISE_DB))
        return unit_rms(noise) + gain * unit_rms(self._draw_noise())

    def _draw_noise(self) -> Tensor:
        kind = random.random()
        if kind < self.synthetic_noise:
            return colored_noise(self.num_samples, random.uniform(*COLORS))
        if kind < self.synthetic_noise + self.babble:
            return self._draw_babble()
        return self._draw_recorded_noise()

    def _draw_recorded_noise(self) -> Tensor:
        index = random.randrange(len(self.noise))
        if random.random() < 0.5:  # so that types with one recording are heard as often as others
            index = random.choice(random.choice(self.noise_types))
        if random.random() < self.noise_augmentation:
            return self._changed(self.noise, index, NOISE_SPEED, NOISE_EQUALIZER_DB)
        return self.noise.segment(index, self.num_samples)

    def _draw_babble(self) -> Tensor:
        babble = torch.zeros(self.num_samples)
        for _ in range(NUM_BABBLE_VOICES):
            gain = db_to_amplitude(random.gauss(0, BABBLE_SPREAD_DB))
            babble += gain * unit_rms(self.speech.any_segment(self.num_samples))
        return babble

    def _changed(
        self, recordings: Recordings, index: int, speed: float, equalizer_db: float
    ) -> Tensor:
        longest = int(self.num_samples * speed) + 1
        segment = random_speed(recordings.segment(index, longest), slowest=1 / speed, fastest=speed)
        segment = fit_length(segment, self.num_samples)
        return random_equalizer(segment, SAMPLE_RATE, max_gain_db=equalizer_db)


class FrozenMixtures(Dataset[tuple[Tensor, Tensor, dict[str, Any]]]):
    """Mixtures that a manifest states in full, so they have the same bits whenever and in whatever order they are made.

    A sample is ``(noisy, clean, labels)``: waveforms of shape ``(time,)``, within [-1, 1], and the labels ``id``,
    ``snr_db``, ``noise_type``, ``speaker`` and ``language``, all of them strings.

    Args:
        mixtures: file name of the list, such as ``"mixtures_test_seen.jsonl"``; its paths are those of the speech.
        noise: file name of the manifest of its noises, such as ``"noise_test_seen.jsonl"``.
        root: folder of both. None: the pack in ``audio/``.
        num_mixtures: take only so many, spread evenly over the list. None: all.
    """

    def __init__(
        self, mixtures: str, noise: str, root: str | None = None, *, num_mixtures: int | None = None
    ) -> None:
        folder = PACK if root is None else Path(root)
        self.noise = Recordings(folder / noise)
        entries = read_manifest(folder / mixtures)
        num_taken = min(num_mixtures or len(entries), len(entries))
        self.entries = [entries[i * len(entries) // num_taken] for i in range(num_taken)]

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, dict[str, Any]]:
        entry = self.entries[index]
        speech = _read(entry.path)[: entry["speech_samples"]]
        noise = self.noise.read(self.noise.index_of[entry["noise"]])
        mixture = mix_at_snr(
            speech,
            fit_length(noise, len(speech), start=entry["noise_offset"]),
            entry["snr_db"],
            sample_rate=SAMPLE_RATE,
            level_dbfs=entry["level_dbfs"],
        )
        labels = {name: entry[name] for name in ("noise_type", "speaker", "language")}
        labels |= {"id": entry.id, "snr_db": f"{entry['snr_db']:g}"}
        return mixture.noisy, mixture.clean, labels


def _read(path: Path, start: int = 0, num_samples: int | None = None) -> Tensor:
    return read_audio(path, start=start, num_samples=num_samples, expected_rate=SAMPLE_RATE)


def _comes(probability: float) -> bool:
    """Whether something that comes so often comes now. What never comes draws no number."""
    return probability > 0 and random.random() < probability


def unit_rms(waveform: Tensor) -> Tensor:
    """The same signal with an rms of 1; silence stays silence."""
    return waveform / rms(waveform).clamp(min=1e-6)
