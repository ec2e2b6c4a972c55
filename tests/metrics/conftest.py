from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest


class Pair(NamedTuple):
    estimate: np.ndarray
    reference: np.ndarray


def synthetic_speech(seconds: float, seed: int) -> np.ndarray:
    """A voice of harmonics with a moving pitch and three syllables a second, at 16 kHz."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * 16000)) / 16000
    pitch = 120 + 30 * np.sin(2 * np.pi * 0.7 * time + rng.uniform(0, 6))
    phase = 2 * np.pi * np.cumsum(pitch) / 16000
    voice = sum(
        np.sin(harmonic * phase + rng.uniform(0, 6)) / harmonic for harmonic in range(1, 30)
    )
    syllables = np.maximum(0, np.sin(2 * np.pi * 1.5 * time)) ** 2
    breath = 0.02 * rng.standard_normal(len(time))
    return 0.05 * (voice + breath) * syllables + 1e-5 * rng.standard_normal(len(time))


@pytest.fixture(scope="session")
def pair() -> Pair:
    """Three seconds at 16 kHz with an SNR of 10 dB."""
    reference = synthetic_speech(3.0, seed=1)
    noise = np.random.default_rng(0).standard_normal(len(reference))
    gain = np.sqrt(np.mean(reference**2) / np.mean(noise**2) / 10)
    return Pair(reference + gain * noise, reference)
