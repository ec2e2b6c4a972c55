from __future__ import annotations

import pytest
import torch
from torch import Tensor

from audiozen.data.audio import resample
from audiozen.inference.stages import EachChannel, Resampling, of_length, through

CPU = torch.device("cpu")


@pytest.mark.parametrize("rates", [(44100, 16000), (16000, 44100), (8000, 16000), (48000, 16000)])
@pytest.mark.parametrize(
    ("length", "block"),
    [(1, 1), (2, 1), (1000, 1), (1000, 997), (30011, 997), (30011, 4096), (3000, 4096)],
)
def test_resampled_blocks_are_the_resampled_signal(
    rates: tuple[int, int], length: int, block: int
) -> None:
    signals = 0.1 * torch.randn(2, 3, length, generator=torch.Generator().manual_seed(0))
    blocks = list(through(Resampling(*rates), signals.split(block, -1)))
    expected = resample(signals, *rates)
    result = torch.cat(blocks, -1) if blocks else signals[..., :0]
    assert result.shape == expected.shape
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)


class Slow:
    """Holds back all but counts what it gets."""

    def __init__(self) -> None:
        self.total = torch.zeros(1, 1)

    def put(self, block: Tensor) -> Tensor:
        assert block.shape[0] == 1
        self.total += block.sum()
        return block[:, :0]

    def finish(self) -> Tensor:
        return self.total.expand(2, 1)


def test_each_channel_has_a_stage_of_its_own() -> None:
    seconds: list[float] = []
    channels = EachChannel(Slow, CPU, seconds.append)
    blocks = [torch.tensor([[1.0, 2.0], [10.0, 20.0]]), torch.tensor([[3.0], [30.0]])]
    [result] = through(channels, blocks)
    assert result.tolist() == [[[6.0], [60.0]], [[6.0], [60.0]]]  # (sources, channels, time)
    assert len(seconds) == 3


def test_nothing_comes_of_nothing() -> None:
    assert list(through(EachChannel(Slow, CPU), [])) == []


@pytest.mark.parametrize("length", [1, 4, 5, 8, 11])
def test_length_is_cut_or_filled_with_silence(length: int) -> None:
    blocks = [torch.ones(2, 1, 4), torch.ones(2, 1, 4)]
    result = torch.cat(list(of_length(blocks, length)), -1)
    assert result[1, 0].tolist() == [1.0] * min(length, 8) + [0.0] * (length - 8)
