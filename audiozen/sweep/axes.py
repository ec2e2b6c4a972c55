"""Axes of a plot: where values lie, and which are written beside it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_LABEL = 14
"""Characters."""


class Axis(NamedTuple):
    """Places of values along one direction."""

    place: Callable[[Any], float]
    """Of a value: 0 at the beginning of the axis, 1 at its end."""
    ticks: list[tuple[float, str]]
    """Places that are marked, and what stands there."""


def linear_axis(low: float, high: float) -> Axis:
    """Numbers from ``low`` to ``high``."""
    span = (high - low) or 1.0
    ticks = [value for value in _round_numbers(low, span) if low <= value <= high]
    return Axis(
        lambda value: (value - low) / span,
        [((value - low) / span, f"{value:.6g}") for value in ticks],
    )


def log_axis(low: float, high: float) -> Axis:
    """Positive numbers from ``low`` to ``high``, each order of magnitude of the same length."""
    span = math.log(high / low)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1,) if high / low >= 100 else (1, 2, 5)
    values = [float(f"{factor}e{decade}") for decade in decades for factor in factors]
    return Axis(
        lambda value: math.log(value / low) / span,
        [
            (math.log(value / low) / span, f"{value:.6g}")
            for value in values
            if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)
        ],
    )


def choice_axis(choices: Sequence[Any], labels: Sequence[str]) -> Axis:
    """Some values, each with the same room."""
    places = [(number + 0.5) / len(choices) for number in range(len(choices))]
    cut = [label if len(label) <= MAX_LABEL else f"{label[: MAX_LABEL - 1]}…" for label in labels]
    return Axis(lambda value: places[choices.index(value)], list(zip(places, cut)))


def _round_numbers(low: float, span: float) -> list[float]:
    """About four multiples of 1, 2 or 5 times a power of ten from ``low`` on.

    >>> [round(number, 6) for number in _round_numbers(0.13, 0.6)]
    [0.2, 0.4, 0.6]
    """
    power = 10.0 ** math.floor(math.log10(span / 3))
    step = power * max(factor for factor in (1, 2, 5) if factor * power <= span / 3 * (1 + 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round((first + number) * step, 12) for number in range(math.floor(span / step) + 1)]
