from __future__ import annotations

import math
import statistics
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiozen.errors import RequestError
from audiozen.tables.files import read_csv, write_csv
from audiozen.tables.summary import Summary, group_by, summarise, summarise_by

NAN = math.nan


def test_summary_is_the_mean_over_signals_that_have_a_value() -> None:
    records = [{"id": "a", "x": 1.0}, {"id": "b", "x": NAN}, {"id": "c", "x": 4.0}]
    std = math.sqrt(4.5)
    assert summarise(records) == {"x": Summary(2.5, 2, 1, {"no reason given": 1}, std)}


def test_reasons_are_counted_most_frequent_first() -> None:
    records = [
        {"pesq": NAN, "pesq__error": "no_utterance"},
        {"pesq": NAN, "pesq__error": "silent"},
        {"pesq": None, "pesq__error": "silent"},
        {"pesq": 2.0, "pesq__error": None},
        {"pesq": None, "pesq__error": None},
    ]
    summary = summarise(records)["pesq"]
    assert (summary.mean, summary.num, summary.num_failed) == (2.0, 1, 3)
    assert list(summary.reasons.items()) == [("silent", 2), ("no_utterance", 1)]


def test_metric_that_failed_everywhere_has_mean_nan() -> None:
    summary = summarise([{"stoi": NAN}, {"stoi": NAN}])["stoi"]
    assert math.isnan(summary.mean)
    assert (summary.num, summary.num_failed) == (0, 2)
    only_reasons = summarise([{"pesq__error": "silent"}])["pesq"]
    assert (only_reasons.num, only_reasons.num_failed) == (0, 1)


def test_labels_and_reasons_are_not_metrics() -> None:
    records = [{"id": "a", "noise": "cafe", "x": 1.0, "y": True, "x__error": None}]
    assert list(summarise(records)) == ["x", "y"]


def test_infinity_is_a_value() -> None:
    assert summarise([{"x": math.inf}, {"x": 1.0}])["x"].mean == math.inf
    assert math.isnan(summarise([{"x": math.inf}, {"x": -math.inf}])["x"].mean)


def test_summary_of_a_file_equals_that_of_its_records(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    records = [{"id": "1", "x": 0.1, "x__error": None}, {"id": "2", "x": NAN, "x__error": "odd"}]
    records.append({"id": "3", "x": 0.7, "x__error": None})
    write_csv(path, records)
    assert summarise(read_csv(path)) == summarise(records)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20))
def test_standard_deviation_is_that_of_a_sample(values: list[float]) -> None:
    std = summarise([{"x": value} for value in values])["x"].std
    assert std == pytest.approx(statistics.stdev(values), rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("values", [[1.0], [1.0, NAN], [], [math.inf, 1.0]])
def test_standard_deviation_of_less_than_two_values_is_nan(values: list[float]) -> None:
    records = [{"x": value} for value in values] or [{"x__error": "odd"}]
    assert math.isnan(summarise(records)["x"].std)


def test_groups_stand_in_natural_order() -> None:
    labels = ["15", "-5", "talker 10", 2.5, "0", "talker 2", None, "-5"]
    records = [{"id": str(index), "label": label} for index, label in enumerate(labels)]
    groups = group_by(records, ["label"])
    assert [key for (key,) in groups] == ["-5", "0", "2.5", "15", "talker 2", "talker 10", "-"]
    assert [record["id"] for record in groups["-5",]] == ["1", "7"]


def test_number_and_text_of_a_number_are_the_same_label() -> None:
    records = [{"snr_db": 5.0}, {"snr_db": "5"}, {"snr_db": 5}]
    assert list(group_by(records, ["snr_db"])) == [("5",)]


def test_missing_label_is_one_group_however_it_is_missing() -> None:
    records = [{"noise": None}, {}, {"noise": ""}, {"noise": NAN}, {"noise": "-"}]
    assert list(group_by(records, ["noise"])) == [("-",)]


def test_each_group_has_its_summaries() -> None:
    records = [
        {"noise": "b", "snr": "0", "x": 1.0},
        {"noise": "a", "snr": "0", "x": 2.0},
        {"noise": "a", "snr": "0", "x": NAN, "x__error": "odd"},
        {"noise": "a", "snr": "0", "x": 4.0},
        {"noise": "a", "snr": "-5", "x": 4.0},
    ]
    groups = summarise_by(records, ["noise", "snr"])
    assert list(groups) == [("a", "-5"), ("a", "0"), ("b", "0")]
    assert groups["a", "0"] == {"x": Summary(3.0, 2, 1, {"odd": 1}, math.sqrt(2))}


def test_unknown_column_is_refused_with_those_that_are_there() -> None:
    records = [{"id": "a", "noise_type": "cafe", "snr_db": 0.0, "x": 1.0, "x__error": None}]
    with pytest.raises(RequestError) as caught:
        group_by(records, ["noise_typ"])
    assert str(caught.value) == (
        "no column 'noise_typ'; did you mean 'noise_type'? there are id, noise_type, snr_db"
    )
