from __future__ import annotations

import math

import pytest

from audiozen.errors import RequestError
from audiozen.results.question import Question

NAN = math.nan


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("confidence", 0.2),
        ("confidence", 1.0),
        ("confidence", NAN),
        ("num_resamples", 10),
        ("seed", -1),
    ],
)
def test_settings_out_of_range_are_refused(setting: str, value: float) -> None:
    with pytest.raises(RequestError, match=f"{setting} is {value}; expected"):
        Question(**{setting: value})


def test_level_is_what_is_left_of_the_confidence() -> None:
    assert Question(confidence=0.75).level == 0.25
