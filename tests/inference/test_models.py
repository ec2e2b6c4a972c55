from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from audiozen.acoustics import STFT
from audiozen.errors import ShapeError
from audiozen.inference.models import Chunks, FrameBlocks, as_sources, is_exact, stage_for
from audiozen.inference.segments import Segments
from audiozen.inference.stages import through
from audiozen.streaming import FrameByFrame, stream_through
from tests.inference.frame_models import GRUGains

BLOCK = 2048


class LooksBack(FrameByFrame):
    """A dilated convolution over time with a memory of frames, and a complex mask, as in GTCRN."""

    def __init__(self, stft: STFT) -> None:
        super().__init__(stft)
        torch.manual_seed(1)
        self.convolution = nn.Conv2d(2, 2, 3, padding=(0, 1), dilation=(5, 1))

    def enhance(self, spec: Tensor, memory: Tensor | None = None) -> tuple[Tensor, Tensor]:
        parts = torch.stack([spec.real, spec.imag], 1)
        past = parts.new_zeros(len(parts), 2, 10, parts.shape[-1]) if memory is None else memory
        parts = torch.cat([past, parts], 2)
        mask = self.convolution(parts)
        return spec * torch.complex(mask[:, 0], mask[:, 1]), parts[:, :, -10:]


class OwnForward(GRUGains):
    """Does something after the frames."""

    def forward(self, noisy: Tensor) -> Tensor:
        return super().forward(noisy) - noisy.mean()


class OwnStream(OwnForward):
    """Says how to do it chunk by chunk."""

    def stream(self, chunk: Tensor, state: Any) -> tuple[Tensor, Any]:
        return super().stream(chunk, state)


class Delayed(nn.Module):
    """Three samples late, in hops of two; remembers the last three inputs."""

    hop_length, delay = 2, 3

    def initial_state(self, batch_size: int = 1) -> Tensor:
        return torch.zeros(batch_size, 3)

    def stream(self, chunk: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        assert chunk.shape == (1, 2)
        signal = torch.cat([state, chunk], -1)
        return signal[:, :2], signal[:, 2:]


def by_blocks(model: Any, noisy: Tensor, block: int = BLOCK) -> Tensor:
    blocks = through(stage_for(model, segment=10**9), noisy.split(block, -1))
    return torch.cat(list(blocks), -1)


def noise(length: int) -> Tensor:
    return 0.1 * torch.randn(1, length, generator=torch.Generator().manual_seed(length))


GRIDS = [(64, 32, 64), (64, 16, 64), (64, 30, 50), (64, 40, 64), (66, 20, 41)]


@pytest.mark.parametrize("model_class", [GRUGains, LooksBack])
@pytest.mark.parametrize("length", [1, 31, 32, 33, 63, 1001, 2048, 2049, 3 * 2048, 9999])
@torch.no_grad()
def test_frames_in_blocks_are_the_whole_signal(
    model_class: type[FrameByFrame], length: int
) -> None:
    model, noisy = model_class(STFT(64, 32, window="sqrt_hann")), noise(length)
    result = by_blocks(model, noisy)
    assert result.shape == noisy.shape
    torch.testing.assert_close(result, model(noisy), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("recipe", "name"), [("band_gain_gru", "BandGainGRU"), ("gtcrn", "GTCRN")])
@torch.no_grad()
def test_models_of_recipes_in_blocks_are_the_whole_signal(recipe: str, name: str) -> None:
    path = Path(__file__).parents[2] / "recipes" / "debian_noisy_speech" / recipe / "model.py"
    spec = importlib.util.spec_from_file_location(f"{recipe}_model", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.manual_seed(0)
    model, noisy = getattr(module, name)().eval(), noise(3 * 16000 + 77)
    result = by_blocks(model, noisy, 16000)
    assert result.std() > 1e-3
    torch.testing.assert_close(result, model(noisy), rtol=0, atol=1e-5)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("block", [1, 7, 100, 500])
@torch.no_grad()
def test_any_grid_of_frames_and_any_blocks_give_the_same(
    grid: tuple[int, int, int], block: int
) -> None:
    window = "hamming" if grid[1] > grid[2] // 2 else "hann"
    model = LooksBack(STFT(*grid, window=window))
    for length in (1, grid[2] - 1, 250, 333):
        noisy = noise(length)
        result = by_blocks(model, noisy, block)
        torch.testing.assert_close(result, model(noisy), rtol=0, atol=1e-5)


@torch.no_grad()
def test_no_more_frames_than_a_block_has_come_at_once() -> None:
    model = GRUGains(STFT(64, 32))
    by_blocks(model, noise(20 * BLOCK))
    assert len(model.num_frames) == 21
    assert max(model.num_frames) == BLOCK // 32


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 100, 2049])
@pytest.mark.parametrize("block", [1, 3, 64])
def test_chunks_have_no_delay(length: int, block: int) -> None:
    noisy = noise(length)
    assert torch.equal(by_blocks(Delayed(), noisy, block), noisy)


@torch.no_grad()
def test_chunks_are_those_of_the_stream() -> None:
    model, noisy = OwnStream(STFT(64, 32)), noise(777)
    expected = stream_through(model, noisy)
    torch.testing.assert_close(by_blocks(model, noisy, 100), expected)


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (GRUGains(STFT(64, 32)), FrameBlocks),
        (OwnStream(STFT(64, 32)), Chunks),
        (Delayed(), Chunks),
        (OwnForward(STFT(64, 32)), Segments),
        (nn.Identity(), Segments),
        (lambda noisy: noisy, Segments),
    ],
)
def test_each_kind_of_model_goes_its_way(model: Any, kind: type) -> None:
    assert type(stage_for(model, 100)) is kind
    assert is_exact(model) == (kind is not Segments)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((7,), (1, 7)), ((1, 7), (1, 7)), ((1, 1, 7), (1, 7)), ((1, 3, 7), (3, 7))],
)
def test_waveforms_and_sources_are_taken(shape: tuple[int, ...], expected: tuple[int, int]) -> None:
    assert as_sources(torch.ones(shape)).shape == expected


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (torch.ones(2, 7), r"shape \(2, 7\)"),
        (torch.ones(2, 3, 7), r"shape \(2, 3, 7\)"),
        (torch.ones(()), r"shape \(\)"),
        (torch.ones(7, dtype=torch.complex64), "a tensor of torch.complex64"),
        ({"enhanced": torch.ones(7)}, "a dict"),
    ],
)
def test_anything_else_is_refused(value: Any, found: str) -> None:
    with pytest.raises(ShapeError, match=found):
        as_sources(value)
