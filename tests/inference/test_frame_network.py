from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from audiozen.acoustics import STFT
from audiozen.errors import RequestError
from audiozen.inference.frame_network import FrameNetwork
from audiozen.streaming import FrameByFrame
from tests.inference.frame_models import HOP, N_FFT, Odd, Small, WithMemory


def parts_of(spec: Tensor) -> Tensor:
    """Shape ``(1, 2, frames, freq)``."""
    return torch.stack([spec.real, spec.imag], 1)


@pytest.mark.parametrize("make", [Small, Odd])
def test_frame_by_frame_is_the_same_as_enhance(make: Any) -> None:
    torch.manual_seed(0)
    model = make().eval()
    network = FrameNetwork(model)
    spec = model.stft(torch.randn(1, 1000)).mT
    expected, _ = model.enhance(spec, model.initial_state().memory)
    states = [state.initial for state in network.states]
    frames = []
    for frame in parts_of(spec).split(1, dim=2):
        enhanced, *states = network(frame, *states)
        frames.append(enhanced)
    torch.testing.assert_close(torch.cat(frames, 2), parts_of(expected), rtol=0, atol=1e-5)


def test_states_are_the_tensors_of_the_memory_in_order() -> None:
    network = FrameNetwork(Odd())
    assert [(state.name, state.place) for state in network.states] == [
        ("state_0", "['mean'][0]"),
        ("state_1", "['count']"),
        ("state_2", "['is_first']"),
        ("state_3", "['gains']"),
    ]
    assert network.input_names == ["frame", "state_0", "state_1", "state_2", "state_3"]
    assert network.output_names[::2] == ["enhanced", "new_state_1", "new_state_3"]
    assert torch.equal(network.states[3].initial, torch.linspace(0, 1, N_FFT // 2 + 1))


def test_memory_that_is_none_at_first_starts_with_zeros() -> None:
    (state,) = FrameNetwork(Small().eval()).states
    assert torch.equal(state.initial, torch.zeros(1, 1, 8))


def test_model_may_remember_nothing() -> None:
    network = FrameNetwork(WithMemory())
    assert network.states == []
    (frame,) = network.example()
    assert torch.equal(network(frame)[0], frame)


class Growing(WithMemory):
    def __init__(self, memory: Any, step: Any) -> None:
        super().__init__()
        self.memory, self.step = memory, step


@pytest.mark.parametrize(
    ("memory", "step", "text"),
    [
        ([3, torch.zeros(1)], None, r"memory\[0\] is a int, and a state must be a tensor"),
        (torch.zeros(1, dtype=torch.complex64), None, "is torch.complex64; .* keep real and imag"),
        (torch.zeros(1, dtype=torch.bfloat16), None, "is torch.bfloat16; a state can be float32, "),
        (torch.zeros(2, 0), lambda s, m: (s, m.new_zeros(2, 1)), r"is \(2, 0\), .* and \(2, 1\),"),
        ([torch.zeros(1)], lambda s, m: (s, [m[0].double()]), r"memory\[0\] is .* keep its form"),
        ([], lambda s, m: (s, [s.abs()]), "there are 0 tensors in its memory before .* 1 after it"),
        (
            None,
            lambda s, m: (s, s.abs() if m is None else 0.9 * m + 0.1 * s.abs()),
            r"its memory is None, and zeros are not the same to it. Write an initial_state\(\)",
        ),
    ],
)
def test_memory_that_cannot_be_written_down_is_refused(memory: Any, step: Any, text: str) -> None:
    with pytest.raises(RequestError, match=text):
        FrameNetwork(Growing(memory, step or (lambda spec, memory: (spec, memory))))


def test_what_is_no_stream_of_frames_is_refused() -> None:
    with pytest.raises(RequestError, match=r"GRU cannot .* Derive the model from audiozen.stream"):
        FrameNetwork(nn.GRU(3, 3))

    class OwnStream(WithMemory):
        def stream(self, chunk: Tensor, state: Any) -> tuple[Tensor, Any]:
            return chunk, state

    with pytest.raises(RequestError, match=r"OwnStream cannot be exported: it has a stream\(\) of"):
        FrameNetwork(OwnStream())


def test_window_of_other_than_two_hops_is_refused() -> None:
    with pytest.raises(RequestError, match="expected a window of two hops"):
        FrameNetwork(FrameByFrame(STFT(N_FFT, HOP // 2)))
