from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audiozen.acoustics.room import reverberation_time
from audiozen.data.rooms import early_part, random_room, reverberate
from audiozen.errors import RequestError, ShapeError

SAMPLE_RATE = 16_000


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rooms(num_rooms: int, rt60: tuple[float, float], seed: int = 0) -> torch.Tensor:
    draws = generator(seed)
    return torch.stack(
        [random_room(SAMPLE_RATE, rt60=rt60, generator=draws) for _ in range(num_rooms)]
    )


def energy_db(waveform: torch.Tensor) -> torch.Tensor:
    return 10 * torch.log10(waveform.square().sum(-1))


# ---- random rooms -------------------------------------------------------------------------------


@pytest.mark.parametrize("rt60", [0.2, 0.4, 0.6])
def test_room_rings_as_long_as_is_asked_for(rt60):
    responses = rooms(20, (rt60, rt60))
    # Where the microphone is close, the direct sound is most of the energy, and says nothing about the decay.
    times = reverberation_time(responses[:, SAMPLE_RATE // 100 :], SAMPLE_RATE)
    assert float(times.median()) == pytest.approx(rt60, rel=0.05)
    assert float((times / rt60 - 1).abs().max()) < 0.2


def test_times_lie_between_their_limits():
    responses = rooms(40, (0.2, 0.8))
    assert responses.shape == (40, 12_800)
    times = reverberation_time(responses[:, SAMPLE_RATE // 100 :], SAMPLE_RATE)
    assert 0.16 < float(times.min()) < 0.4 < 0.6 < float(times.max()) < 0.96


def test_response_begins_with_the_direct_sound():
    responses = rooms(40, (0.2, 0.8))
    torch.testing.assert_close(responses[:, 0], torch.ones(40), rtol=0, atol=0.2)
    assert float(responses[:, :4].square().sum(-1).median()) == pytest.approx(1.0, abs=0.01)


def test_some_microphones_are_close_and_some_are_far():
    responses = rooms(100, (0.5, 0.5))
    direct_db = energy_db(responses[:, :40]) - energy_db(responses[:, 40:])
    assert float(direct_db.min()) < -6
    assert float(direct_db.max()) > 6


def test_generator_that_is_given_is_the_only_one_that_draws():
    torch.manual_seed(5)
    by_default = random_room(SAMPLE_RATE)
    before = torch.get_rng_state()
    given_ = [random_room(SAMPLE_RATE, generator=generator(seed)) for seed in (5, 5, 6)]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(given_[0], by_default)
    assert torch.equal(given_[0], given_[1])
    assert not torch.equal(given_[0], given_[2])


def test_shortest_room_is_the_direct_sound():
    assert random_room(SAMPLE_RATE, rt60=(1e-4, 1e-4)).shape == (2,)


@pytest.mark.parametrize("rt60", [(0.0, 0.5), (0.5, 0.2), (-1.0, 1.0)])
def test_times_that_no_room_has_are_refused(rt60):
    with pytest.raises(RequestError, match=r"rt60 must be \(shortest, longest\) in seconds"):
        random_room(SAMPLE_RATE, rt60=rt60)


# ---- reverberation ------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    num_rows=st.integers(1, 3),
    num_samples=st.integers(1, 300),
    length=st.integers(1, 400),
    seed=st.integers(0, 1000),
)
def test_reverberation_is_the_convolution_as_long_as_the_signal(
    num_rows, num_samples, length, seed
):
    waveform = torch.randn(num_rows, num_samples, generator=generator(seed))
    response = torch.randn(num_rows, length, generator=generator(seed + 1))
    found = reverberate(waveform, response)
    for row, signal, of_row in zip(found, waveform, response):
        padded = torch.nn.functional.pad(signal, (length - 1, 0))
        expected = torch.nn.functional.conv1d(padded[None, None], of_row.flip(0)[None, None])
        torch.testing.assert_close(row, expected[0, 0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(reverberate(signal, of_row), row, rtol=1e-4, atol=1e-5)


def test_one_room_does_for_all_signals():
    waveform, room = torch.randn(2, 3, 500), random_room(SAMPLE_RATE)
    found = reverberate(waveform, room)
    assert found.shape == waveform.shape
    torch.testing.assert_close(found[1, 2], reverberate(waveform[1, 2], room))


def test_speech_keeps_its_place_and_rings_on():
    click = torch.zeros(SAMPLE_RATE)
    click[4000] = 0.5
    heard = reverberate(click, rooms(1, (0.4, 0.4))[0])
    assert heard[:4000].abs().max() < 1e-6
    assert float(heard[4000]) == pytest.approx(0.5, abs=0.05)
    assert float(reverberation_time(heard[4160:], SAMPLE_RATE)) == pytest.approx(0.4, rel=0.2)


def test_silence_stays_silent_and_a_room_without_walls_changes_nothing():
    room = random_room(SAMPLE_RATE)
    assert reverberate(torch.zeros(100), room).abs().max() == 0
    waveform = torch.randn(100)
    torch.testing.assert_close(reverberate(waveform, torch.ones(1)), waveform)


def test_early_part_ends_after_50_ms_and_late_energy_is_what_is_missing():
    room = rooms(3, (0.6, 0.6))
    early = early_part(room, SAMPLE_RATE)
    assert torch.equal(early, room[:, :800])
    click = torch.zeros(3, 5000)
    click[:, 0] = 1.0
    late = reverberate(click, room) - reverberate(click, early)
    torch.testing.assert_close(late[:, :800], torch.zeros(3, 800), rtol=0, atol=1e-5)
    torch.testing.assert_close(late[:, 800:], room[:, 800:5000], rtol=0, atol=1e-5)
    assert early_part(room, SAMPLE_RATE, num_seconds=9.0).shape == room.shape
    assert early_part(room, SAMPLE_RATE, num_seconds=0.0).shape == (3, 1)


@pytest.mark.parametrize("shapes", [((0,), (3,)), ((3,), (0,)), ((2, 0), (2, 4))])
def test_nothing_cannot_be_heard(shapes):
    with pytest.raises(ShapeError, match="both need a sample"):
        reverberate(*(torch.ones(shape) for shape in shapes))


@pytest.mark.parametrize("shapes", [((5,), (1, 3)), ((2, 5), (3, 3)), ((4, 2, 5), (2, 3))])
def test_another_number_of_rooms_than_signals_is_refused(shapes):
    with pytest.raises(ShapeError, match="are not one for each signal"):
        reverberate(*(torch.ones(shape) for shape in shapes))


def test_gradient_is_that_of_a_convolution():
    waveform = torch.randn(50, requires_grad=True)
    reverberate(waveform, torch.tensor([1.0, 0.5])).sum().backward()
    torch.testing.assert_close(waveform.grad, torch.tensor([1.5] * 49 + [1.0]))
