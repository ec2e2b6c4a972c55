from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from audiozen.acoustics import STFT
from audiozen.errors import RequestError, ShapeError
from audiozen.streaming import FrameByFrame, Streaming, stream_through


class Smoothed(FrameByFrame):
    """Each frame is multiplied with a running mean of its magnitudes, so that it hangs on all before it."""

    def enhance(self, spec: Tensor, memory: Any = None) -> tuple[Tensor, Any]:
        mean = torch.zeros(spec[:, 0].shape) if memory is None else memory
        enhanced = []
        for frame in spec.unbind(1):
            mean = 0.9 * mean + 0.1 * frame.abs()
            enhanced.append(mean * frame)
        return torch.stack(enhanced, 1), mean


class Delayed(nn.Module):
    """Output three samples late, in hops of two; remembers the last three inputs."""

    hop_length, delay = 2, 3

    def initial_state(self, batch_size: int = 1) -> Tensor:
        return torch.zeros(batch_size, 3)

    def stream(self, chunk: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        signal = torch.cat([state, chunk], -1)
        return signal[:, :2], signal[:, 2:]


@pytest.mark.parametrize("length", [1, 2, 3, 4, 7, 100])
def test_delay_is_taken_out(length: int) -> None:
    noisy = torch.randn(2, length)
    assert torch.equal(stream_through(Delayed(), noisy), noisy)


@pytest.mark.parametrize("window", ["hann", "sqrt_hann", "hamming"])
@pytest.mark.parametrize(("n_fft", "win_length"), [(64, 64), (64, 40), (90, 38)])
@pytest.mark.parametrize("length", [1, 31, 32, 33, 1000])
def test_frame_by_frame_is_the_same_as_at_once(
    n_fft: int, win_length: int, window: str, length: int
) -> None:
    model = Smoothed(STFT(n_fft, win_length // 2, win_length, window=window))
    noisy = torch.randn(3, length)
    torch.testing.assert_close(stream_through(model, noisy), model(noisy), rtol=1e-5, atol=1e-5)


def test_output_is_one_hop_late() -> None:
    model = Smoothed(STFT(64, 32, window="sqrt_hann"))
    noisy = torch.randn(1, 96)
    state, outputs = model.initial_state(), []
    for chunk in noisy.split(32, dim=-1):
        output, state = model.stream(chunk, state)
        outputs.append(output)
    offline = model(noisy)
    torch.testing.assert_close(outputs[1], offline[:, :32])
    torch.testing.assert_close(outputs[2], offline[:, 32:64])


def test_one_model_serves_several_streams() -> None:
    model = Smoothed(STFT(64, 32))
    signals = torch.randn(2, 1, 320)
    states, outputs = [model.initial_state(), model.initial_state()], [[], []]
    for chunks in signals.split(32, dim=-1):
        for number, chunk in enumerate(chunks):
            output, states[number] = model.stream(chunk, states[number])
            outputs[number].append(output)
    for number, signal in enumerate(signals):
        expected = model(signal)[:, :288]
        torch.testing.assert_close(torch.cat(outputs[number][1:], -1), expected)


def test_models_that_stream_are_told_from_others() -> None:
    assert isinstance(Delayed(), Streaming)
    assert isinstance(Smoothed(STFT(64, 32)), Streaming)
    assert not isinstance(nn.GRU(3, 3), Streaming)


def test_no_gradients_are_kept() -> None:
    class Scaled(FrameByFrame):
        def enhance(self, spec: Tensor, memory: Any = None) -> tuple[Tensor, Any]:
            return spec * self.scale, memory

    model = Scaled(STFT(64, 32))
    model.scale = nn.Parameter(torch.ones(()))
    assert not stream_through(model, torch.randn(1, 100)).requires_grad
    assert model(torch.randn(1, 100)).requires_grad


@pytest.mark.parametrize("shape", [(100,), (1, 2, 100), (1, 0)])
def test_what_is_no_batch_of_waveforms_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"expected \(batch, time\), not empty"):
        stream_through(Delayed(), torch.zeros(shape))


@pytest.mark.parametrize("hop_length", [16, 30])
def test_window_of_other_than_two_hops_is_refused(hop_length: int) -> None:
    model = Smoothed(STFT(64, hop_length))
    with pytest.raises(RequestError, match=f"hop_length {hop_length}; expected a window of two"):
        model.initial_state()
    assert model(torch.randn(1, 100)).shape == (1, 100)


def test_forward_without_enhance_says_what_is_missing() -> None:
    with pytest.raises(NotImplementedError, match=r"FrameByFrame has no enhance\(spec, memory\)"):
        FrameByFrame(STFT(64, 32))(torch.randn(1, 100))
