from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from audiozen.acoustics.level import active_rms, rms
from audiozen.data.mixing import (
    colored_noise,
    fit_length,
    mix_at_snr,
    random_choice,
    random_equalizer,
    random_gain,
    random_second_noise,
    random_segment,
    random_shift,
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


@pytest.mark.parametrize("shapes", [((5,), (4,)), ((2, 5), (5,)), ((2, 5), (1, 5)), ((), ())])
def test_parts_that_do_not_fit_are_refused(shapes):
    first, second = (torch.randn(shape) for shape in shapes)
    with pytest.raises(ShapeError, match="must have the same shape"):
        mix_at_snr(first, second, 0.0, sample_rate=SAMPLE_RATE)
    with pytest.raises(ShapeError, match="must have the same shape"):
        random_second_noise(first, second)
    with pytest.raises(ShapeError, match="must have the same shape"):
        random_choice(first, second, 0.5)


# ---- mixing a batch -----------------------------------------------------------------------------


def batch_of(num_rows: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    speech = torch.stack([speech_with_pauses(seed + row) for row in range(num_rows)])
    return speech, torch.randn(num_rows, 4000, generator=torch.Generator().manual_seed(seed))


SILENCES = {
    "zeros": torch.zeros(4000),
    "constant": torch.full((4000,), 0.3),
    "minus a constant": torch.full((4000,), -1e-3),
}


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.floats(-30, 40),
            st.floats(-60, 0),
            st.floats(1e-3, 10),
            st.sampled_from([None, None, *SILENCES]),
            st.booleans(),
        ),
        min_size=1,
        max_size=5,
    ),
    has_level=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_batch_has_the_numbers_of_each_signal_by_itself(rows, has_level, seed):
    speech, noise = batch_of(len(rows), seed)
    for row, (_, _, gain, silence, is_speech) in enumerate(rows):
        noise[row] *= gain
        if silence:
            (speech if is_speech else noise)[row] = SILENCES[silence]
    snr_db, level_dbfs = (torch.tensor(values) for values in list(zip(*rows))[:2])
    levels = level_dbfs if has_level else None
    mixtures = mix_at_snr(speech, noise, snr_db, sample_rate=SAMPLE_RATE, level_dbfs=levels)
    assert all(bool(part.isfinite().all()) for part in mixtures)
    assert torch.equal(mixtures.noisy, mixtures.clean + mixtures.noise)
    for row, (_, _, _, silence, is_speech) in enumerate(rows):
        of_row = [part[row] for part in mixtures]
        if silence:
            assert float(of_row[3 if is_speech else 4]) == 0
            continue
        mixture = mix_at_snr(
            speech[row],
            noise[row],
            float(snr_db[row]),
            sample_rate=SAMPLE_RATE,
            level_dbfs=float(level_dbfs[row]) if has_level else None,
        )
        for found, expected in zip(of_row, mixture):
            assert found.shape == expected.shape
            assert float((found - expected).abs().max()) <= 1e-6 * float(expected.abs().max())


@settings(max_examples=60, deadline=None)
@given(st.floats(-30, 40), st.none() | st.floats(-60, 0), st.integers(0, 1000))
def test_ratio_in_a_batch_is_exact(snr_db, level_dbfs, seed):
    speech, noise = batch_of(3, seed)
    mixture = mix_at_snr(speech, noise, snr_db, sample_rate=SAMPLE_RATE, level_dbfs=level_dbfs)
    for clean, scaled in zip(mixture.clean.double(), mixture.noise.double()):
        found = db(active_rms(clean, SAMPLE_RATE) / rms(scaled))
        assert found == pytest.approx(snr_db, abs=1e-4)


@pytest.mark.parametrize("silence", SILENCES.values(), ids=SILENCES)
def test_silent_rows_of_a_batch_get_gain_zero_and_the_others_are_as_they_were(silence):
    speech, noise = batch_of(3)
    whole = mix_at_snr(speech, noise, 10.0, sample_rate=SAMPLE_RATE, level_dbfs=-30.0)
    speech[0], noise[1] = silence, silence
    mixture = mix_at_snr(speech, noise, 10.0, sample_rate=SAMPLE_RATE, level_dbfs=-30.0)
    assert [gain > 0 for gain in mixture.speech_gain.tolist()] == [False, True, True]
    assert [gain > 0 for gain in mixture.noise_gain.tolist()] == [True, False, True]
    assert db(rms(mixture.noisy[0])) == pytest.approx(-40, abs=1e-3)
    assert mixture.clean[0].abs().max() == 0
    assert torch.equal(mixture.noisy[1], mixture.clean[1])
    assert torch.equal(mixture.clean[1], whole.clean[1])
    assert torch.equal(mixture.noisy[2], whole.noisy[2])


@pytest.mark.parametrize("silence", SILENCES.values(), ids=SILENCES)
def test_silent_speech_without_a_level_makes_a_silent_row(silence):
    speech, noise = batch_of(2)
    speech[0] = silence
    mixture = mix_at_snr(speech, noise, 10.0, sample_rate=SAMPLE_RATE)
    assert mixture.noisy[0].abs().max() == 0
    assert mixture.noise_gain.tolist() == [0.0, pytest.approx(float(mixture.noise_gain[1]))]


def test_nan_in_a_row_is_not_hidden_and_stays_in_its_row():
    speech, noise = batch_of(2)
    speech[0, 7] = math.nan
    mixture = mix_at_snr(speech, noise, 10.0, sample_rate=SAMPLE_RATE, level_dbfs=-30.0)
    assert bool(mixture.noisy[0].isnan().any())
    assert bool(mixture.noisy[1].isfinite().all())


@pytest.mark.parametrize("name", ["snr_db", "level_dbfs"])
@pytest.mark.parametrize("shape", [(3,), (2, 1), (1,)])
def test_another_number_of_ratios_or_levels_than_signals_is_refused(name, shape):
    settings_ = {"snr_db": 0.0} | {name: torch.zeros(shape)}
    with pytest.raises(
        ShapeError, match=rf"{name} of shape .* must be a number or have shape \(2,"
    ):
        mix_at_snr(*batch_of(2), sample_rate=SAMPLE_RATE, **settings_)


def test_gradient_of_a_mixture_is_the_gain():
    speech, noise = batch_of(2)
    speech.requires_grad_()
    mixture = mix_at_snr(speech, noise, 0.0, sample_rate=SAMPLE_RATE, level_dbfs=0.0)
    mixture.noisy.sum().backward()
    assert torch.allclose(speech.grad, mixture.speech_gain[:, None].expand(2, 4000))
    assert not mixture.speech_gain.requires_grad


# ---- the device ---------------------------------------------------------------------------------


class CountReads(TorchDispatchMode):
    """Counts transfers of numbers to the host."""

    READS = (
        torch.ops.aten._local_scalar_dense.default,
        torch.ops.aten.nonzero.default,
        torch.ops.aten.equal.default,
    )
    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        # On the CPU alone, PyTorch 2.9 looks whether the share that a quantile is of is one.
        is_check = function is torch.ops.aten.equal.default and args[0].ndim == 0
        self.count += function in self.READS and not is_check
        return function(*args, **kwargs or {})


BATCH_FUNCTIONS = {
    "mix_at_snr": lambda speech, noise: mix_at_snr(
        speech, noise, torch.zeros(3), sample_rate=SAMPLE_RATE, level_dbfs=torch.zeros(3)
    ),
    "mix_at_snr, one ratio": lambda speech, noise: mix_at_snr(
        speech, noise, 0.0, sample_rate=SAMPLE_RATE
    ),
    "random_equalizer": lambda _, noise: random_equalizer(noise, SAMPLE_RATE),
    "random_gain": lambda _, noise: random_gain(noise),
    "random_shift": lambda _, noise: random_shift(noise),
    "random_second_noise": random_second_noise,
    "random_choice": lambda speech, noise: random_choice(speech, noise, 0.5),
    "colored_noise": lambda _, noise: colored_noise(4000, torch.ones(3), device=noise.device),
}


@pytest.mark.parametrize("function", BATCH_FUNCTIONS.values(), ids=BATCH_FUNCTIONS)
def test_batch_is_not_looked_at_from_the_host(function):
    parts = batch_of(3)
    with CountReads() as reads:
        function(*parts)
    assert reads.count == 0


@pytest.mark.parametrize("function", BATCH_FUNCTIONS.values(), ids=BATCH_FUNCTIONS)
def test_result_is_where_the_batch_is(function):
    """A read of a tensor without memory would raise, and so would one on the CPU among them."""
    result = function(*(part.to("meta") for part in batch_of(3)))
    on_cpu = function(*batch_of(3))
    parts, expected = (r if isinstance(r, tuple) else (r,) for r in (result, on_cpu))
    for part, other in zip(parts, expected):
        assert part.is_meta
        assert (part.shape, part.dtype) == (other.shape, other.dtype)


@pytest.mark.gpu
@pytest.mark.parametrize("function", BATCH_FUNCTIONS.values(), ids=BATCH_FUNCTIONS)
def test_gpu_gives_the_numbers_of_the_cpu(function):
    results = []
    for device in ("cpu", "cuda"):
        parts = [part.to(device) for part in batch_of(3)]
        seed_sample(0, 0, 0)
        result = function(*parts)
        results.append(result if isinstance(result, tuple) else (result,))
    for on_cpu, on_gpu in zip(*results):
        assert on_gpu.is_cuda
        torch.testing.assert_close(on_gpu.cpu(), on_cpu, rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("function", BATCH_FUNCTIONS.values(), ids=BATCH_FUNCTIONS)
def test_nothing_waits_for_a_gpu(function):
    parts = [part.to("cuda") for part in batch_of(3)]
    function(*parts)  # plans of transforms and the like are made once
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        function(*parts)
    finally:
        torch.cuda.set_sync_debug_mode(mode)


@pytest.mark.gpu
def test_generator_of_a_gpu_draws_there():
    generator = torch.Generator("cuda").manual_seed(0)
    before = torch.get_rng_state()
    assert colored_noise(100, torch.ones(2), generator=generator).is_cuda
    assert random_gain(torch.ones(2, 3), generator=generator).device.type == "cpu"
    assert torch.equal(torch.get_rng_state(), before)


def test_reads_are_found():
    with CountReads() as reads:
        mix_at_snr(speech_with_pauses(), torch.randn(4000), 0.0, sample_rate=SAMPLE_RATE)
    assert reads.count == 2  # whether speech is silent, and whether noise is


@pytest.mark.parametrize("function", BATCH_FUNCTIONS.values(), ids=BATCH_FUNCTIONS)
def test_lower_precision_of_a_step_changes_nothing(function):
    parts = batch_of(3)
    results = []
    for enabled in (False, True):
        seed_sample(0, 0, 0)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            result = function(*parts)
        results.append(result if isinstance(result, tuple) else (result,))
    assert all(torch.equal(first, second) for first, second in zip(*results))


RANDOM_FUNCTIONS = {
    "random_equalizer": lambda noise, generator: random_equalizer(
        noise, SAMPLE_RATE, generator=generator
    ),
    "random_gain": lambda noise, generator: random_gain(noise, generator=generator),
    "random_shift": lambda noise, generator: random_shift(noise, generator=generator),
    "random_second_noise": lambda noise, generator: random_second_noise(
        noise, torch.ones_like(noise), generator=generator
    ),
    "random_choice": lambda noise, generator: random_choice(
        noise, -noise, 0.5, generator=generator
    ),
}


@pytest.mark.parametrize("function", RANDOM_FUNCTIONS.values(), ids=RANDOM_FUNCTIONS)
@settings(max_examples=20, deadline=None)
@given(num_rows=st.integers(1, 5), num_samples=st.integers(2, 3000), seed=st.integers(0, 2**40))
def test_each_row_has_draws_of_its_own_as_signals_one_after_the_other(
    function, num_rows, num_samples, seed
):
    noise = torch.randn(num_rows, num_samples)
    generator = torch.Generator().manual_seed(seed)
    rows = [function(row, generator) for row in noise]
    found = function(noise, generator.manual_seed(seed))
    torch.testing.assert_close(found, torch.stack(rows))
    nested = function(noise.reshape(1, num_rows, num_samples), generator.manual_seed(seed))
    assert torch.equal(nested[0], found)


@pytest.mark.parametrize(
    "function",
    [
        *RANDOM_FUNCTIONS.values(),
        lambda noise, generator: random_segment(noise[0], 100, generator=generator),
        lambda noise, generator: random_speed(noise[0], generator=generator),
        lambda noise, generator: colored_noise(100, torch.ones(2), generator=generator),
        lambda noise, generator: colored_noise(100, 1.0, generator=generator),
    ],
)
def test_generator_that_is_given_is_the_only_one_that_draws(function):
    noise, generator = torch.randn(4, 3000), torch.Generator()
    torch.manual_seed(5)
    by_default = function(noise, None)
    before = torch.get_rng_state()
    given = [function(noise, generator.manual_seed(seed)) for seed in (5, 5, 6, 7, 8, 9)]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(given[0], by_default)
    assert torch.equal(given[0], given[1])
    assert not all(torch.equal(given[0], other) for other in given[2:])


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


@settings(max_examples=50, deadline=None)
@given(num_rows=st.integers(0, 5), length=st.integers(1, 50), seed=st.integers(0, 1000))
def test_shift_goes_round_each_row(num_rows, length, seed):
    torch.manual_seed(seed)
    waveform = torch.arange(float(num_rows * length)).reshape(num_rows, length)
    shifted = random_shift(waveform)
    for row, expected in zip(shifted, waveform):
        assert torch.equal(row, expected.roll(-int(row[0] - expected[0])))


def test_shifts_start_everywhere_and_differ_between_the_rows():
    shifted = random_shift(torch.arange(5.0).expand(100, 5))
    assert set(shifted[:, 0].tolist()) == {0, 1, 2, 3, 4}


def test_empty_waveform_cannot_be_shifted():
    with pytest.raises(ShapeError, match="empty waveform"):
        random_shift(torch.zeros(3, 0))


# ---- levels, choices ----------------------------------------------------------------------------


def test_gains_lie_between_their_limits():
    waveform = torch.randn(1, 50).expand(200, 50)
    gained = random_gain(waveform, lowest_db=-12.0, highest_db=3.0)
    gains_db = 20 * torch.log10(rms(gained) / rms(waveform))
    assert -12.001 <= float(gains_db.min()) < -11 < 2 < float(gains_db.max()) <= 3.001
    assert torch.allclose(gained, waveform * 10 ** (gains_db[:, None] / 20), rtol=1e-4)


def test_level_of_the_second_noise_lies_between_its_limits():
    noise, second = 3 * torch.randn(200, 500), 0.01 * torch.randn(200, 500)
    added = random_second_noise(noise, second, lowest_db=-10.0, highest_db=0.0) - noise
    ratios_db = 20 * torch.log10(rms(added) / rms(noise))
    assert -10.001 <= float(ratios_db.min()) < -9 < -1 < float(ratios_db.max()) <= 0.001
    assert torch.allclose(added / rms(added)[:, None], second / rms(second)[:, None], atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.floats(-40, 20), st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_level_of_the_second_noise_is_exact(ratio_db, gain, second_gain):
    noise, second = gain * torch.randn(2, 500).double(), second_gain * torch.randn(2, 500).double()
    both = random_second_noise(noise, second, lowest_db=ratio_db, highest_db=ratio_db)
    for row, first in zip(both - noise, noise):
        assert db(rms(row) / rms(first)) == pytest.approx(ratio_db, abs=1e-4)


def test_second_noise_that_is_silent_adds_nothing_and_to_silence_nothing_is_added():
    noise, silence = 1e6 * torch.randn(2, 500), torch.zeros(2, 500)
    assert torch.equal(random_second_noise(noise, silence), noise)
    assert torch.equal(random_second_noise(silence, noise), silence)


@pytest.mark.parametrize(("probability", "expected"), [(0.0, 0), (0.3, 300), (1.0, 1000)])
def test_first_signal_comes_as_often_as_is_asked_for(probability, expected):
    chosen = random_choice(torch.ones(1000, 2), torch.zeros(1000, 2), probability)
    assert torch.equal(chosen[:, 0], chosen[:, 1])
    assert float(chosen[:, 0].sum()) == pytest.approx(expected, abs=50)


def test_choice_keeps_what_is_not_finite_in_the_other_signal_out():
    assert random_choice(torch.full((5,), math.nan), torch.ones(5), 0.0).tolist() == [1] * 5


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


def test_equalizer_gives_each_row_a_curve_of_its_own_within_the_gains():
    impulses = torch.zeros(20, 4096)
    impulses[:, 0] = 1.0
    gains_db = 20 * torch.log10(torch.fft.rfft(random_equalizer(impulses, 16_000)).abs())
    spread = gains_db.amax(-1) - gains_db.amin(-1)
    assert float(spread.max()) <= 12.01
    assert float((gains_db[1:] - gains_db[:1]).abs().amax(-1).min()) > 1.0


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


def test_each_row_of_coloured_noise_has_the_slope_that_is_its_own():
    exponents = torch.tensor([[0.0, 1.0, 2.0], [-1.0, 0.5, 1.5]])
    power = torch.fft.rfft(colored_noise(2**16, exponents)).abs().square()
    octaves = [power[..., 2**k : 2 ** (k + 1)].mean(-1) for k in range(7, 15)]
    slopes = (10 * torch.log10(torch.stack(octaves))).diff(dim=0).mean(0)
    assert torch.allclose(slopes, -10 * math.log10(2) * exponents, atol=0.25)
    assert float(power[..., 0].max()) < 1e-6


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
