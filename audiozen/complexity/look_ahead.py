"""How far into the future a model looks, found by changing its input.

>>> from torch import nn
>>> look_ahead(nn.Conv1d(1, 1, 5, padding="same"), sample_rate=1000).latency_ms()
3.0
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from audiozen.complexity._copies import copy_with
from audiozen.errors import AudioZENError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = (0.25, 1.0, 4.0)
"""Lengths of the test signals. The next one is needed where a change reaches the beginning."""
NUM_PLACES = 24
"""Where in a signal the input is changed: at many phases of any grid of frames, and where units are on or off."""
RMS = 0.1
"""Of the noise that goes in; a usual level of speech."""
OTHER_RMS = 0.3
"""Of what it is changed to: louder, so that a change of the peak is one as well."""
THRESHOLD = 1e-13
"""A change of the output that is smaller, relative to its peak, may be rounding in float64."""
CLEAR = 1e-8
"""A change that is far from rounding. What is between the two thresholds fades."""


class LookAhead(NamedTuple):
    """How far a sample of the output depends on the input after it."""

    samples: int | None
    """0: causal. None: on the whole signal, however long it is."""
    sample_rate: int
    """In Hz."""

    @property
    def is_causal(self) -> bool:
        """Whether no sample of the output depends on a later one of the input."""
        return self.samples == 0

    @property
    def looks_at_whole_signal(self) -> bool:
        """Whether nothing can be said before the signal has ended."""
        return self.samples is None

    def latency_ms(self, hop_length: int = 1) -> float | None:
        """Algorithmic latency, in ms: from the start of a sample until a machine without limits could have its output.

        That is the look-ahead and the sample itself, rounded up to whole chunks, as a chunk can only be used when it
        is complete. Lower is better. None where the whole signal is looked at.

        Args:
            hop_length: samples of one chunk; 1 where the model does not work chunk by chunk.
        """
        if self.samples is None:
            return None
        num_chunks = self.samples // hop_length + 1
        return 1000 * num_chunks * hop_length / self.sample_rate


def look_ahead(model: nn.Module, sample_rate: int, *, time_limit: float | None = None) -> LookAhead:
    """How many samples of the future the output of a model depends on. Fewer is better.

    Noise goes in; then the same noise, but other noise from some sample on; and the first sample of the output that
    differs is looked for. For several such places, the last input that this output depends on is found by bisection,
    so the result does not hang on the phase of a grid of frames. Where a change fades towards earlier samples instead
    of ending (a recurrent layer that runs backwards forgets; so do the edges of many convolutions in a row), it is
    followed with NaN, which does not fade. If a change reaches the beginning of signals of 0.25, 1 and 4 s, the model
    looks at the whole signal.

    This happens on the CPU in float64, on a copy of the model in evaluation mode, with the same random numbers each
    time. Sample ``i`` of the output is taken to belong to sample ``i`` of the input: where the output is shorter or
    longer, they are aligned at the beginning, and a model that delays its output looks ahead that much less.

    What is not seen: a dependence that no noise of speech level shows (a gate that stays closed, a unit that stays
    off), one below 1e-13 of the peak, and one beyond about 2.5 s, which counts as the whole signal. A model that
    multiplies what is faded by zeros, such as a mask of attention, may be said to look further than it does.

    Args:
        model: from a waveform ``(1, time)`` to a tensor ``(..., time)``: enhanced, or several sources.
        sample_rate: of the waveform, in Hz.
        time_limit: seconds of computation, roughly. Where they do not suffice, fewer places are tried and the signal
            of 4 s is left out. None: no limit.

    Raises:
        ShapeError: the output is no waveform, or its length is not about that of the input.
        AudioZENError: the output is not finite or does not depend on the input; or the limit is too short, and the
            text says how far the model looks at least.

    >>> look_ahead(nn.Identity(), sample_rate=16000)
    LookAhead(samples=0, sample_rate=16000)
    """
    model = copy_with(model, _to_double)
    with torch.no_grad(), torch.random.fork_rng(devices=[]), _double_by_default():
        return LookAhead(_samples_ahead(model, sample_rate, _Watch(time_limit)), sample_rate)


def _samples_ahead(model: nn.Module, sample_rate: int, watch: _Watch) -> int | None:
    """With longer and longer signals, until a change does not reach the beginning; None if it always does."""
    reach = 0
    for number, seconds in enumerate(SECONDS):
        if number and watch.lasts_too_long(seconds / SECONDS[number - 1]):
            if number > 1:
                break
            raise AudioZENError(
                f"it is more than {1000 * reach / sample_rate:.0f} ms; to see how far it goes "
                f"would take longer than {watch.limit:.1f} s"
            )
        changes = _most_revealing(model, int(seconds * sample_rate))
        samples = None if changes.reach_unseen() else _furthest(changes, watch)
        if samples is not None:
            return samples
        reach = changes.late - changes.first_change(changes.late)
    if changes.show_nothing():
        raise AudioZENError("the output does not depend on the input")
    return None


class _Watch:
    """Knows how much time is left."""

    def __init__(self, limit: float | None) -> None:
        self.limit = float("inf") if limit is None else limit
        self.start = time.perf_counter()

    @property
    def elapsed(self) -> float:
        return time.perf_counter() - self.start

    def lasts_too_long(self, times: float = 0.0) -> bool:
        """Whether the limit would be over after some times what was done until now."""
        return self.elapsed * (1 + times) > self.limit


class _Changes:
    """Where the output of a model changes when its input is another one from some sample on.

    Args:
        model: in float64 and evaluation mode.
        signal: shape ``(1, time)``.
        other: what the signal is changed to, of the same shape.
        output: of the model for ``signal``, shape ``(channels, time)``.
    """

    def __init__(self, model: nn.Module, signal: Tensor, other: Tensor, output: Tensor) -> None:
        self.model, self.signal, self.other, self.output = model, signal, other, output
        self.length = signal.shape[-1]
        self.late = self.length * 3 // 4
        self.peak = output.abs().max()
        self.found: dict[int, tuple[int, int]] = {}

    def first_change(self, start: int, *, clear: bool = False) -> int:
        """The first sample of the output that differs if the input does from ``start`` on; the length if none does.

        Args:
            start: sample of the input.
            clear: whether only a difference far above rounding counts.
        """
        if start not in self.found:
            changed = torch.cat([self.signal[:, :start], self.other[:, start:]], -1)
            difference = (_run(self.model, changed) - self.output).abs().amax(0)
            self.found[start] = self._first(difference, THRESHOLD), self._first(difference, CLEAR)
        return self.found[start][clear]

    def _first(self, difference: Tensor, threshold: float) -> int:
        # The other way round, NaN would be no difference.
        changed = (~(difference <= threshold * self.peak)).nonzero()
        return int(changed[0]) if len(changed) else self.length

    def fade(self) -> bool:
        """Whether they become gradually weaker towards earlier samples, over much of their reach."""
        first = self.first_change(self.late)
        return self.first_change(self.late, clear=True) - first > 0.1 * max(0, self.late - first)

    def show_nothing(self) -> bool:
        """Whether the output stays as it is when all of the input changes."""
        return self.first_change(self.late) == self.length == self.first_change(0)

    def reach_unseen(self) -> bool:
        """Whether a change of the end shows near the beginning, or none shows at all: the signal is too short."""
        return self.first_change(self.late) < self.length // 8 or self.show_nothing()

    def last_dependence(self, sample: int, known: int) -> int:
        """The last sample of the input that shows at ``sample`` of the output or before. ``known`` does."""
        step = 1
        while known + step < self.length and self.first_change(known + step) <= sample:
            known += step
            step *= 2
        beyond = min(known + step, self.length)
        while beyond - known > 1:
            middle = (known + beyond) // 2
            if self.first_change(middle) <= sample:
                known = middle
            else:
                beyond = middle
        return known


def _most_revealing(model: nn.Module, length: int) -> _Changes:
    """Changes from noise to other noise; or to NaN, where that shows further."""
    generator = torch.Generator().manual_seed(0)
    noise, other = torch.randn(2, 1, length, generator=generator, dtype=torch.float64)
    output = _run(model, RMS * noise)
    if not output.isfinite().all():
        raise AudioZENError("the output for noise is not finite")
    changes = _Changes(model, RMS * noise, OTHER_RMS * other, output)
    if not changes.fade():
        return changes
    spreading = _Changes(model, RMS * noise, torch.full_like(noise, torch.nan), output)
    return min(changes, spreading, key=lambda each: each.first_change(each.late))


def _run(model: nn.Module, signal: Tensor) -> Tensor:
    """The output ``(channels, time)``, with the same random numbers each time."""
    torch.default_generator.manual_seed(0)
    output = model(signal)
    if not isinstance(output, Tensor) or not 0.9 < sum(output.shape[-1:]) / signal.shape[-1] < 1.1:
        kind = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ShapeError(
            f"a waveform of shape {tuple(signal.shape)} became {kind}; expected (..., time) with "
            "about as many samples"
        )
    return output.reshape(-1, output.shape[-1])


def _furthest(changes: _Changes, watch: _Watch) -> int | None:
    """The largest look-ahead of several samples of the output; None if all of them look at the end of the changes."""
    furthest = None
    for number in range(NUM_PLACES):
        # Multiples of the golden ratio are spread evenly, whatever the grid.
        start = int(changes.late - number * 0.618034 % 1 * changes.length / 4)
        sample = changes.first_change(start)
        last = changes.last_dependence(sample, max(start, sample + (furthest or 0)))
        if last != changes.length - 1:
            furthest = max(furthest or 0, last - sample)
        if watch.lasts_too_long():
            break
    return furthest


def _to_double(tensor: Tensor) -> Tensor:
    if tensor.is_complex():
        return tensor.to("cpu", torch.complex128, copy=True)
    dtype = torch.float64 if tensor.is_floating_point() else tensor.dtype
    return tensor.to("cpu", dtype, copy=True)


@contextmanager
def _double_by_default() -> Iterator[None]:
    """For tensors that a model makes without saying of what type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
