"""Signals that are too long to go through a model at once, in segments that overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import pad

from audiozen.errors import ShapeError
from audiozen.losses.pit import permutation_invariant, reorder

if TYPE_CHECKING:
    from collections.abc import Callable

OVERLAP = 1 / 20
"""Of a segment: 3 s of 60."""


class Segments:
    """A model of whole signals. What is longer than a segment goes through in several, faded over where they overlap.

    The result is that of the whole signal only if there is one segment. Each has the same length, also the last one,
    which begins the sooner.

    Args:
        run: from ``(1, time)`` to sources ``(sources, time)``. Another length is cut, or filled up with silence.
        segment: longest signal that goes through at once, in samples.
    """

    def __init__(self, run: Callable[[Tensor], Tensor], segment: int) -> None:
        self.run = run
        self.segment = max(segment, 2)
        self.overlap = max(1, round(OVERLAP * segment))
        self._known = torch.zeros(1, 0)
        """From the beginning of the segment before; or from the first sample."""
        self._start = 0
        """Where the next segment begins in it."""
        self._held: Tensor | None = None
        """The last output, from there on, which the next segment is faded into: ``(sources, overlap)``."""

    def put(self, block: Tensor) -> Tensor:
        """Sources ``(sources, time)`` of segments that are not the last one."""
        self._known = torch.cat([self._known.to(block), block], -1)
        ready = []
        while self._known.shape[-1] - self._start > self.segment:
            self._known = self._known[:, self._start :]
            self._start = self.segment - self.overlap
            output = self._joined(self._enhanced(self._known[:, : self.segment]))
            ready.append(output[:, : -self.overlap])
            self._held = output[:, -self.overlap :]
        return torch.cat(ready, -1) if ready else block[:, :0]

    def finish(self) -> Tensor:
        """Sources of the last segment, or of the only one."""
        num_left = self._known.shape[-1] - self._start
        if not num_left:
            return self._known
        output = self._enhanced(self._known[:, -self.segment :])
        return self._joined(output[:, output.shape[-1] - num_left :])

    def _enhanced(self, noisy: Tensor) -> Tensor:
        sources, length = self.run(noisy), noisy.shape[-1]
        return pad(sources[:, :length], (0, max(0, length - sources.shape[-1])))

    def _joined(self, output: Tensor) -> Tensor:
        """Faded in where the output before is faded out."""
        if self._held is None:
            return output
        output = in_order_of(self._held, output)
        rise = (torch.arange(self.overlap, device=output.device) + 1) / (self.overlap + 1)
        faded = self._held + rise * (output[:, : self.overlap] - self._held)
        return torch.cat([faded, output[:, self.overlap :]], -1)


def in_order_of(before: Tensor, sources: Tensor) -> Tensor:
    """Sources ``(sources, time)`` in the order in which their first samples fit best to those of ``before``.

    The order with the greatest sum of correlations is that with the smallest squared difference.

    Raises:
        ShapeError: there are not as many of them.
    """
    if len(before) != len(sources):
        raise ShapeError(
            f"the model found {len(before)} sources in one segment and {len(sources)} in the next"
        )
    beginnings = sources[:, : before.shape[-1]]
    _, permutation = permutation_invariant(beginnings[None], before[None], negative_correlation)
    return reorder(sources[None], permutation)[0]


def negative_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Of signals ``(..., time)``; the loss by which sources find their order."""
    return -(first * second).sum(-1)
