"""What a record is: one signal, with labels, facts, metrics and the reasons why some of these failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ERROR = "__error"
"""``<metric>__error`` is the reason why a metric failed."""
NOISY = "_noisy"
"""``<metric>_noisy`` is the metric of what went into the model."""
FACTS = ("duration", "snr_db", "level_dbfs")
"""Numbers that say something about the signal, and nothing about how good the model is."""


def columns_of(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """All columns, in the order in which they first appear."""
    return list(dict.fromkeys(column for record in records for column in record))


def plain(value: Any) -> Any:
    """Numbers of NumPy and PyTorch as Python's."""
    return value.item() if getattr(value, "ndim", None) == 0 else value


def is_number(value: Any) -> bool:
    """Whether a cell is a number, NaN included."""
    return isinstance(plain(value), (bool, int, float))
