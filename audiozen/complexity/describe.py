"""All that this package finds out about a model, in one table to write to a file."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from audiozen.complexity._copies import copy_with
from audiozen.complexity.look_ahead import look_ahead
from audiozen.complexity.macs import macs_per_second
from audiozen.complexity.parameters import count_parameters
from audiozen.complexity.real_time import cpu_name, real_time_factor, streaming_real_time_factor
from audiozen.errors import AudioZENError
from audiozen.streaming import Streaming

if TYPE_CHECKING:
    from collections.abc import Callable

NUM_THREADS = 1
TIME_LIMIT = 1.0
"""Seconds for each real-time factor, roughly."""
LOOK_AHEAD_TIME_LIMIT = 5.0
"""Seconds that only large models need."""


def describe(
    model: nn.Module,
    sample_rate: int | None,
    inputs: tuple[Any, ...] | None = None,
    *,
    explain: Callable[[Exception], str] | None = None,
) -> dict[str, Any]:
    """What a model costs and how late it answers, as plain values for a JSON file. Takes a few seconds at most.

    Never raises because of the model: what cannot be found out is None, and ``notes`` says why. Time and look-ahead
    are measured on the CPU, on a copy (time with one thread); the model and PyTorch's random numbers stay as they are.

    Args:
        model: any module.
        sample_rate: of the waveform that it takes, in Hz. None: it takes none, and only parameters are counted.
        inputs: what it is usually called with, to see whether it takes a waveform ``(batch, time)`` and nothing else.
            None: it is tried.
        explain: turns what was raised into the text of a note. None: type and text.

    Returns:
        ``parameters``, ``trainable``; ``macs_per_second``; ``look_ahead_samples`` (None also for the whole signal),
        ``looks_at_whole_signal``; ``latency_ms``, the algorithmic latency, in whole hops where the model streams;
        ``hop_length``, where it streams; ``real_time_factor``, offline, and ``real_time_factor_streaming``, frame by
        frame; ``num_threads`` and ``cpu``, with which these two were measured; ``notes``, a list of sentences.
    """
    notes: list[str] = []
    facts = dict.fromkeys(
        (
            "macs_per_second",
            "look_ahead_samples",
            "looks_at_whole_signal",
            "latency_ms",
            "hop_length",
            "real_time_factor",
            "real_time_factor_streaming",
        )
    )
    if sample_rate is None or not _is_waveform(inputs):
        notes.append("only parameters were counted, as the model does not take a waveform alone")
    else:
        attempt = partial(_attempt, notes, explain or _text)
        with torch.random.fork_rng(devices=[]):
            facts |= {"macs_per_second": attempt("MACs", macs_per_second, model, sample_rate)}
            on_cpu = attempt("copy", copy_with, model, _to_cpu)
            if on_cpu is not None:
                facts |= _timing(on_cpu, sample_rate, attempt)
    total, trainable = count_parameters(model)
    return {
        "parameters": total,
        "trainable": trainable,
        **facts,
        "num_threads": NUM_THREADS,
        "cpu": cpu_name(),
        "notes": notes,
    }


def _timing(model: nn.Module, sample_rate: int, attempt: Callable[..., Any]) -> dict[str, Any]:
    """Look-ahead and real-time factors."""
    settings = {"num_threads": NUM_THREADS, "time_limit": TIME_LIMIT}
    limit = LOOK_AHEAD_TIME_LIMIT
    ahead = attempt("look-ahead", look_ahead, model, sample_rate, time_limit=limit)
    offline = attempt("real-time factor", real_time_factor, model, sample_rate, **settings)
    streaming = hop_length = None
    if isinstance(model, Streaming):
        subject, measure = "real-time factor frame by frame", streaming_real_time_factor
        streaming = attempt(subject, measure, model, sample_rate, **settings)
        hop_length = None if streaming is None else model.hop_length
    return {
        "look_ahead_samples": ahead and ahead.samples,
        "looks_at_whole_signal": ahead and ahead.looks_at_whole_signal,
        "latency_ms": ahead and ahead.latency_ms(hop_length or 1),
        "hop_length": hop_length,
        "real_time_factor": offline,
        "real_time_factor_streaming": streaming,
    }


def _attempt(
    notes: list[str],
    explain: Callable[[Exception], str],
    subject: str,
    measure: Callable[..., Any],
    *arguments: Any,
    **settings: Any,
) -> Any:
    try:
        return measure(*arguments, **settings)
    except Exception as error:  # noqa: BLE001 - whatever a user's model raises
        notes.append(f"{subject}: {explain(error)}")
        return None


def _text(error: Exception) -> str:
    return str(error) if isinstance(error, AudioZENError) else f"{type(error).__name__}: {error}"


def _is_waveform(inputs: tuple[Any, ...] | None) -> bool:
    return inputs is None or (len(inputs) == 1 and getattr(inputs[0], "ndim", None) == 2)


def _to_cpu(tensor: Tensor) -> Tensor:
    return tensor.to("cpu", copy=True)
