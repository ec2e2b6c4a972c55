"""Models that answer while the sound still comes in, chunk by chunk.

>>> from audiozen.acoustics import STFT
>>> class Halved(FrameByFrame):
...     def enhance(self, spec, memory=None):
...         return spec / 2, memory
>>> model = Halved(STFT(n_fft=8, hop_length=4))
>>> chunk, state = model.stream(torch.ones(1, 4), model.initial_state())
>>> stream_through(model, torch.ones(1, 3))
tensor([[0.5000, 0.5000, 0.5000]])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from audiozen.errors import RequestError, ShapeError

if TYPE_CHECKING:
    from audiozen.acoustics import STFT

__all__ = ["FrameByFrame", "StreamState", "Streaming", "stream_through"]


@runtime_checkable
class Streaming(Protocol):
    """What a model offers that can work chunk by chunk.

    All that it remembers is in a state that is handed in and out, so one model serves any number of streams.
    """

    @property
    def hop_length(self) -> int:
        """Samples of one chunk."""

    @property
    def delay(self) -> int:
        """Samples that the output lags behind the input: sample ``i`` comes out where ``i + delay`` went in."""

    def initial_state(self, batch_size: int = 1) -> Any:
        """The state before the first chunk, as after silence."""

    def stream(self, chunk: Tensor, state: Any) -> tuple[Tensor, Any]:
        """From a chunk ``(batch, hop_length)`` and a state to the next chunk of output and the next state."""


def stream_through(model: Streaming, noisy: Tensor) -> Tensor:
    """Put a whole signal through a model chunk by chunk, without gradients. The delay is taken out.

    Args:
        model: in evaluation mode, for what depends on it.
        noisy: shape ``(batch, time)``, at least one sample.

    Returns:
        Shape ``(batch, time)``: what the model returns for the whole signal, if it streams rightly.

    Raises:
        ShapeError: ``noisy`` has another number of axes, or no sample.
    """
    if noisy.ndim != 2 or noisy.shape[-1] == 0:
        raise ShapeError(f"cannot stream {tuple(noisy.shape)}; expected (batch, time), not empty")
    length = noisy.shape[-1]
    padding = model.delay + -(length + model.delay) % model.hop_length
    state = model.initial_state(noisy.shape[0])
    padded = nn.functional.pad(noisy, (0, padding))
    chunks = padded.reshape(len(noisy), -1, model.hop_length)
    enhanced = []
    with torch.no_grad():
        for chunk in chunks.unbind(1):
            output, state = model.stream(chunk, state)
            enhanced.append(output)
    return torch.cat(enhanced, -1)[:, model.delay : model.delay + length]


class StreamState(NamedTuple):
    """What a model that works frame by frame remembers."""

    past: Tensor
    """The input that the next frame needs again, ``(batch, hop_length)``."""
    tail: Tensor
    """The part of the last frame that the next one adds to, ``(batch, hop_length)``."""
    memory: Any
    """What :meth:`FrameByFrame.enhance` returned last; None before the first frame."""


class FrameByFrame(nn.Module):
    """A model of spectra that looks at no frame beyond the present one. Write :meth:`enhance`; the rest follows.

    Called on a waveform ``(batch, time)``, it returns the enhanced one. Chunk by chunk it does the same
    (:class:`Streaming`), with the output one hop later than the input; each sample has its output one window after
    it came in, or sooner.

    Args:
        stft: the transform. To stream, the window must be two hops long.
    """

    def __init__(self, stft: STFT) -> None:
        super().__init__()
        self.stft = stft

    def enhance(self, spec: Tensor, memory: Any = None) -> tuple[Tensor, Any]:
        """Enhance some frames, given what is remembered of those before them.

        Args:
            spec: complex, shape ``(batch, frames, freq)``: a whole signal, many frames or one frame of it.
            memory: what this method returned for the frames before; None before the first one.

        Returns:
            The enhanced frames, of the same shape, and what to remember.

        Raises:
            NotImplementedError: the model has not overridden it.
        """
        raise NotImplementedError(f"{type(self).__name__} has no enhance(spec, memory)")

    def forward(self, noisy: Tensor) -> Tensor:
        """Enhance ``noisy`` of shape ``(batch, time)``; the result has the same shape."""
        enhanced, _ = self.enhance(self.stft(noisy).transpose(1, 2))
        return self.stft.inverse(enhanced.transpose(1, 2), length=noisy.shape[-1])

    @property
    def hop_length(self) -> int:
        """Samples of one chunk."""
        return self.stft.hop_length

    @property
    def delay(self) -> int:
        """One hop: the second half of a window is complete when the next frame has been added."""
        return self.stft.hop_length

    def initial_state(self, batch_size: int = 1) -> StreamState:
        """The state before the first chunk.

        Raises:
            RequestError: the window is not two hops long.
        """
        if self.stft.win_length != 2 * self.hop_length:
            raise RequestError(
                f"cannot stream with win_length {self.stft.win_length} and hop_length "
                f"{self.hop_length}; expected a window of two hops"
            )
        silence = self.stft.window.new_zeros(batch_size, self.hop_length)
        return StreamState(past=silence, tail=silence, memory=None)

    def stream(self, chunk: Tensor, state: StreamState) -> tuple[Tensor, StreamState]:
        """Enhance the next chunk, ``(batch, hop_length)``. The result belongs to the chunk before."""
        window, n_fft = self.stft.window, self.stft.n_fft
        margin = (n_fft - len(window)) // 2
        frame = torch.cat([state.past, chunk], -1) * window
        spec = torch.fft.rfft(nn.functional.pad(frame, (margin, margin)))
        enhanced, memory = self.enhance(spec[:, None], state.memory)
        signal = torch.fft.irfft(enhanced[:, 0], n_fft)[:, margin : n_fft - margin] * window
        first, second = signal.chunk(2, -1)
        overlap = sum(window.square().chunk(2))
        return (state.tail + first) / overlap, StreamState(chunk, second, memory)
