"""Which utterance meets which noise in the frozen evaluation sets.

Every draw comes from a hash of what it is for, so it does not depend on order, on other draws, or
on what else is planned.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from audiozen.data.audio import read_audio
from audiozen.data.manifest import Entry

if TYPE_CHECKING:
    from collections.abc import Sequence

LEVELS_DBFS = (-31, -21)
NUM_TRIES = 30


def generator_of(*key: object) -> np.random.Generator:
    """Random numbers that belong to a key."""
    digest = hashlib.sha256("|".join(map(str, key)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


def plan_balanced(
    name: str,
    speech: Sequence[Entry],
    noise: Sequence[Entry],
    snrs_db: Sequence[float],
    max_seconds: float = 4.0,
) -> list[Entry]:
    """Every voice with every type of noise at every ratio, so that a table by any of them compares like with like.

    Args:
        name: of the set.
        speech: utterances to choose from.
        noise: recordings to choose from.
        snrs_db: the ratios.
        max_seconds: longer utterances are cut, to keep evaluation short.
    """
    plan = []
    for speaker in sorted({entry["speaker"] for entry in speech}):
        utterances = [entry for entry in speech if entry["speaker"] == speaker]
        order = generator_of("utterances", name, speaker).permutation(len(utterances))
        combinations = [
            (noise_type, snr_db)
            for noise_type in sorted({entry["noise_type"] for entry in noise})
            for snr_db in snrs_db
        ]
        for number, (noise_type, snr_db) in enumerate(combinations):
            utterance = utterances[order[number % len(order)]]
            length = min(utterance.num_samples, round(max_seconds * utterance.sample_rate))
            plan.append(_draw_mixture(utterance, length, noise, noise_type, snr_db))
    return plan


def _draw_mixture(
    utterance: Entry, length: int, noise: Sequence[Entry], noise_type: str, snr_db: float
) -> Entry:
    mixture_id = f"{utterance.id}_{noise_type}_{snr_db:+g}"
    generator = generator_of("mixture", mixture_id)
    candidates = [entry for entry in noise if entry["noise_type"] == noise_type]
    recording = candidates[int(generator.integers(len(candidates)))]
    offset = draw_offset(_samples(recording), length, generator)
    level = float(np.round(generator.uniform(*LEVELS_DBFS), 1))
    return mixture_entry(mixture_id, utterance, length, recording, offset, snr_db, level)


def draw_offset(noise: npt.NDArray[np.float32], length: int, generator: np.random.Generator) -> int:
    """Where a segment of noise begins that is not mostly silent, and does not begin with silence."""
    power = np.mean(noise**2)
    for _ in range(NUM_TRIES):
        offset = int(generator.integers(0, max(1, len(noise) - length)))
        segment = np.take(noise, np.arange(offset, offset + length), mode="wrap")
        loud = np.mean(segment**2) > 0.25 * power
        if loud and np.mean(segment[: length // 2] ** 2) > 0.05 * power:
            break
    return offset


def mixture_entry(
    mixture_id: str,
    utterance: Entry,
    length: int,
    recording: Entry,
    offset: int,
    snr_db: float,
    level_dbfs: float,
) -> Entry:
    """One line of a list of mixtures: the utterance, and what is done to it."""
    labels: dict[str, Any] = {
        "speech_samples": length,
        "speaker": utterance["speaker"],
        "language": utterance["language"],
        "noise": recording.id,
        "noise_type": recording["noise_type"],
        "noise_offset": offset,
        "snr_db": snr_db,
        "level_dbfs": level_dbfs,
    }
    rate, num_samples = utterance.sample_rate, utterance.num_samples
    return Entry(mixture_id, utterance.path, rate, num_samples, labels)


def _samples(recording: Entry) -> npt.NDArray[np.float32]:
    """The part of a noise file that its labels allow."""
    start, stop = recording.labels.get("start", 0), recording.labels.get("stop")
    length = None if stop is None else stop - start
    return np.asarray(read_audio(recording.path, start=start, num_samples=length).numpy())
