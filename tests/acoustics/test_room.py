from __future__ import annotations

import math

import pytest
import torch

from audiozen.acoustics.room import (
    SPEED_OF_SOUND,
    TRACED_SECONDS,
    box_response,
    image_sources,
    pulses,
    reflection_factor,
    reverberation_time,
)
from audiozen.errors import RequestError, ShapeError

SIZE, SOURCE, RECEIVER = torch.tensor([[5.0, 4, 3], [1, 2, 1], [3, 2, 1]])
SAMPLE_RATE = 34_300  # 100 samples for each metre


def random_places(num_rooms: int) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    draws = torch.rand(num_rooms, 3, 3, generator=torch.Generator().manual_seed(0))
    sizes = 3 + 4 * draws[:, 0]
    return list(zip(sizes, sizes * draws[:, 1], sizes * draws[:, 2]))


def response(rt60: float, num_samples: int = 3000, **changes: torch.Tensor) -> torch.Tensor:
    places = {"size": SIZE, "source": SOURCE, "receiver": RECEIVER} | changes
    return box_response(
        **places, rt60=rt60, noise=torch.zeros(num_samples), sample_rate=SAMPLE_RATE
    )


# ---- images -------------------------------------------------------------------------------------


def test_nearest_images_are_those_that_a_ruler_finds():
    images = image_sources(SIZE, SOURCE, RECEIVER, max_distance=4.5)
    expected = [  # of the room 5 x 4 x 3, in which the sound goes 2 m along the first axis
        (2.0, 0),
        (math.sqrt(2**2 + 2**2), 1),  # floor
        (4.0, 1),  # wall behind the source
        (math.sqrt(2**2 + 4**2), 1),  # ceiling
        (math.sqrt(2**2 + 4**2), 1),  # one side
        (math.sqrt(2**2 + 4**2), 1),  # the other
        (math.sqrt(4**2 + 2**2), 2),  # wall behind the source, and floor
    ]
    found = zip(images.distances.tolist(), images.num_reflections.tolist())
    rounded = [
        [(round(distance, 5), number) for distance, number in each] for each in (found, expected)
    ]
    assert sorted(rounded[0]) == sorted(rounded[1])
    assert images.distances.diff().min() >= 0


def test_images_are_those_of_the_whole_lattice():
    """Each room of the lattice of mirrored rooms has one image: counted, they fill the sphere."""
    for size, source, receiver in random_places(5):
        images = image_sources(size, source, receiver, 30.0)
        expected = 4 / 3 * math.pi * 30**3 / float(size.prod())
        assert len(images.distances) == pytest.approx(expected, rel=0.05)


def test_images_are_the_same_with_source_and_receiver_exchanged():
    for size, source, receiver in random_places(5):
        there, back = (
            image_sources(size, *places, 15.0)
            for places in ((source, receiver), (receiver, source))
        )
        torch.testing.assert_close(there.distances, back.distances)


# ---- pulses -------------------------------------------------------------------------------------


def test_pulse_on_a_sample_is_that_sample():
    waveform = pulses(torch.tensor([3.0]), torch.tensor([0.5]), 8)
    torch.testing.assert_close(waveform, torch.tensor([0.0, 0, 0, 0.5, 0, 0, 0, 0]))


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.37, 0.5, 0.9])
def test_pulse_between_samples_delays_all_frequencies_alike(fraction):
    delay = 100 + fraction
    spectrum = torch.fft.rfft(pulses(torch.tensor([delay]), torch.ones(1), 256), 4096)
    frequencies = torch.arange(2049) / 2049  # of half the sample rate
    turned = spectrum * torch.exp(1j * math.pi * torch.arange(2049) / 2048 * delay)
    is_flat = frequencies < 0.93
    assert float((20 * torch.log10(spectrum.abs()))[is_flat].abs().max()) < 0.1
    assert float(turned.angle()[is_flat].abs().max()) < 0.01


def test_pulses_beyond_both_ends_are_cut_off():
    waveform = pulses(torch.tensor([-40.0, 60.0, -1.5]), torch.tensor([1.0, 1.0, 1.0]), 20)
    alone = pulses(torch.tensor([38.5]), torch.ones(1), 60)[40:]
    torch.testing.assert_close(waveform, alone)


# ---- the response of a box ----------------------------------------------------------------------


def test_reflections_come_at_their_time_with_the_level_of_their_distance():
    factor = float(reflection_factor(SIZE, 0.4))
    found = response(0.4)
    assert found[0] == pytest.approx(1.0, abs=1e-3)
    # 4 m by the wall behind the source: 2 m later and half as loud as the direct sound, but for the wall.
    assert found[200] == pytest.approx(-factor / 2, abs=1e-3)
    assert found[5:50].abs().max() < 0.02, "nothing before the floor"


@pytest.mark.parametrize("distance", [1.0, 2.0, 4.0])
def test_reflection_is_weaker_than_the_direct_sound_by_its_way(distance):
    """Source and receiver stand before a wall, the source 5 m from it."""
    size = torch.tensor([20.0, 20, 20])
    source, receiver = torch.tensor([[5.0, 10, 10], [5.0 - distance, 10, 10]])
    found = response(3.0, size=size, source=source, receiver=receiver)
    way = 10.0 - distance
    expected = -float(reflection_factor(size, 3.0)) * distance / way
    assert found[round(100 * (way - distance))] == pytest.approx(expected, abs=1e-3)


def test_walls_absorb_what_sabine_and_eyring_say():
    volume, surface = 60.0, 94.0
    for rt60 in (0.2, 0.5, 1.0):
        absorption = 1 - float(reflection_factor(SIZE, rt60)) ** 2
        constant = -rt60 * surface * math.log(1 - absorption) / volume
        assert constant == pytest.approx(0.161, abs=5e-4)  # s/m, as textbooks have it


def test_noise_goes_on_as_loud_as_the_reflections_that_it_stands_for():
    """Compared with the mirror images of 30 to 60 ms, for which a box leaves each room a level of its own."""
    ratios_db = []
    for size, source, receiver in random_places(20):
        distance = (source - receiver).norm()
        images = image_sources(size, source, receiver, float(distance) + SPEED_OF_SOUND * 0.06)
        factors = reflection_factor(size, 0.5) ** images.num_reflections
        energies = (distance / images.distances * factors).square()
        is_late = images.distances > distance + SPEED_OF_SOUND * TRACED_SECONDS
        found = box_response(size, source, receiver, 0.5, torch.ones(960), 16_000)[480:]
        ratios_db.append(10 * torch.log10(found.square().sum() / energies[is_late].sum()))
    assert float(torch.stack(ratios_db).mean()) == pytest.approx(0.0, abs=0.5)
    assert float(torch.stack(ratios_db).abs().max()) < 2


def test_reflections_do_not_add_up_at_zero_frequency():
    for size, source, receiver in random_places(10):
        found = box_response(size, source, receiver, 0.8, torch.zeros(8000), 16_000)
        power = torch.fft.rfft(found).abs().square()
        assert 10 * torch.log10(power[0] / power.mean()) < 0


def test_short_response_is_the_beginning_of_a_long_one():
    assert torch.equal(response(0.4, num_samples=100), response(0.4, num_samples=1000)[:100])


# ---- reverberation time -------------------------------------------------------------------------


@pytest.mark.parametrize("rt60", [0.1, 0.5, 2.0])
def test_reverberation_time_is_that_of_decaying_noise(rt60):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(4, 40_000, generator=generator)
    decaying = noise * 10 ** (-3 * torch.arange(40_000) / 16_000 / rt60)
    found = reverberation_time(decaying, 16_000)
    assert found.shape == (4,)
    torch.testing.assert_close(found, torch.full((4,), rt60), rtol=0.05, atol=0)


def test_reverberation_time_is_measured_where_it_is_asked_for():
    seconds = torch.arange(16_000) / 16_000
    late = 10 ** (-3 * seconds)  # 1 s
    early = 30 * 10 ** (-30 * seconds)  # 0.1 s, and louder
    both = early + late
    assert float(reverberation_time(both, 16_000, from_db=0, to_db=-10)) < 0.15
    assert float(reverberation_time(both, 16_000, from_db=-30, to_db=-40)) > 0.5


def test_what_has_no_decay_is_refused_or_nan():
    assert reverberation_time(torch.zeros(100), 8000).isnan()
    with pytest.raises(ShapeError, match=r"of shape \(0,\) has no decay"):
        reverberation_time(torch.zeros(0), 8000)
    with pytest.raises(RequestError, match=r"to_db must be below from_db \(-5\), got -5"):
        reverberation_time(torch.ones(9), 8000, to_db=-5)
