from __future__ import annotations

import math

import numpy as np
import pytest

from audiozen.errors import RequestError
from audiozen.tables.records import label_text, labels_of, metrics_of, refuse_unknown

RECORDS = [
    {"id": "a", "noise": "cafe", "snr_db": 5.0, "stoi": None, "trimmed": 3.0},
    {"id": "b", "stoi": math.nan, "stoi__error": "odd", "pesq__error": "crashed"},
]


def test_metrics_are_numbers_that_are_no_facts_and_what_has_nothing_but_reasons() -> None:
    assert metrics_of(RECORDS) == ["stoi", "pesq"]


def test_labels_are_all_others() -> None:
    assert labels_of(RECORDS) == ["id", "noise", "snr_db", "trimmed"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", "x"),
        (0.1 + 0.2, "0.3"),
        (np.float32(2.5), "2.5"),
        (-5, "-5"),
        (True, "1"),
        ("", "-"),
        (None, "-"),
        (math.nan, "-"),
    ],
)
def test_label_is_text_as_people_write_it(value: object, text: str) -> None:
    assert label_text(value) == text


def test_unknown_name_is_refused_with_the_nearest_and_all() -> None:
    refuse_unknown("metric", ["stoi"], ["stoi", "pesq"])
    with pytest.raises(RequestError, match=r"no metric 'zzz'; there are stoi, pesq$"):
        refuse_unknown("metric", ["stoi", "zzz"], ["stoi", "pesq"])
    with pytest.raises(RequestError, match="no metric 'x'; there are none at all"):
        refuse_unknown("metric", ["x"], [])
