from __future__ import annotations

import csv
import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audiozen.errors import AudioZENError
from audiozen.tables.files import read_csv, write_csv
from audiozen.tables.summary import Summary, summarise
from audiozen.tables.text import format_summary

NAN = math.nan


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics" / "test.csv"


def test_file_is_plain_csv_with_strings_quoted(path: Path) -> None:
    write_csv(path, [{"id": 'a "b", c', "si_sdr": 0.1, "n": 3}, {"id": "001", "stoi": NAN}])
    assert path.read_text() == ('"id","si_sdr","n","stoi"\n"a ""b"", c",0.1,3,\n"001",,,nan\n')


def test_columns_keep_the_order_in_which_they_appear(path: Path) -> None:
    write_csv(path, [{"id": "a", "z": 1.0}, {"a": 2.0, "id": "b"}])
    assert list(read_csv(path)[0]) == ["id", "z", "a"]


def test_labels_that_look_like_numbers_stay_labels(path: Path) -> None:
    write_csv(path, [{"id": "001", "speaker": "nan", "score": 1.0}])
    assert read_csv(path) == [{"id": "001", "speaker": "nan", "score": 1.0}]


def test_missing_values_are_none(path: Path) -> None:
    write_csv(path, [{"a": 1.0, "b": None}, {"b": "x"}])
    assert read_csv(path) == [{"a": 1.0, "b": None}, {"a": None, "b": "x"}]


def test_numbers_of_numpy_and_torch_and_bools_are_numbers(path: Path) -> None:
    record = {"a": np.float32(0.1), "b": torch.tensor(0.5), "c": True, "d": np.int64(3)}
    write_csv(path, [record])
    assert read_csv(path) == [{"a": float(np.float32(0.1)), "b": 0.5, "c": 1.0, "d": 3.0}]


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=5)
cells = st.floats() | st.none() | names


@given(st.lists(st.fixed_dictionaries({"id": names, "ä,": cells, "b": cells}), max_size=4))
@settings(max_examples=60, deadline=None)
def test_any_records_come_back_to_the_bit(records: list[dict[str, object]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        write_csv(path, records)
        read = read_csv(path)
    assert [sorted(map(repr, row.items())) for row in read] == [
        sorted(map(repr, record.items())) for record in records
    ]


def test_no_records_make_an_empty_table(path: Path) -> None:
    write_csv(path, [])
    assert read_csv(path) == []


def test_table_is_replaced_as_a_whole_or_not_at_all(path: Path) -> None:
    write_csv(path, [{"a": 1.0}])
    with pytest.raises(AudioZENError, match=r"test\.csv, column a: \[1, 2\] is not a string"):
        write_csv(path, [{"a": 2.0}, {"a": [1, 2]}])
    assert read_csv(path) == [{"a": 1.0}]
    with path.open() as old:
        write_csv(path, [{"a": 3.0}])
        assert "1.0" in old.read()
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("value", [torch.ones(2), np.ones(2), np.ones(0), {"x": 1}, b"x"])
def test_values_that_are_not_one_per_signal_are_refused(path: Path, value: object) -> None:
    with pytest.raises(AudioZENError, match=r"column a: .* give one value per signal"):
        write_csv(path, [{"a": value}])


def test_tables_of_a_spreadsheet_are_read(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("\ufeffid,score,mixed\r\nx01,1.5,1\r\nx02,,b\r\n\r\n")
    assert read_csv(path) == [
        {"id": "x01", "score": 1.5, "mixed": "1"},
        {"id": "x02", "score": None, "mixed": "b"},
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('"a","b"\n1,2\n1\n', "record 2: 1 cells for 2 columns"),
        ("a,b\nx,2\nx\n", "record 2: 1 cells for 2 columns"),
        ('"a","a"\n1,2\n', "column 'a' appears twice"),
    ],
)
def test_tables_that_do_not_fit_are_refused(path: Path, text: str, problem: str) -> None:
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(AudioZENError, match=rf"test\.csv.*{problem}"):
        read_csv(path)


def test_missing_table_is_named(path: Path) -> None:
    with pytest.raises(AudioZENError, match=r"test\.csv: no such file"):
        read_csv(path)


def test_python_s_own_reader_agrees(path: Path) -> None:
    write_csv(path, [{"id": "a\nb", "x": -0.0}])
    with path.open(newline="") as file:
        assert list(csv.DictReader(file)) == [{"id": "a\nb", "x": "-0.0"}]


def test_summary_is_the_mean_over_signals_that_have_a_value() -> None:
    records = [{"id": "a", "x": 1.0}, {"id": "b", "x": NAN}, {"id": "c", "x": 4.0}]
    assert summarise(records) == {"x": Summary(2.5, 2, 1, {"no reason given": 1})}


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


def test_summary_of_a_file_equals_that_of_its_records(path: Path) -> None:
    records = [{"id": "1", "x": 0.1, "x__error": None}, {"id": "2", "x": NAN, "x__error": "odd"}]
    write_csv(path, records)
    assert summarise(read_csv(path)) == summarise(records)


SUMMARY = {
    "si_sdr": Summary(15.2345, 824, 0),
    "si_sdr_noisy": Summary(8.4471, 824, 0),
    "pesq_wb": Summary(2.7123, 822, 2, {"no_utterance": 2}),
    "pesq_wb_noisy": Summary(1.9731, 823, 1, {"no_utterance": 1}),
    "stoi": Summary(0.9402, 824, 0),
    "stoi_noisy": Summary(0.9213, 824, 0),
    "loss": Summary(0.01234567, 824, 0),
}


def test_noisy_and_enhanced_stand_in_one_row() -> None:
    assert format_summary("test, 824 signals", SUMMARY).splitlines() == [
        "test, 824 signals",
        "",
        "metric     noisy  enhanced  difference    n  failed",
        "───────────────────────────────────────────────────",
        "si_sdr     8.45     15.23       +6.79   824",
        "pesq_wb   1.973†    2.712†     +0.739†  822       2",
        "stoi     0.9213    0.9402     +0.0189   824",
        "loss              0.01235               824",
        "",
        "† mean over the other signals. Failed:",
        "  pesq_wb: no_utterance (2)",
        "  pesq_wb_noisy: no_utterance (1)",
    ]


def test_markdown_is_a_table_with_the_same_cells() -> None:
    assert format_summary("test", SUMMARY, markdown=True).splitlines()[:6] == [
        "### test",
        "",
        "| metric | noisy | enhanced | difference | n | failed |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        "| si_sdr | 8.45 | 15.23 | +6.79 | 824 |  |",
        "| pesq_wb | 1.973† | 2.712† | +0.739† | 822 | 2 |",
    ]


def test_without_noisy_partners_there_is_one_value() -> None:
    summary = {"accuracy": Summary(0.5, 10, 0), "x_noisy": Summary(NAN, 0, 10, {"odd|even": 10})}
    assert format_summary("valid", summary).splitlines() == [
        "valid",
        "",
        "metric       mean   n  failed",
        "─────────────────────────────",
        "accuracy  0.5000   10",
        "x_noisy        -†   0      10",
        "",
        "† mean over the other signals. Failed:",
        "  x_noisy: odd|even (10)",
    ]


@pytest.mark.parametrize(
    ("mean", "text"),
    [
        (0.0, "0.000"),
        (-15.234, "-15.23"),
        (1234.5678, "1235"),
        (0.00123456, "0.001235"),
        (1.5e-9, "1.500e-09"),
        (2e12, "2.000e+12"),
        (math.inf, "inf"),
    ],
)
def test_values_have_four_digits(mean: float, text: str) -> None:
    lines = format_summary("t", {"x": Summary(mean, 1, 0)}).splitlines()
    assert lines[-1].split()[1] == text


def test_long_tables_fit_into_a_page() -> None:
    names = ["dnsmos_p835_overall", "composite_csig", "si_sdr_improvement_all"]
    summary = {}
    for name in names:
        summary[name] = Summary(-123.456, 100_000, 5, {"silent_reference": 5})
        summary[name + "_noisy"] = Summary(-1.5, 100_000, 0)
    assert max(map(len, format_summary("t", summary).splitlines())) <= 80


def test_no_metrics_are_said() -> None:
    assert format_summary("test", {}) == "test\n\nno metrics"
