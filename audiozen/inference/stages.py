"""Stages that sound goes through block by block, so that any length takes the same memory.

A stage takes blocks of any length and gives what is ready, which may be more, less or nothing. ::

    blocks = read_blocks("two_hours.wav", 480_000)
    blocks = through(Resampling(48_000, 16_000), blocks)
    blocks = through(EachChannel(lambda: stage_for(model, 960_000), torch.device("cpu")), blocks)
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


class Stage(Protocol):
    """What turns blocks of one signal into other blocks. Time is the last axis."""

    def put(self, block: Tensor) -> Tensor:
        """Take the next samples; return those that are ready, perhaps none."""

    def finish(self) -> Tensor:
        """Return what is left after the last block."""


def through(stage: Stage, blocks: Iterable[Tensor]) -> Iterator[Tensor]:
    """Put blocks through a stage. Those without samples are left out."""
    for block in blocks:
        ready = stage.put(block)
        if ready.shape[-1]:
            yield ready
    rest = stage.finish()
    if rest.shape[-1]:
        yield rest


class Resampling:
    """Blocks at another rate; all together equal to :func:`~audiozen.data.audio.resample` of the whole signal.

    Args:
        from_rate: in Hz.
        to_rate: in Hz.
    """

    def __init__(self, from_rate: float, to_rate: float) -> None:
        self.rates = from_rate, to_rate
        self._stream: Any = None
        self._shape: tuple[int, ...] = ()

    def put(self, block: Tensor) -> Tensor:
        """Blocks ``(..., time)``; all of the same leading axes."""
        return self._resampled(block, is_last=False)

    def finish(self) -> Tensor:
        """What the filter still holds."""
        return self._resampled(torch.zeros(*self._shape, 0), is_last=True)

    def _resampled(self, block: Tensor, *, is_last: bool) -> Tensor:
        import soxr

        self._shape = tuple(block.shape[:-1])
        channels = block.reshape(math.prod(self._shape), block.shape[-1])
        if self._stream is None:
            self._stream = soxr.ResampleStream(*self.rates, len(channels))
        ready = self._stream.resample_chunk(channels.numpy().T, last=is_last)
        return torch.from_numpy(ready.T.copy()).reshape(*self._shape, ready.shape[0])


class EachChannel:
    """A stage for each channel, as if it were alone: from ``(channels, time)`` to ``(sources, channels, time)``.

    Args:
        make_stage: called for each channel; makes what takes ``(1, time)`` and gives ``(sources, time)``.
        device: where the stages work. What comes out is on the CPU.
        when_done: called with the seconds that each block took.
    """

    def __init__(
        self,
        make_stage: Callable[[], Stage],
        device: torch.device,
        when_done: Callable[[float], object] = lambda _: None,
    ) -> None:
        self.make_stage, self.device, self.when_done = make_stage, device, when_done
        self._stages: list[Stage] = []

    def put(self, block: Tensor) -> Tensor:
        """The next samples of all channels."""
        self._stages = self._stages or [self.make_stage() for _ in block]
        return self._together(
            stage.put(row[None].to(self.device)) for stage, row in zip(self._stages, block)
        )

    def finish(self) -> Tensor:
        """What is left of all channels."""
        return self._together(stage.finish() for stage in self._stages)

    def _together(self, outputs: Iterable[Tensor]) -> Tensor:
        start = time.perf_counter()
        channels = [output.cpu() for output in outputs]
        self.when_done(time.perf_counter() - start)
        return torch.stack(channels, 1) if channels else torch.zeros(1, 1, 0)


def of_length(blocks: Iterable[Tensor], num_samples: int) -> Iterator[Tensor]:
    """Blocks that are ``num_samples`` long together: cut, or filled up with silence.

    >>> list(of_length([torch.ones(2), torch.ones(2)], 3))
    [tensor([1., 1.]), tensor([1.])]
    """
    left = num_samples
    shape: tuple[int, ...] = ()
    for block in blocks:
        part, shape = block[..., :left], tuple(block.shape[:-1])
        left -= part.shape[-1]
        if part.shape[-1]:
            yield part
    if left:
        yield torch.zeros(*shape, left)
