"""Signals that stand in two lists: a model that is chosen by its test signals has been fitted to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

NUM_NAMES = 3


def ids_of(dataset: Any) -> list[str] | None:
    """Ids of the samples of a dataset; None where it does not say.

    Looked for are an attribute ``ids``, and entries of a manifest in ``entries``. Of a ``Subset``, those that it takes.
    """
    if hasattr(dataset, "dataset") and hasattr(dataset, "indices"):
        whole = ids_of(dataset.dataset)
        return None if whole is None else [whole[index] for index in dataset.indices]
    ids: Any = getattr(dataset, "ids", None)
    if ids is None:
        ids = [getattr(entry, "id", None) for entry in getattr(dataset, "entries", ())]
    is_list = isinstance(ids, Sequence) and len(ids) > 0
    return [str(each) for each in ids] if is_list and None not in ids else None


def shared_ids(validation: Iterable[str], test: Iterable[str]) -> list[str]:
    """Ids in both, sorted. Ids that are nothing but the numbers of the signals say nothing.

    >>> shared_ids(["p232_001", "p232_002"], ["p232_002", "p257_001"])
    ['p232_002']
    >>> shared_ids(["0", "1", "2"], ["0", "1"])
    []
    """
    validation, test = set(validation), set(test)
    if _are_numbers(validation) or _are_numbers(test):
        return []
    return sorted(validation & test)


def warning_of(shared: Sequence[str], num_test: int) -> str:
    """What to say about ids that validation and test share."""
    names = ", ".join(shared[:NUM_NAMES]) + (", …" if len(shared) > NUM_NAMES else "")
    return (
        f"{len(shared)} of {num_test} test signals are validation signals as well ({names}): the best checkpoint is "
        "chosen by them, so their test scores are too good; take them out of one of the two"
    )


def _are_numbers(ids: set[str]) -> bool:
    return ids == {str(number) for number in range(len(ids))}
