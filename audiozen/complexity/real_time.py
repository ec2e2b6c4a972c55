"""How long a model computes for a second of audio, on this machine."""

from __future__ import annotations

import platform
import statistics
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from audiozen.complexity._copies import evaluating
from audiozen.streaming import stream_through

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

WARM_UP_SECONDS = 0.25
"""Of audio. Goes through the model twice before anything counts."""


def real_time_factor(
    model: nn.Module,
    sample_rate: int,
    *,
    num_threads: int = 1,
    seconds: float = 10.0,
    repeats: int = 5,
    time_limit: float | None = None,
) -> float:
    """Seconds of computation per second of audio, for a whole signal at once. Lower is better; below 1 is real time.

    The median of several runs on noise, batch 1, after a warm-up, in evaluation mode and without gradients, on the
    device of the model. Reading, writing and resampling are not in it.

    Args:
        model: called with a waveform ``(1, time)``.
        sample_rate: of the waveform, in Hz.
        num_threads: of PyTorch on the CPU; what was set before comes back.
        seconds: of audio in each run.
        repeats: runs.
        time_limit: seconds of computation, roughly; where it does not suffice, runs are shorter and fewer.
    """
    with _measuring(model, num_threads):
        return _factor(model, model, sample_rate, seconds, repeats, time_limit)


def streaming_real_time_factor(
    model: nn.Module,
    sample_rate: int,
    *,
    num_threads: int = 1,
    seconds: float = 10.0,
    repeats: int = 5,
    time_limit: float | None = None,
) -> float:
    """As :func:`real_time_factor`, chunk by chunk, each of one hop: what a model needs that answers at once.

    Args:
        model: one that is :class:`~audiozen.streaming.Streaming`.
        sample_rate: of the waveform, in Hz.
        num_threads: of PyTorch on the CPU; what was set before comes back.
        seconds: of audio in each run.
        repeats: runs.
        time_limit: seconds of computation, roughly; where it does not suffice, runs are shorter and fewer.
    """
    with _measuring(model, num_threads):
        streaming: Any = model
        run = partial(stream_through, streaming)
        return _factor(run, model, sample_rate, seconds, repeats, time_limit)


def cpu_name() -> str:
    """The model of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _factor(
    run: Callable[[Tensor], object],
    model: nn.Module,
    sample_rate: int,
    seconds: float,
    repeats: int,
    time_limit: float | None,
) -> float:
    start = time.perf_counter()
    device = next((weight.device for weight in model.parameters()), torch.device("cpu"))

    def measure(seconds: float) -> float:
        noise = 0.1 * torch.randn(1, max(1, round(seconds * sample_rate)), device=device)
        begin = time.perf_counter()
        run(noise)
        if device.type != "cpu":
            torch.accelerator.synchronize()
        return (time.perf_counter() - begin) / seconds

    factor = [measure(WARM_UP_SECONDS) for _ in range(2)][-1]
    if time_limit is not None:
        seconds = min(seconds, max(WARM_UP_SECONDS, time_limit / (repeats * factor)))
    factors = []
    for _ in range(repeats):
        factors.append(measure(seconds))
        if time_limit is not None and time.perf_counter() - start > time_limit:
            break
    return statistics.median(factors)


@contextmanager
def _measuring(model: nn.Module, num_threads: int) -> Iterator[None]:
    """Ready to be timed; threads, mode and random numbers come back."""
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad(), evaluating(model):
            yield
    finally:
        torch.set_num_threads(before)
