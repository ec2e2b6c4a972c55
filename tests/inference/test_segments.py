from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from audiozen.errors import ShapeError
from audiozen.inference.segments import Segments, in_order_of
from audiozen.inference.stages import through

SEGMENT = 1000
OVERLAP = 50


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(shape[-1]))


def by_segments(run, noisy: Tensor, block: int = 300) -> Tensor:
    return torch.cat(list(through(Segments(run, SEGMENT), noisy.split(block, -1))), -1)


@pytest.mark.parametrize("length", [1, 2, 49, 50, 51, 999, 1000])
def test_what_is_not_longer_goes_through_once_and_whole(length: int) -> None:
    calls = []
    result = by_segments(lambda noisy: calls.append(noisy) or -noisy, noise(1, length))
    assert torch.equal(result, -noise(1, length))
    assert len(calls) == 1


@pytest.mark.parametrize("length", [1001, 1050, 1950, 1951, 2000, 12345])
@pytest.mark.parametrize("block", [7, 300, 5000])
def test_model_that_looks_at_nothing_gives_the_same_in_segments(length: int, block: int) -> None:
    lengths = []
    noisy = noise(1, length)
    result = by_segments(lambda part: lengths.append(part.shape[-1]) or 2 * part, noisy, block)
    torch.testing.assert_close(result, 2 * noisy)
    assert set(lengths) == {SEGMENT}
    assert len(lengths) == 1 + -(-(length - SEGMENT) // (SEGMENT - OVERLAP))


def test_segments_are_faded_over_linearly() -> None:
    values = itertools.count()
    result = by_segments(lambda part: torch.full_like(part, next(values)), noise(1, 1950))[0]
    assert result[:950].eq(0).all()
    assert result[1000:].eq(1).all()
    torch.testing.assert_close(result[950:1000], torch.arange(1, 51) / 51)


@pytest.mark.parametrize("change", [-30, 30])
def test_output_of_another_length_is_cut_or_filled(change: int) -> None:
    result = by_segments(lambda part: part.new_ones(1, part.shape[-1] + change), noise(1, 500))
    num = min(500, 500 + change)
    assert result[0].tolist() == [1.0] * num + [0.0] * (500 - num)


def test_sources_keep_their_order() -> None:
    signals = noise(3, 6000)
    mixture = signals.sum(0, keepdim=True)
    orders = itertools.cycle(list(itertools.permutations(range(3)))[::-1])
    place = {tuple(mixture[0, i : i + 8].tolist()): i for i in range(6000 - SEGMENT + 1)}

    def separate(part: Tensor) -> Tensor:
        start = place[tuple(part[0, :8].tolist())]
        return signals[list(next(orders)), start : start + part.shape[-1]]

    result = by_segments(separate, mixture)
    torch.testing.assert_close(result, signals[[2, 1, 0]])


def test_silent_sources_have_some_order() -> None:
    assert in_order_of(torch.zeros(2, 5), torch.zeros(2, 9)).shape == (2, 9)


def test_other_number_of_sources_is_refused() -> None:
    with pytest.raises(ShapeError, match="2 sources in one segment and 3 in the next"):
        in_order_of(torch.zeros(2, 5), torch.zeros(3, 9))
