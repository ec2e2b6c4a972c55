"""The trials of a sweep as people read them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from audiozen.sweep.entries import DONE
from audiozen.sweep.space import short
from audiozen.tables.layout import LAYOUTS, row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from audiozen.sweep.entries import Entry
    from audiozen.sweep.plan import Plan

NUM_LABELS = 3
"""Columns from the left that are text."""


def format_entries(entries: Sequence[Entry], plan: Plan) -> str:
    """A table with a row per trial, and below it why trials have failed; without a line break at the end.

    Args:
        entries: in the order in which they are to stand.
        plan: what was tried.
    """
    names = short_names(list(plan.space))
    score = f"{plan.best_metric} {'↑' if plan.higher_is_better else '↓'}"
    header = ("rank", "trial", "state", score, *names.values(), "steps", "took")
    rows = [row(*header), *(row(*_cells(rank, one, names)) for rank, one in enumerate(entries, 1))]
    table = LAYOUTS["text"].table(told(entries), rows, NUM_LABELS)
    reasons = [f"  {entry.name}: {entry.reason}" for entry in entries if entry.reason]
    return "\n".join([*table, *(["", *reasons] if reasons else [])])


def told(entries: Sequence[Entry]) -> str:
    """How many trials there are, by their state."""
    states = [entry.state for entry in entries]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    return f"{len(entries)} trial{'' if len(entries) == 1 else 's'}: {counts}"


def format_importance(importance: Mapping[str, float]) -> str:
    """Shares of the settings, on one line."""
    shares = ", ".join(f"{key} {share:.2f}" for key, share in importance.items())
    return f"importance: {shares}"


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Keys with as many of their last parts as tell them apart.

    >>> short_names(["optimizer.args.lr", "model.args.size", "loss.args.size"])
    {'optimizer.args.lr': 'lr', 'model.args.size': 'model.args.size', 'loss.args.size': 'loss.args.size'}
    """

    def name(key: str) -> str:
        parts = key.split(".")
        endings = (".".join(parts[-num:]) for num in range(1, len(parts)))
        return next((end for end in endings if _is_of_one(end, keys)), key)

    return {key: name(key) for key in keys}


def _is_of_one(ending: str, keys: Sequence[str]) -> bool:
    return sum(f".{key}".endswith(f".{ending}") for key in keys) == 1


def _cells(rank: int, entry: Entry, names: Mapping[str, str]) -> list[str]:
    values: list[Any] = [entry.values.get(key, "") for key in names]
    return [
        str(rank) if entry.state == DONE else "",
        entry.name,
        entry.state,
        "" if entry.score is None else f"{entry.score:.4f}",
        *(value if isinstance(value, str) else short(value) for value in values),
        "" if entry.steps is None else str(entry.steps),
        "" if entry.seconds is None else str(timedelta(seconds=round(entry.seconds))),
    ]
