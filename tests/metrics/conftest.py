from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile

RECORDINGS = Path(__file__).parents[2] / "recipes/debian_noisy_speech/audio"


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


def mixed(speech: np.ndarray, noise: np.ndarray, snr_db: float) -> Pair:
    noise = np.resize(noise, len(speech))
    gain = np.sqrt(np.mean(speech**2) / np.mean(noise**2) / 10 ** (snr_db / 10))
    return Pair(speech + gain * noise, speech)


def recorded(speech: str, noise: str, snr_db: float) -> Pair:
    """Speech of the recipe's test set with noise of it, at 16 kHz."""
    waveforms = [
        soundfile.read(RECORDINGS / kind / "test" / f"{name}.flac")[0]
        for kind, name in (("speech", speech), ("noise", noise))
    ]
    return mixed(*waveforms, snr_db)


@pytest.fixture(scope="session")
def rainy() -> Pair:
    """A recorded sentence with an SNR of 0 dB. A hundredth of it is digitally silent."""
    return recorded("carlo_it_0061", "rain_rain", 0)


@pytest.fixture(scope="session")
def near_train() -> Pair:
    """A recorded sentence with an SNR of 15 dB. Some frames of it are digitally silent."""
    return recorded("ivrru_ru_0296", "train_train", 15)


@pytest.fixture(scope="session")
def pair() -> Pair:
    """Three seconds at 16 kHz with an SNR of 10 dB."""
    reference = synthetic_speech(3.0, seed=1)
    return mixed(reference, np.random.default_rng(0).standard_normal(len(reference)), 10)
