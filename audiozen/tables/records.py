"""What a record is: one signal, with labels, facts, metrics and the reasons why some of these failed."""

from __future__ import annotations

import difflib
import math
from typing import TYPE_CHECKING, Any

from audiozen.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ERROR = "__error"
"""``<metric>__error`` is the reason why a metric failed."""
NOISY = "_noisy"
"""``<metric>_noisy`` is the metric of what went into the model."""
FACTS = ("duration", "snr_db", "level_dbfs", "trimmed")
"""Numbers that say something about the signal, and nothing about how good the model is."""
UNLABELLED = "-"
"""What stands for a label that is missing."""


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
