"""The frozen validation and test sets of the corpus: each utterance meets the same noise at each ratio."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from mixture_plan import LEVELS_DBFS, draw_offset, generator_of, mixture_entry

from audiozen.data.audio import read_audio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from audiozen.data.manifest import Entry

UTTERANCES_PER_SPEAKER = {"valid": 30, "test": 25}
VALID_SNRS_DB, TEST_SNRS_DB = (-2.5, 2.5, 7.5, 12.5), (0, 5, 10)
SHORTEST_SECONDS, LONGEST_SECONDS = 2.5, 10.0


def plan_mixtures(split: str, speech: Sequence[Entry], noise: Sequence[Entry]) -> list[Entry]:
    """Which utterance meets which noise.

    Args:
        split: ``"valid"`` or ``"test"``.
        speech: its utterances, in the order in which they were made.
        noise: its recordings, in the order in which they were made.
    """
    noise_types = sorted({entry["noise_type"] for entry in noise})
    plan: list[Entry] = []
    for number, utterance in enumerate(_choose(split, speech), start=1):
        noise_type = noise_types[(number - 1) % len(noise_types)]
        recordings = [entry for entry in noise if entry["noise_type"] == noise_type]
        snrs_db = TEST_SNRS_DB if split == "test" else (VALID_SNRS_DB[number % len(VALID_SNRS_DB)],)
        plan += _mixtures_of(split, utterance, recordings, snrs_db)
    return plan


def _choose(split: str, speech: Sequence[Entry]) -> list[Entry]:
    chosen = []
    fitting = [e for e in speech if SHORTEST_SECONDS <= e.duration <= LONGEST_SECONDS]
    for speaker in sorted({entry["speaker"] for entry in fitting}):
        own = [entry for entry in fitting if entry["speaker"] == speaker]
        number = min(UTTERANCES_PER_SPEAKER[split], len(own))
        picked = generator_of("plan", split, speaker).choice(len(own), number, replace=False)
        chosen += [own[index] for index in sorted(picked)]
    return chosen


def _mixtures_of(
    split: str, utterance: Entry, recordings: Sequence[Entry], snrs_db: Sequence[float]
) -> list[Entry]:
    generator = generator_of("mix", split, utterance.id)
    recording = recordings[int(generator.integers(len(recordings)))]
    # Whole milliseconds: so the lists do not depend on how a resampler rounds lengths.
    length = int(round(utterance.duration, 3) * utterance.sample_rate)
    offset = draw_offset(read_audio(recording.path).numpy(), length, generator)
    level_dbfs = float(np.round(generator.uniform(*LEVELS_DBFS), 1))
    return [
        mixture_entry(
            f"{split}_{utterance.id}_{recording['noise_type']}_{snr_db:+g}",
            utterance,
            utterance.num_samples,
            recording,
            offset,
            float(snr_db),
            level_dbfs,
        )
        for snr_db in snrs_db
    ]
