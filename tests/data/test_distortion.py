from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audiozen.acoustics.level import rms
from audiozen.data.distortion import band_limit, clip, random_band_limit, random_clipping
from audiozen.data.rooms import reverberate
from tests.data.test_mixing import CountReads

SAMPLE_RATE = 16_000


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sine(frequency: float, num_samples: int = SAMPLE_RATE) -> torch.Tensor:
    return torch.sin(2 * math.pi * frequency / SAMPLE_RATE * torch.arange(num_samples))


# ---- clipping -----------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(overdrive_db=st.floats(0, 40), gain=st.floats(1e-4, 1e4), seed=st.integers(0, 100))
def test_peak_is_lower_by_so_many_db_and_nothing_below_it_changes(overdrive_db, gain, seed):
    waveform = gain * torch.randn(1000, generator=generator(seed))
    clipped = clip(waveform, overdrive_db)
    limit = waveform.abs().max() * 10 ** (-overdrive_db / 20)
    assert float(clipped.abs().max()) == pytest.approx(float(limit), rel=1e-5)
    is_below = waveform.abs() < limit * (1 - 1e-5)
    assert torch.equal(clipped[is_below], waveform[is_below])
    assert torch.equal(clipped.sign(), waveform.sign())


@pytest.mark.parametrize(("overdrive_db", "share"), [(0.0, 0.0), (6.0206, 2 / 3), (20.0, 0.936)])
def test_share_of_a_sine_that_is_cut_off_is_the_one_of_the_arc(overdrive_db, share):
    waveform = sine(17.3)
    found = (clip(waveform, overdrive_db) != waveform).double().mean()
    assert float(found) == pytest.approx(share, abs=2e-3)


def test_overdriven_sine_has_odd_harmonics_only():
    power = torch.fft.rfft(clip(sine(100), 12.0)).abs().square()
    assert power[300] > 1e-3 * power[100]
    assert power[[0, 200, 400, 600]].max() < 1e-9 * power[100]


def test_overdrives_lie_between_their_limits():
    waveform = torch.randn(1, 300).expand(200, 300)
    clipped = random_clipping(waveform, lowest_db=3.0, highest_db=12.0, generator=generator(0))
    found_db = 20 * torch.log10(waveform.abs().amax(-1) / clipped.abs().amax(-1))
    assert 2.999 < float(found_db.min()) < 4 < 11 < float(found_db.max()) < 12.001


# ---- band limit ---------------------------------------------------------------------------------


@pytest.mark.parametrize("cutoff", [1000.0, 3400.0, 7000.0])
def test_tones_below_are_kept_and_tones_above_are_gone(cutoff):
    for frequency in (0.1, 0.5, 0.89):
        assert float(gain_db(frequency, cutoff)) == pytest.approx(0.0, abs=0.01)
    for frequency in (1.01, 1.1):
        assert float(gain_db(frequency, cutoff)) < -60


def gain_db(frequency: float, cutoff: float) -> torch.Tensor:
    """Of a tone of so many times the cutoff, away from its ends."""
    tone, middle = sine(round(frequency * cutoff)), slice(SAMPLE_RATE // 4, -SAMPLE_RATE // 4)
    return 20 * torch.log10(rms(band_limit(tone, SAMPLE_RATE, cutoff)[middle]) / rms(tone[middle]))


def test_half_of_the_transition_is_6_db_down():
    response = torch.fft.rfft(band_limit(impulse_at(0, 1600), SAMPLE_RATE, 4000.0)).abs()
    assert float(response[380]) == pytest.approx(0.5, abs=1e-4)  # 3800 Hz


def test_nothing_is_delayed():
    limited = band_limit(impulse_at(500, 1001), SAMPLE_RATE, 3400.0)
    assert int(limited.argmax()) == 500
    torch.testing.assert_close(limited[:500].flip(0), limited[501:], rtol=0, atol=1e-6)


def test_cutoff_beyond_the_rate_takes_nothing_away():
    waveform = torch.randn(999, generator=generator(0))
    torch.testing.assert_close(band_limit(waveform, SAMPLE_RATE, 8900.0), waveform)


def test_cutoffs_lie_between_their_limits_at_equal_ratios():
    impulses = impulse_at(0, 1600).expand(300, 1600)
    limited = random_band_limit(
        impulses, SAMPLE_RATE, lowest=1000.0, highest=4000.0, generator=generator(0)
    )
    is_there = torch.fft.rfft(limited).abs() > 1e-3
    cutoffs = 10 * is_there.sum(-1)  # bins of 10 Hz
    assert 970 < int(cutoffs.min()) < 1050
    assert 3900 < int(cutoffs.max()) < 4030
    assert float((cutoffs < 2000).double().mean()) == pytest.approx(0.5, abs=0.1)


def impulse_at(place: int, num_samples: int) -> torch.Tensor:
    impulse = torch.zeros(num_samples)
    impulse[place] = 1.0
    return impulse


# ---- all of them --------------------------------------------------------------------------------

BATCH_FUNCTIONS = {
    "clip": lambda waveform, draws: clip(waveform, torch.linspace(0, 9, len(waveform))),
    "band_limit": lambda waveform, draws: band_limit(
        waveform, SAMPLE_RATE, torch.linspace(900, 5000, len(waveform))
    ),
    "random_clipping": lambda waveform, draws: random_clipping(waveform, generator=draws),
    "random_band_limit": lambda waveform, draws: random_band_limit(
        waveform, SAMPLE_RATE, generator=draws
    ),
    "reverberate": lambda waveform, draws: reverberate(waveform, torch.ones(len(waveform), 40)),
}
RANDOM_FUNCTIONS = {
    name: function for name, function in BATCH_FUNCTIONS.items() if name.startswith("random")
}


@pytest.mark.parametrize("function", BATCH_FUNCTIONS.values(), ids=BATCH_FUNCTIONS)
def test_batch_is_not_looked_at_from_the_host_and_stays_where_it_is(function):
    with CountReads() as reads:
        on_cpu = function(torch.randn(3, 500), None)
    assert reads.count == 0
    on_meta = function(torch.randn(3, 500, device="meta"), None)
    assert on_meta.is_meta
    assert (
        (on_meta.shape, on_meta.dtype) == (on_cpu.shape, on_cpu.dtype) == ((3, 500), torch.float32)
    )


@pytest.mark.gpu
@pytest.mark.parametrize("function", BATCH_FUNCTIONS.values(), ids=BATCH_FUNCTIONS)
def test_gpu_gives_the_numbers_of_the_cpu_and_is_not_waited_for(function):
    waveform = torch.randn(3, 500, generator=generator(0))
    there = waveform.cuda()
    function(there, generator(1))  # plans of transforms and the like are made once
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = function(there, generator(1))
    finally:
        torch.cuda.set_sync_debug_mode(mode)
    torch.testing.assert_close(found.cpu(), function(waveform, generator(1)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("function", RANDOM_FUNCTIONS.values(), ids=RANDOM_FUNCTIONS)
@settings(max_examples=20, deadline=None)
@given(num_rows=st.integers(1, 4), num_samples=st.integers(1, 500), seed=st.integers(0, 2**40))
def test_each_row_has_draws_of_its_own_as_signals_one_after_the_other(
    function, num_rows, num_samples, seed
):
    waveform, draws = torch.randn(num_rows, num_samples), generator(seed)
    rows = [function(row, draws) for row in waveform]
    found = function(waveform, draws.manual_seed(seed))
    torch.testing.assert_close(found, torch.stack(rows), rtol=1e-5, atol=1e-5)
    nested = function(waveform[None], draws.manual_seed(seed))
    assert torch.equal(nested[0], found)


@pytest.mark.parametrize("function", RANDOM_FUNCTIONS.values(), ids=RANDOM_FUNCTIONS)
def test_generator_that_is_given_is_the_only_one_that_draws(function):
    waveform = torch.randn(3, 500)
    torch.manual_seed(5)
    by_default = function(waveform, None)
    before = torch.get_rng_state()
    given_ = [function(waveform, generator(seed)) for seed in (5, 5, 6)]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(given_[0], by_default)
    assert torch.equal(given_[0], given_[1])
    assert not torch.equal(given_[0], given_[2])


@pytest.mark.parametrize("function", RANDOM_FUNCTIONS.values(), ids=RANDOM_FUNCTIONS)
@pytest.mark.parametrize("num_samples", [1, 2, 100])
def test_silence_stays_silent_however_short(function, num_samples):
    assert function(torch.zeros(2, num_samples), None).abs().max() == 0


@pytest.mark.parametrize("function", BATCH_FUNCTIONS.values(), ids=BATCH_FUNCTIONS)
def test_double_precision_is_kept(function):
    assert function(torch.randn(3, 50).double(), None).dtype == torch.float64
