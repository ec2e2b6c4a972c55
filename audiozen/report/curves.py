"""What was logged while training, as curves that a page can draw."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Row = Mapping[str, Any]

Number: TypeAlias = float | str | None
"""As JSON takes it: None for NaN, ``"inf"`` and ``"-inf"``."""
MAX_POINTS = 2000
RESERVED = ("step", "epoch", "time")


@dataclass(frozen=True)
class Curve:
    """One scalar over the run. All lists have the same length."""

    name: str
    """As logged, such as ``train/loss``."""
    steps: list[int]
    epochs: list[float]
    """With the fraction of the epoch that had passed."""
    seconds: list[float]
    """Since the first row of the run."""
    values: list[Number]
    """None for NaN, which leaves a gap; ``"inf"`` and ``"-inf"``."""
    num_logged: int
    """Values before thinning out."""
    num_nonfinite: int
    first_nonfinite: int | None
    """Step of the first value that is NaN or infinite."""


def curves_of(rows: Sequence[Row]) -> list[Curve]:
    """One curve for each scalar in the rows of a ``metrics.jsonl``, in the order in which they first appear.

    Args:
        rows: as :func:`audiozen.tracking.jsonl.read_metrics` gives them.
    """
    ends = _ends_of_epochs(rows)
    names = dict.fromkeys(name for row in rows for name in row if name not in RESERVED)
    start = _seconds(rows[0]) if rows else 0.0
    return [_curve(name, [row for row in rows if name in row], ends, start) for name in names]


def number(value: float) -> Number:
    """A number as JSON takes it: six digits; None for NaN, and a word for an infinity."""
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return int(value) if value == int(value) and abs(value) < 1e15 else float(f"{value:.6g}")


def thin_out(values: np.ndarray[Any, Any], max_points: int = MAX_POINTS) -> np.ndarray[Any, Any]:
    """Indices of at most so many values that show all peaks: the least and the greatest of each stretch.

    The first value that is not finite in a stretch is kept too, so that gaps stay visible, and so are the first and
    the last of all.

    >>> thin_out(np.array([0.0, 1, 0, 0, 0, -5, 0, 0]), 5).tolist()
    [0, 1, 5, 7]
    """
    if len(values) <= max_points:
        return np.arange(len(values))
    stretches = np.array_split(np.arange(len(values)), max(1, (max_points - 2) // 3))
    kept = {0, len(values) - 1}
    for indices in stretches:
        finite = np.isfinite(values[indices])
        if finite.any():
            good = indices[finite]
            kept |= {int(good[values[good].argmin()]), int(good[values[good].argmax()])}
        if not finite.all():
            kept.add(int(indices[~finite][0]))
    return np.array(sorted(kept))


def _curve(name: str, rows: Sequence[Row], ends: Mapping[int, int], start: float) -> Curve:
    values = np.array([row[name] for row in rows], dtype=float)
    bad = np.flatnonzero(~np.isfinite(values))
    kept = [rows[index] for index in thin_out(values)]
    return Curve(
        name=name,
        steps=[row["step"] for row in kept],
        epochs=[round(_epoch(row, ends), 4) for row in kept],
        seconds=[round(_seconds(row) - start, 1) for row in kept],
        values=[number(row[name]) for row in kept],
        num_logged=len(rows),
        num_nonfinite=len(bad),
        first_nonfinite=rows[bad[0]]["step"] if len(bad) else None,
    )


def _ends_of_epochs(rows: Iterable[Row]) -> dict[int, int]:
    """The last step of each epoch; an epoch in progress is taken to be as long as the one before."""
    ends: dict[int, int] = {0: 0}
    for row in rows:
        epoch = int(row.get("epoch", 0))
        ends[epoch] = max(ends.get(epoch, 0), row["step"])
    last = max(ends)
    if last > 1 and {last - 1, last - 2} <= ends.keys():
        ends[last] = max(ends[last], 2 * ends[last - 1] - ends[last - 2])
    return ends


def _epoch(row: Row, ends: Mapping[int, int]) -> float:
    epoch = int(row.get("epoch", 0))
    if epoch < 1 or epoch - 1 not in ends:
        return float(epoch)
    length = ends[epoch] - ends[epoch - 1]
    return epoch - 1 + (row["step"] - ends[epoch - 1]) / length if length > 0 else float(epoch)


def _seconds(row: Row) -> float:
    try:
        return datetime.fromisoformat(str(row.get("time"))).timestamp()
    except ValueError:
        return 0.0
