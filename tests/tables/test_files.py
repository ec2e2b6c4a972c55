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

from audiozen.errors import AudioZENError, RequestError
from audiozen.tables.files import read_csv, read_table, write_csv, write_table

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


def test_ids_of_a_spreadsheet_stay_as_they_are(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("id,snr\n001,5\n002,-5\n")
    assert read_csv(path) == [{"id": "001", "snr": 5.0}, {"id": "002", "snr": -5.0}]


@pytest.mark.parametrize("content", [b"id\n\xff\xfe\n", b'"id"\n' + b"x" * 200_000 + b"\n"])
def test_what_is_no_table_is_refused(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(AudioZENError, match=r"test\.csv is not a table in UTF-8"):
        read_csv(path)


@pytest.mark.parametrize(("name", "start"), [("a.csv", '"id","x"'), ("A.JSONL", '{"id": "1"')])
def test_ending_of_the_name_says_the_format(tmp_path: Path, name: str, start: str) -> None:
    records = [{"id": "1", "x": 0.1}, {"id": "2", "x": 3.0}]
    write_table(tmp_path / name, records)
    assert (tmp_path / name).read_text().startswith(start)
    assert read_table(tmp_path / name) == records


@pytest.mark.parametrize("name", ["a.txt", "a", "a.json"])
def test_other_endings_are_refused(tmp_path: Path, name: str) -> None:
    for call in (read_table, lambda path: write_table(path, [])):
        with pytest.raises(RequestError, match=r"a table is called \.csv or \.jsonl"):
            call(tmp_path / name)
