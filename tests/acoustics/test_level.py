from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audiozen.acoustics import active_rms, amplitude_to_db, db_to_amplitude, is_silent, rms
from audiozen.errors import RequestError, ShapeError


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def active_rms_by_loop(samples: np.ndarray, frame_length: int) -> float:
    """The definition, one frame after the other."""
    num_frames = len(samples) // frame_length
    energies = [
        np.mean(samples[i * frame_length : (i + 1) * frame_length] ** 2) for i in range(num_frames)
    ]
    levels = [10 * math.log10(energy + 1e-300) for energy in energies]
    threshold = np.percentile(levels, 95) - 35
    return math.sqrt(np.mean([e for e, level in zip(energies, levels) if level > threshold]))


def test_sine_has_minus_3_dbfs():
    sine = torch.sin(2 * torch.pi * torch.arange(1600, dtype=torch.float64) / 16)
    assert float(amplitude_to_db(rms(sine))) == pytest.approx(-3.0103, abs=1e-4)


def test_rms_is_per_signal():
    assert rms(torch.tensor([[1.0, -1.0], [0.0, 0.0]])).tolist() == [1.0, 0.0]


def test_pauses_do_not_lower_the_active_level():
    speech = noise(16000)
    with_pause = torch.cat([speech, 1e-4 * noise(32000, seed=1)])
    assert float(active_rms(with_pause, 16000)) == pytest.approx(float(rms(speech)), rel=1e-6)
    assert float(rms(with_pause)) < 0.6 * float(rms(speech))


@pytest.mark.parametrize("quiet_db", [-34.0, -36.0])
def test_frames_count_down_to_35_db_under_the_loud_ones(quiet_db):
    quiet = torch.full((160 * 10,), db_to_amplitude(quiet_db), dtype=torch.float64)
    loud = torch.ones(160 * 10, dtype=torch.float64)
    expected = math.sqrt((1 + db_to_amplitude(quiet_db) ** 2) / 2) if quiet_db > -35 else 1.0
    assert float(active_rms(torch.cat([loud, quiet]), 8000)) == pytest.approx(expected, rel=1e-9)


@given(st.integers(0, 1000), st.integers(320, 6000))
def test_active_rms_equals_its_definition(seed, length):
    rng = np.random.default_rng(seed)
    envelope = 10 ** rng.uniform(-4, 0, length // 320 + 1).repeat(320)[:length]
    samples = envelope * rng.standard_normal(length)
    ours = float(active_rms(torch.from_numpy(samples), 16000))
    assert ours == pytest.approx(active_rms_by_loop(samples, 320), rel=1e-9)


def test_active_rms_is_per_signal_and_keeps_leading_axes():
    waveforms = noise(2, 3, 1000)
    levels = active_rms(waveforms, 16000)
    assert levels.shape == (2, 3)
    assert float(levels[1, 2]) == pytest.approx(float(active_rms(waveforms[1, 2], 16000)))


def test_signal_shorter_than_a_frame_is_one_frame():
    assert float(active_rms(torch.tensor([0.5, -0.5]), 16000)) == pytest.approx(0.5)


def test_active_rms_of_silence_is_zero():
    assert active_rms(torch.zeros(2, 1000), 16000).tolist() == [0.0, 0.0]


def test_arguments_are_not_changed():
    waveform = noise(1000)
    before = waveform.clone()
    rms(waveform), active_rms(waveform, 16000), is_silent(waveform)
    assert torch.equal(waveform, before)


def test_active_rms_refuses_no_samples():
    with pytest.raises(ShapeError, match=r"\(2, 0\) has no active level"):
        active_rms(torch.zeros(2, 0), 16000)


def test_active_rms_refuses_a_rate_of_zero():
    with pytest.raises(RequestError, match="sample_rate must be positive, got 0"):
        active_rms(torch.ones(10), 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("level", [0.0, 0.1, -0.7, 1e-30, 1e3])
def test_constant_is_silent(dtype, level):
    assert bool(is_silent(torch.full((16001,), level, dtype=dtype)))


@pytest.mark.parametrize("scale", [1.0, 1e-8, 1e-15, 1e-30])
def test_quiet_signal_is_not_silent(scale):
    assert not bool(is_silent((scale * noise(100)).float()))


def test_nan_is_not_silent_and_nothing_is():
    assert not bool(is_silent(torch.tensor([0.0, math.nan])))
    assert is_silent(torch.zeros(2, 0)).tolist() == [True, True]


@given(st.floats(-200, 200))
def test_decibels_there_and_back(level_db):
    assert amplitude_to_db(db_to_amplitude(level_db)) == pytest.approx(level_db, abs=1e-9)
    as_tensor = torch.tensor(level_db, dtype=torch.float64)
    assert float(db_to_amplitude(as_tensor)) == pytest.approx(db_to_amplitude(level_db))


def test_known_decibels():
    assert db_to_amplitude(-6.0) == pytest.approx(0.5011872, abs=1e-7)
    assert amplitude_to_db(0.0) == -math.inf
    assert amplitude_to_db(torch.zeros(1)).tolist() == [-math.inf]
    assert db_to_amplitude(-math.inf) == 0.0
