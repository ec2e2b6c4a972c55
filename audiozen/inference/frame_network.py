"""A model of spectra as other runtimes can run it: one frame at a time, real tensors only, all memory in the open.

>>> from audiozen.acoustics import STFT
>>> class Smoothed(FrameByFrame):
...     def enhance(self, spec, memory=None):
...         mean = spec.abs() if memory is None else 0.9 * memory + 0.1 * spec.abs()
...         return mean * spec, mean
...     def initial_state(self, batch_size=1):
...         mean = torch.zeros(batch_size, 1, self.stft.num_freqs)
...         return super().initial_state(batch_size)._replace(memory=mean)
>>> network = FrameNetwork(Smoothed(STFT(n_fft=8, hop_length=4)))
>>> [(state.name, tuple(state.initial.shape)) for state in network.states]
[('state_0', (1, 1, 5))]
>>> enhanced, new_state = network(*network.example())
>>> tuple(enhanced.shape)
(1, 2, 1, 5)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from audiozen.errors import RequestError
from audiozen.streaming import FrameByFrame, StreamState

if TYPE_CHECKING:
    from collections.abc import Sequence

FRAME = "frame"
ENHANCED = "enhanced"
DTYPES = (torch.float32, torch.float64, torch.float16, torch.int64, torch.int32, torch.bool)
"""Of states: what NumPy and ONNX have as well."""
SAME = 1e-6
"""Two results that differ by less, relative to their peak, are equal up to rounding."""


class State(NamedTuple):
    """One tensor of a model's memory."""

    name: str
    """``state_0`` and so on, in order."""
    place: str
    """In the memory: ``.encoder[0][1]`` is ``memory.encoder[0][1]``."""
    initial: Tensor
    """Its value before the first frame."""


class FrameNetwork(nn.Module):
    """:meth:`FrameByFrame.enhance` for one frame of one stream, without complex numbers at its edges.

    Called with the real and imaginary parts of a frame, shape ``(1, 2, 1, freq)``, and the states, it returns the
    enhanced frame, of the same shape, and the new states, in the same order.

    A model needs nothing besides ``enhance``. Its memory may be a tensor, or tensors in tuples, lists, dicts and named
    tuples; None may be among them. If the memory before the first frame is None, zeros must do the same.

    Args:
        model: in evaluation mode.

    Attributes:
        states: names and initial values.

    Raises:
        RequestError: the model does not work frame by frame, or has a memory that cannot be written down.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = require_frame_by_frame(model)
        with torch.no_grad():
            memory = initial_memory(self.model)
            self.states = states_of(memory)
            _, new_memory = self.model.enhance(some_frame(self.model), memory)
        require_equal_layout(memory, new_memory)
        self._is_state, self._layout = _split(memory)

    def forward(self, frame: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """From a frame and the states to the enhanced frame and the new states."""
        spec = torch.complex(frame[:, 0], frame[:, 1])
        enhanced, memory = self.model.enhance(spec, self._memory(states))
        # Cloned, as in a file, a tensor has one name: a state that stays as it is would be input and output.
        new_states = [leaf.clone() for leaf in pytree.tree_leaves(memory) if leaf is not None]
        return torch.stack([enhanced.real, enhanced.imag], 1), *new_states

    def _memory(self, states: Sequence[Tensor]) -> Any:
        remaining = iter(states)
        leaves = [next(remaining) if is_state else None for is_state in self._is_state]
        return pytree.tree_unflatten(leaves, self._layout)

    def example(self) -> tuple[Tensor, ...]:
        """What it can be called with: noise, and the states before the first frame."""
        spec = some_frame(self.model)
        return torch.stack([spec.real, spec.imag], 1), *(state.initial for state in self.states)

    @property
    def input_names(self) -> list[str]:
        """Names of what goes in, in order."""
        return [FRAME, *(state.name for state in self.states)]

    @property
    def output_names(self) -> list[str]:
        """Names of what comes out, in order."""
        return [ENHANCED, *(f"new_{state.name}" for state in self.states)]


def require_frame_by_frame(model: nn.Module) -> FrameByFrame:
    """The model, if it can be taken apart into a Fourier transform and a network.

    Raises:
        RequestError: it cannot; the text says what is missing.
    """
    name = type(model).__name__
    if not isinstance(model, FrameByFrame):
        raise RequestError(
            f"{name} cannot be exported: it does not work frame by frame. Derive the model from "
            "audiozen.streaming.FrameByFrame and write its enhance(spec, memory)"
        )
    if type(model).stream is not FrameByFrame.stream:
        raise RequestError(
            f"{name} cannot be exported: it has a stream() of its own, and what is exported is enhance() between "
            "the Fourier transforms of FrameByFrame.stream()"
        )
    return model


def initial_memory(model: FrameByFrame) -> Any:
    """What the model remembers before the first frame, with all its tensors.

    Raises:
        RequestError: that is None, and zeros are something else.
    """
    state = model.initial_state()
    assert isinstance(state, StreamState), "stream() could not use another"
    if state.memory is not None:
        return state.memory
    frame = some_frame(model)
    first = model.enhance(frame, None)
    zeros = pytree.tree_map(
        lambda leaf: torch.zeros_like(leaf) if _is_tensor(leaf) else leaf, first[1]
    )
    if states_of(zeros) and not _are_equal(first, model.enhance(frame, zeros)):
        raise RequestError(
            f"{type(model).__name__} cannot be exported: before the first frame its memory is None, and zeros are not "
            "the same to it. Write an initial_state() that returns "
            "super().initial_state(batch_size)._replace(memory=...), with all tensors of the memory"
        )
    return zeros


def states_of(memory: Any) -> list[State]:
    """All tensors of a memory, with names.

    Raises:
        RequestError: there is something else, or a tensor of a type that other runtimes do not have.
    """
    states: list[State] = []
    for place, leaf in pytree.tree_flatten_with_path(memory)[0]:
        path = pytree.keystr(place)
        if leaf is None:
            continue
        if not _is_tensor(leaf):
            raise RequestError(
                f"the model cannot be exported: memory{path} is a {type(leaf).__name__}, and a state must be a "
                "tensor; keep numbers as tensors, in tuples, lists, dicts or named tuples"
            )
        if leaf.dtype not in DTYPES:
            allowed = ", ".join(str(dtype).removeprefix("torch.") for dtype in DTYPES)
            raise RequestError(
                f"the model cannot be exported: memory{path} is {leaf.dtype}; a state can be {allowed}"
                + ("; keep real and imaginary parts" if leaf.is_complex() else "")
            )
        states.append(State(f"state_{len(states)}", path, leaf.detach()))
    return states


def require_equal_layout(before: Any, after: Any) -> None:
    """Refuse a memory that does not keep its form from frame to frame.

    Raises:
        RequestError: another number of tensors, another shape or type.
    """
    old, new = states_of(before), states_of(after)
    if len(old) != len(new):
        raise RequestError(
            f"the model cannot be exported: there are {len(old)} tensors in its memory before a frame and "
            f"{len(new)} after it"
        )
    for (_, place, first), (_, _, second) in zip(old, new):
        if (first.shape, first.dtype) != (second.shape, second.dtype):
            raise RequestError(
                f"the model cannot be exported: memory{place} is {tuple(first.shape)}, {first.dtype}, before a frame "
                f"and {tuple(second.shape)}, {second.dtype}, after it; a state must keep its form"
            )


def some_frame(model: FrameByFrame) -> Tensor:
    """A frame of noise, complex, shape ``(1, 1, freq)``; always the same."""
    generator = torch.Generator().manual_seed(0)
    parts = torch.randn(1, 1, model.stft.num_freqs, 2, generator=generator)
    return torch.view_as_complex(parts)


def _split(memory: Any) -> tuple[list[bool], pytree.TreeSpec]:
    """Which leaves of a memory are states, and where all of them belong."""
    leaves, layout = pytree.tree_flatten(memory)
    return [leaf is not None for leaf in leaves], layout


def _is_tensor(leaf: Any) -> bool:
    return isinstance(leaf, Tensor)


def _are_equal(first: Any, second: Any) -> bool:
    """Whether all tensors of two results are equal, up to rounding."""
    pairs = zip(pytree.tree_leaves(first), pytree.tree_leaves(second), strict=True)
    return all(
        bool((a - b).abs().max() <= SAME * b.abs().max())
        for a, b in pairs
        if _is_tensor(a) and a.dtype != torch.bool
    )
