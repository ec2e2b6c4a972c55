from __future__ import annotations

import pytest
import torch

from audiozen.data.draws import device_of, moved, moved_to, random_integer, random_uniform


def test_integers_are_all_numbers_below_the_limit():
    generator = torch.Generator().manual_seed(0)
    assert {random_integer(3, generator) for _ in range(50)} == {0, 1, 2}
    assert random_integer(0, generator) == 0


def test_uniform_numbers_fill_the_range():
    draws = random_uniform((2, 500), -3.0, 5.0, torch.Generator().manual_seed(0))
    assert draws.shape == (2, 500)
    assert -3 <= float(draws.min()) < -2.9
    assert 4.9 < float(draws.max()) <= 5


@pytest.mark.parametrize("draw", [random_integer, lambda _, g: random_uniform((3,), 0.0, 1.0, g)])
def test_given_generator_draws_and_the_global_one_stands_still(draw):
    before = torch.get_rng_state()
    first, again = (draw(10**6, torch.Generator().manual_seed(3)) for _ in range(2))
    assert bool(torch.as_tensor(first == again).all())
    assert torch.equal(torch.get_rng_state(), before)


def test_numbers_go_where_the_signal_is():
    assert device_of(None) == device_of(torch.Generator()) == torch.device("cpu")
    assert moved(torch.ones(2), torch.ones(3, device="meta")).is_meta
    assert moved_to("meta", torch.ones(2)).is_meta
