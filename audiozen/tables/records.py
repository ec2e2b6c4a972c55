"""What a record is: one signal, with labels, facts, metrics and the reasons why some of these failed."""

from __future__ import annotations

import difflib
import math
from typing import TYPE_CHECKING, Any, TypeAlias

from audiozen.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Value: TypeAlias = str | float | None
"""A cell: a label, a number, or nothing."""

ERROR = "__error"
"""``<metric>__error`` is the reason why a metric failed."""
NOISY = "_noisy"
"""``<metric>_noisy`` is the metric of what went into the model."""
IMPROVEMENT = "_i"
"""``<metric>_i`` is the difference of the metric to that of what went into the model."""
FACTS = ("duration", "snr_db", "level_dbfs", "trimmed")
"""Numbers that say something about the signal, and nothing about how good the model is."""
UNLABELLED = "-"
"""What stands for a label that is missing."""
TOLERANCE = 1e-3
"""How far, absolutely or relatively, the scores of the same input differ at most from one machine to another."""


def columns_of(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """All columns, in the order in which they first appear."""
    return list(dict.fromkeys(column for record in records for column in record))


def metrics_of(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns that are metrics: with a number in them that is no fact, or with nothing but reasons."""
    return list(
        dict.fromkeys(
            column.removesuffix(ERROR)
            for column in columns_of(records)
            if column not in FACTS
            and (column.endswith(ERROR) or any(is_number(record.get(column)) for record in records))
        )
    )


def labels_of(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns that are labels or facts."""
    metrics = set(metrics_of(records))
    return [column for column in columns_of(records) if column.removesuffix(ERROR) not in metrics]


def plain(value: Any) -> Any:
    """Numbers of NumPy and PyTorch as Python's."""
    return value.item() if getattr(value, "ndim", None) == 0 else value


def is_number(value: Any) -> bool:
    """Whether a cell is a number, NaN included."""
    return isinstance(plain(value), (bool, int, float))


def is_same_value(value: Any, other: Any) -> bool:
    """Whether two cells are the same, numbers but for the rounding of different machines; NaN is the same as NaN."""
    if not (is_number(value) and is_number(other)):
        return bool(value == other)
    first, second = float(plain(value)), float(plain(other))
    both_failed = math.isnan(first) and math.isnan(second)
    return both_failed or math.isclose(first, second, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def label_text(value: Any) -> str:
    """A label or fact as text; ``-`` where there is none.

    >>> [label_text(value) for value in ("cafe", -5.0, 2.5, None)]
    ['cafe', '-5', '2.5', '-']
    """
    value = plain(value)
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return UNLABELLED
    return f"{value:.12g}" if isinstance(value, (int, float)) else str(value)


def refuse_unknown(what: str, names: Iterable[str], there: Sequence[str]) -> None:
    """Refuse the first name that is not among those that exist.

    Raises:
        RequestError: with the nearest name, or all of them.
    """
    for name in names:
        if name not in there:
            near = difflib.get_close_matches(name, there, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise RequestError(
                f"no {what} {name!r}; {hint}there are {', '.join(there) or 'none at all'}"
            )
