"""Models as stages: block by block as exactly as each kind of model allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.functional import fold, pad

from audiozen.errors import ShapeError
from audiozen.inference.segments import Segments
from audiozen.streaming import FrameByFrame, Streaming

if TYPE_CHECKING:
    from collections.abc import Callable

    from audiozen.inference.stages import Stage

Model: TypeAlias = "nn.Module | Callable[[Tensor], Any]"
"""A module in evaluation mode, or a function: from a waveform ``(1, time)`` to what :func:`as_sources` takes."""


def stage_for(model: Model, segment: int) -> Stage:
    """The stage for one channel, from ``(1, time)`` to ``(sources, time)``: an exact one if the model has one.

    Args:
        model: what is run.
        segment: longest signal that goes through at once, in samples, where the model cannot work block by block.
    """
    if works_by_frames(model):
        return FrameBlocks(model)
    if works_by_chunks(model):
        return Chunks(model)
    return Segments(lambda noisy: as_sources(model(noisy)), segment)


def is_exact(model: Model) -> bool:
    """Whether a signal of any length comes out as if it had gone through at once."""
    return works_by_frames(model) or works_by_chunks(model)


def works_by_frames(model: Any) -> TypeGuard[FrameByFrame]:
    """Whether a model is all in its ``enhance``: one with a ``forward`` of its own may do anything else besides."""
    return isinstance(model, FrameByFrame) and _inherits(model, "forward")


def works_by_chunks(model: Any) -> TypeGuard[Streaming]:
    """Whether a model has a ``stream`` that its author wrote for its ``forward``."""
    inherits = isinstance(model, FrameByFrame) and _inherits(model, "stream")
    return isinstance(model, nn.Module) and isinstance(model, Streaming) and not inherits


def _inherits(model: Any, method: str) -> bool:
    return getattr(type(model), method) is getattr(FrameByFrame, method)


def as_sources(value: Any) -> Tensor:
    """What a model or a ``predict_step`` returned, as waveforms of shape ``(sources, time)``.

    Args:
        value: ``(time,)``, ``(1, time)``, or ``(1, sources, time)``.

    Raises:
        ShapeError: it is none of these.
    """
    if not isinstance(value, Tensor):
        found = f"a {type(value).__name__}"
    elif not value.is_floating_point():
        found = f"a tensor of {value.dtype}"
    elif value.ndim not in (1, 2, 3) or (value.ndim > 1 and len(value) != 1):
        found = f"a tensor of shape {tuple(value.shape)}"
    else:
        return value.reshape(-1, value.shape[-1]).float()
    raise ShapeError(
        f"the model returned {found}; expected a waveform (1, time) or (time,), or sources "
        "(1, sources, time). Write a predict_step in your trainer that returns one of them"
    )


class FrameBlocks:
    """A model that works frame by frame, many frames at once. What it remembers goes from block to block.

    All blocks together equal ``model(noisy)`` of the whole signal.

    Args:
        model: what enhances the frames.
    """

    def __init__(self, model: FrameByFrame) -> None:
        stft = model.stft
        self.model, self.n_fft, self.hop_length = model, stft.n_fft, stft.hop_length
        before = (stft.n_fft - stft.win_length) // 2
        self.window = pad(stft.window, (before, stft.n_fft - stft.win_length - before))
        self.memory: Any = None
        self.num_in = self.num_out = 0
        # The first frame is centred on the first sample.
        self.num_early = stft.n_fft // 2
        self.waiting = self.window.new_zeros(1, self.num_early)
        self.tail = self.window.new_zeros(2, stft.n_fft - stft.hop_length)

    def put(self, block: Tensor) -> Tensor:
        """Samples ``(1, time)`` that no later frame adds to; of the input, half a window and more is held back."""
        self.num_in += block.shape[-1]
        return self._enhanced(block)

    def finish(self) -> Tensor:
        """The rest, with silence behind it, as :class:`~audiozen.acoustics.STFT` has it."""
        if not self.num_in:
            return self.waiting[:, :0]
        left = self.num_in - self.num_out
        silence = self.window.new_zeros(1, -self.num_in % self.hop_length + self.n_fft // 2)
        rest = torch.cat([self._enhanced(silence), self._weighted(self.tail)], -1)
        return rest[:, :left]

    def _enhanced(self, block: Tensor) -> Tensor:
        self.waiting = torch.cat([self.waiting, block], -1)
        if self.waiting.shape[-1] < self.n_fft:
            return self.waiting[:, :0]
        frames = self.waiting.unfold(-1, self.n_fft, self.hop_length) * self.window
        self.waiting = self.waiting[:, frames.shape[1] * self.hop_length :]
        enhanced, self.memory = self.model.enhance(torch.fft.rfft(frames), self.memory)
        ready = self._overlap_added(torch.fft.irfft(enhanced[0], self.n_fft) * self.window)
        self.num_out += ready.shape[-1]
        return ready

    def _overlap_added(self, frames: Tensor) -> Tensor:
        """The part of the sum that is complete; the rest is kept. Beside it goes the sum of the squared windows."""
        num_ready = len(frames) * self.hop_length
        length = num_ready - self.hop_length + self.n_fft
        columns = torch.stack([frames, self.window.square().expand_as(frames)]).mT
        sums = fold(columns, (1, length), (1, self.n_fft), stride=(1, self.hop_length))[:, 0, 0]
        sums[:, : self.tail.shape[-1]] += self.tail
        self.tail = sums[:, num_ready:]
        return self._weighted(sums[:, :num_ready])

    def _weighted(self, sums: Tensor) -> Tensor:
        """The least-squares signal of the sums, without what lies before the first sample."""
        num_early = min(self.num_early, sums.shape[-1])
        self.num_early -= num_early
        sums = sums[:, num_early:]
        return sums[:1] / sums[1:]


class Chunks:
    """A model that streams, chunk by chunk. Its delay is taken out.

    Args:
        model: what streams.
    """

    def __init__(self, model: Streaming) -> None:
        self.model, self.state = model, model.initial_state()
        self.num_in = self.num_out = 0
        self.num_early = model.delay
        self.waiting = torch.zeros(1, 0)

    def put(self, block: Tensor) -> Tensor:
        """Samples ``(1, time)`` of all chunks that are whole."""
        self.num_in += block.shape[-1]
        return self._streamed(block)

    def finish(self) -> Tensor:
        """The rest, with silence behind it."""
        left = self.num_in - self.num_out
        length = self.waiting.shape[-1] + self.model.delay
        padding = self.model.delay + -length % self.model.hop_length
        return self._streamed(self.waiting.new_zeros(1, padding))[:, :left]

    def _streamed(self, block: Tensor) -> Tensor:
        samples = torch.cat([self.waiting.to(block), block], -1)
        num_whole = samples.shape[-1] // self.model.hop_length * self.model.hop_length
        self.waiting = samples[:, num_whole:]
        outputs = [block[:, :0]]
        for start in range(0, num_whole, self.model.hop_length):
            chunk = samples[:, start : start + self.model.hop_length]
            output, self.state = self.model.stream(chunk, self.state)
            outputs.append(output)
        output = torch.cat(outputs, -1)
        num_early = min(self.num_early, output.shape[-1])
        self.num_early -= num_early
        self.num_out += output.shape[-1] - num_early
        return output[:, num_early:]
