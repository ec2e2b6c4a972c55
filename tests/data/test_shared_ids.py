"""Signals that validation and test share."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from torch.utils.data import Subset

from audiozen.data.shared_ids import ids_of, shared_ids, warning_of


class Listed:
    ids = ("a", "b", "c")


class OfManifest:
    entries = (SimpleNamespace(id="a"), SimpleNamespace(id="b"))


class Silent:
    entries = (1, 2)


@pytest.mark.parametrize(
    ("dataset", "ids"),
    [
        (Listed(), ["a", "b", "c"]),
        (OfManifest(), ["a", "b"]),
        (Silent(), None),
        (object(), None),
        (Subset(Listed(), [2, 0]), ["c", "a"]),
        (Subset(object(), [2, 0]), None),
    ],
)
def test_ids_are_those_that_the_dataset_tells(dataset, ids):
    assert ids_of(dataset) == ids


def test_numbers_of_signals_are_no_ids():
    assert shared_ids(["0", "1"], ["0", "1", "2"]) == []
    assert shared_ids(["0", "1", "7"], ["1", "7"]) == ["1", "7"]


def test_warning_counts_and_names_them():
    text = warning_of(["a", "b", "c", "d"], 20)
    assert "4 of 20 test signals are validation signals as well (a, b, c, …)" in text
