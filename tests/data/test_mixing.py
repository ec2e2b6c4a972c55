from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from audiozen.acoustics.level import active_rms, rms
from audiozen.data.mixing import (
    colored_noise,
    fit_length,
    mix_at_snr,
    random_equalizer,
    random_segment,
    random_speed,
)
from audiozen.data.sampler import isolated_generators, seed_sample
from audiozen.errors import AudioError, ShapeError

SAMPLE_RATE = 8000


@pytest.fixture(autouse=True)
def _seeded():
    with isolated_generators():
        seed_sample(0, 0, 0)
        yield


def speech_with_pauses(seed: int = 0, num_samples: int = 4000) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    waveform = 0.1 * torch.randn(num_samples, generator=generator)
    waveform[num_samples // 4 : num_samples // 2] = 0
    return waveform


def db(ratio: torch.Tensor) -> float:
    return 20 * math.log10(float(ratio))


# ---- mixing -----------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(
    snr_db=st.floats(-30, 40),
    level_dbfs=st.none() | st.floats(-60, 0),
    speech_gain=st.floats(1e-3, 10),
    noise_gain=st.floats(1e-3, 10),
    seed=st.integers(0, 1000),
)
def test_snr_is_the_one_asked_for_and_nothing_exceeds_the_peak(
    snr_db, level_dbfs, speech_gain, noise_gain, seed
):
    speech = speech_gain * speech_with_pauses(seed)
    generator = torch.Generator().manual_seed(seed + 1)
    noise = noise_gain * torch.randn(4000, generator=generator)
    mixture = mix_at_snr(speech, noise, snr_db, sample_rate=SAMPLE_RATE, level_dbfs=level_dbfs)
    level = active_rms(mixture.clean, SAMPLE_RATE)
    assert db(level / rms(mixture.noise)) == pytest.approx(snr_db, abs=1e-3)
    assert torch.equal(mixture.noisy, mixture.clean + mixture.noise)
    assert max(part.abs().max() for part in mixture[:3]) <= 0.98 + 1e-6
    assert torch.allclose(mixture.clean, speech * mixture.speech_gain, rtol=1e-5, atol=0)
    assert torch.allclose(mixture.noise, noise * mixture.noise_gain, rtol=1e-5, atol=0)
    if level_dbfs is not None:
        assert db(level) <= level_dbfs + 1e-3


def test_pauses_do_not_make_the_noise_quieter():
    noise = torch.randn(6400)
    speech = speech_with_pauses(num_samples=6400)  # a quarter of 40 frames is a pause
    mixture = mix_at_snr(speech, noise, 0.0, sample_rate=SAMPLE_RATE)
    whole = db(rms(mixture.clean) / rms(mixture.noise))
    assert whole == pytest.approx(10 * math.log10(0.75), abs=0.05)


def test_known_values_of_a_square_wave():
    speech = torch.tensor([0.5, -0.5]).repeat(400)
    noise = torch.tensor([1.0, 1.0, -1.0, -1.0]).repeat(200)
    mixture = mix_at_snr(speech, noise, 20.0, sample_rate=SAMPLE_RATE)
    assert (mixture.speech_gain, mixture.noise_gain) == (1.0, pytest.approx(0.05))
    assert mixture.noisy[:4].tolist() == pytest.approx([0.55, -0.45, 0.45, -0.55])


def test_level_is_kept_unless_asked_for():
    speech, noise = speech_with_pauses(), torch.randn(4000)
    kept = mix_at_snr(speech, noise, 10.0, sample_rate=SAMPLE_RATE)
    assert torch.equal(kept.clean, speech)
    set_to = mix_at_snr(speech, noise, 10.0, sample_rate=SAMPLE_RATE, level_dbfs=-26.0)
    assert db(active_rms(set_to.clean, SAMPLE_RATE)) == pytest.approx(-26.0, abs=1e-3)


def test_peak_lowers_the_level_and_reaches_the_limit():
    speech, noise = speech_with_pauses(), torch.randn(4000)
    mixture = mix_at_snr(speech, noise, 0.0, sample_rate=SAMPLE_RATE, level_dbfs=0.0, peak=0.5)
    assert max(float(part.abs().max()) for part in mixture[:3]) == pytest.approx(0.5)
    assert db(active_rms(mixture.clean, SAMPLE_RATE)) < -6


@pytest.mark.parametrize("silent", ["speech", "noise"])
def test_silent_part_is_refused(silent):
    parts = {"speech": speech_with_pauses(), "noise": torch.randn(4000)}
    parts[silent] = torch.zeros(4000)
    with pytest.raises(AudioError, match=f"cannot mix at 5 dB: the {silent} is silent; draw"):
        mix_at_snr(**parts, snr_db=5, sample_rate=SAMPLE_RATE)


@pytest.mark.parametrize("shapes", [((5,), (4,)), ((1, 5), (1, 5))])
def test_parts_that_do_not_fit_are_refused(shapes):
    speech, noise = (torch.randn(shape) for shape in shapes)
    with pytest.raises(ShapeError, match="must both be"):
        mix_at_snr(speech, noise, 0.0, sample_rate=SAMPLE_RATE)


# ---- lengths ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_samples", "start", "expected"),
    [
        (2, 0, [0, 1]),
        (3, 0, [0, 1, 2]),
        (2, 1, [1, 2]),
        (2, 2, [2, 0]),
        (7, 0, [0, 1, 2, 0, 1, 2, 0]),
        (4, 5, [2, 0, 1, 2]),
        (0, 0, []),
    ],
)
def test_length_is_cut_or_gone_round(num_samples, start, expected):
    assert fit_length(torch.arange(3), num_samples, start).tolist() == expected


def test_leading_axes_keep_their_place():
    waveform = torch.arange(6).reshape(2, 3)
    assert fit_length(waveform, 4).tolist() == [[0, 1, 2, 0], [3, 4, 5, 3]]


def test_empty_waveform_has_no_length_to_fit():
    with pytest.raises(ShapeError, match="empty waveform"):
        fit_length(torch.zeros(0), 3)
    with pytest.raises(ShapeError, match="empty waveform"):
        random_segment(torch.zeros(0), 3)


def test_random_segments_start_everywhere_and_stay_inside():
    waveform = torch.arange(10.0)
    starts = {tuple(random_segment(waveform, 8).tolist()) for _ in range(100)}
    assert starts == {tuple(range(start, start + 8)) for start in range(3)}


def test_short_waveform_is_repeated_from_a_random_place():
    segments = {tuple(random_segment(torch.arange(3.0), 5).tolist()) for _ in range(100)}
    assert segments == {(0, 1, 2, 0, 1), (1, 2, 0, 1, 2), (2, 0, 1, 2, 0)}


def test_random_segment_avoids_silence():
    waveform = torch.zeros(1000)
    waveform[600:] = torch.randn(400)
    for _ in range(50):
        assert random_segment(waveform, 200, num_tries=100).abs().max() > 0


def test_segment_of_silence_is_silent():
    assert random_segment(torch.zeros(100), 10).tolist() == [0] * 10


# ---- colours, speeds --------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 3000), st.sampled_from([8000, 16_000, 48_000]), st.floats(0, 20))
def test_equalizer_keeps_length_and_level(num_samples, sample_rate, max_gain_db):
    waveform = torch.randn(num_samples)
    assume(float(rms(waveform)) > 0.01)
    coloured = random_equalizer(waveform, sample_rate, max_gain_db=max_gain_db)
    assert coloured.shape == waveform.shape
    assert float(rms(coloured)) == pytest.approx(float(rms(waveform)), rel=1e-4)


def test_equalizer_stays_within_its_gains_and_does_not_delay():
    impulse = torch.zeros(8192)
    impulse[4096] = 1.0
    for _ in range(10):
        coloured = random_equalizer(impulse, 16_000, max_gain_db=6.0)
        gains_db = 20 * torch.log10(torch.fft.rfft(coloured).abs())
        assert float(gains_db.max() - gains_db.min()) <= 12.01
        assert float(gains_db.max() - gains_db.min()) > 1.0
        assert int(coloured.abs().argmax()) == 4096
        assert torch.allclose(coloured[1:4096], coloured[4097:].flip(0), atol=1e-5)


def test_equalizer_is_smooth():
    impulse = torch.zeros(8192)
    impulse[0] = 1.0
    gains_db = 20 * torch.log10(torch.fft.rfft(random_equalizer(impulse, 16_000)).abs())
    from_one_khz = gains_db[512:].diff().abs()
    assert float(from_one_khz.max()) < 12 / 512 * 1.5  # at most 12 dB over the octave from 1 kHz


def test_equalizer_without_gain_changes_nothing_and_silence_stays_silent():
    waveform = torch.randn(1001)
    assert torch.allclose(random_equalizer(waveform, 16_000, max_gain_db=0.0), waveform, atol=1e-5)
    assert random_equalizer(torch.zeros(100), 16_000).tolist() == [0] * 100


def test_speed_changes_length_and_pitch():
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(16_000) / 16_000)
    faster = random_speed(tone, slowest=1.25, fastest=1.25)
    assert faster.shape == (12_800,)
    peak = int(torch.fft.rfft(faster[:12_800]).abs().argmax())
    assert peak * 16_000 / 12_800 == 1250


def test_speeds_lie_between_their_limits():
    lengths = [len(random_speed(torch.randn(9000), slowest=0.9, fastest=1.5)) for _ in range(50)]
    assert 6000 <= min(lengths) < 7000 < 9000 < max(lengths) <= 10_000


@pytest.mark.parametrize(
    ("exponent", "db_per_octave"), [(0, 0), (1, -3.01), (2, -6.02), (-1, 3.01)]
)
def test_slope_of_coloured_noise(exponent, db_per_octave):
    power = torch.fft.rfft(colored_noise(2**17, exponent)).abs().square()
    octaves = [power[2**k : 2 ** (k + 1)].mean() for k in range(8, 16)]
    slopes = 10 * torch.log10(torch.stack(octaves)).diff()
    assert float(slopes.mean()) == pytest.approx(db_per_octave, abs=0.15)


@pytest.mark.parametrize("num_samples", [1, 2, 3, 1000, 1001])
def test_coloured_noise_has_its_length_and_rms_one(num_samples):
    noise = colored_noise(num_samples, 1.0)
    assert noise.shape == (num_samples,)
    assert float(rms(noise)) == pytest.approx(1.0, rel=1e-4)
    if num_samples > 1:
        assert float(noise.mean()) == pytest.approx(0.0, abs=1e-5)


def test_everything_random_follows_the_seed_of_the_sample():
    def draw(index: int) -> torch.Tensor:
        seed_sample(0, 0, index)
        noise = random_segment(colored_noise(3000, 1.0), 2000)
        return random_segment(random_speed(random_equalizer(noise, 16_000)), 1000)

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
