from __future__ import annotations

import random

import numpy as np
import torch

from audiozen.trainer.generators import (
    generators_state,
    load_generators_state,
    preserved_generators,
    seed_process,
)

CPU = torch.device("cpu")


def draw():
    return random.random(), np.random.random(), torch.rand(()).item()


def test_state_taken_up_again_gives_the_same_numbers():
    state = generators_state(CPU)
    first = draw()
    load_generators_state(state, CPU)
    assert draw() == first


def test_processes_draw_different_numbers_and_each_the_same_twice():
    numbers = []
    for rank in (0, 1, 0):
        seed_process(5, rank)
        numbers.append(draw())
    assert numbers[0] == numbers[2]
    assert not set(numbers[0]) & set(numbers[1])


def test_what_is_drawn_inside_is_not_noticed_outside():
    state = generators_state(CPU)
    expected = draw()
    load_generators_state(state, CPU)
    with preserved_generators(CPU):
        draw()
    assert draw() == expected
