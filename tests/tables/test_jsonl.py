from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audiozen.errors import AudioZENError
from audiozen.tables.jsonl import read_jsonl, write_jsonl

NAN = math.nan


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics" / "test.jsonl"


def test_line_is_an_object_and_strict_json(path: Path) -> None:
    write_jsonl(path, [{"id": "001", "x": NAN, "y": math.inf, "z": -math.inf, "n": None, "k": 3}])
    assert path.read_text() == '{"id": "001", "x": null, "y": 1e999, "z": -1e999, "k": 3}\n'

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads(path.read_text(), parse_constant=refuse)
    record = read_jsonl(path)[0]
    assert math.isnan(record.pop("x"))
    assert record == {"id": "001", "y": math.inf, "z": -math.inf, "k": 3.0}


def test_labels_that_look_like_numbers_stay_labels(path: Path) -> None:
    records = [{"id": "001", "speaker": "NaN", "place": "null", "x": 1.0}]
    write_jsonl(path, records)
    assert read_jsonl(path) == records


names = st.text(min_size=1, max_size=5)
numbers = st.floats() | st.none()
labels = names | st.none()


@given(
    st.lists(
        st.fixed_dictionaries(
            {"id": names, "ä,": numbers, "b\u2028": labels, "c": numbers | names}
        ),
        max_size=4,
    )
)
@settings(max_examples=60, deadline=None)
def test_any_records_come_back_to_the_bit(records: list[dict[str, object]]) -> None:
    # In a column of labels and NaN alone a null could be either; no table has one.
    mixed = [record["c"] for record in records]
    if any(isinstance(cell, str) for cell in mixed):
        for record in records:
            record["c"] = None if record["c"] != record["c"] else record["c"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.jsonl"
        write_jsonl(path, records)
        read = read_jsonl(path)
    assert [repr(sorted(without_none(row))) for row in read] == [
        repr(sorted(without_none(record))) for record in records
    ]


def without_none(record: dict[str, object]) -> list[tuple[str, str]]:
    return [(name, repr(value)) for name, value in record.items() if value is not None]


def test_every_record_has_every_column(path: Path) -> None:
    write_jsonl(path, [{"a": 1.0, "b": None}, {"b": "x"}])
    assert read_jsonl(path) == [{"a": 1.0, "b": None}, {"a": None, "b": "x"}]


def test_numbers_of_numpy_and_torch_and_bools_are_numbers(path: Path) -> None:
    write_jsonl(path, [{"a": np.float32(0.1), "b": torch.tensor(0.5), "c": True, "d": np.int64(3)}])
    assert read_jsonl(path) == [{"a": float(np.float32(0.1)), "b": 0.5, "c": 1.0, "d": 3.0}]


def test_null_of_others_is_empty_among_strings_and_nan_among_numbers(path: Path) -> None:
    path.parent.mkdir()
    path.write_text(
        '\ufeff{"x": 1, "x__error": null, "ok": true}\r\n\n{"x": null, "x__error": "odd"}'
    )
    first, second = read_jsonl(path)
    assert first == {"x": 1.0, "x__error": None, "ok": 1.0}
    assert math.isnan(second["x"])
    assert second["x__error"] == "odd"
    assert second["ok"] is None


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"a": 1', "line 2: Expecting"),
        ("[1, 2]", "line 2: not an object"),
        ('{"a": [1]}', "line 2: 'a' is not a string, a number or null"),
        ('{"a": 1, "a": 2}', "line 2: a key appears twice"),
        ('{"a": 1' + "0" * 400 + "}", "line 2: int too large"),
    ],
)
def test_lines_that_are_no_records_are_refused(path: Path, line: str, problem: str) -> None:
    path.parent.mkdir()
    path.write_text('{"a": 1}\n' + line + "\n")
    with pytest.raises(AudioZENError, match=rf"test\.jsonl, {problem}.*; write the table again"):
        read_jsonl(path)


def test_missing_file_and_other_encodings_are_refused(path: Path) -> None:
    with pytest.raises(AudioZENError, match=r"test\.jsonl: no such file"):
        read_jsonl(path)
    path.parent.mkdir()
    path.write_bytes(b'{"id": "\xff"}\n')
    with pytest.raises(AudioZENError, match="not a table in UTF-8"):
        read_jsonl(path)


def test_table_is_replaced_as_a_whole_or_not_at_all(path: Path) -> None:
    write_jsonl(path, [{"a": 1.0}])
    with pytest.raises(AudioZENError, match=r"test\.jsonl, column a: \[1, 2\] is not a string"):
        write_jsonl(path, [{"a": 2.0}, {"a": [1, 2]}])
    assert read_jsonl(path) == [{"a": 1.0}]
    assert list(path.parent.iterdir()) == [path]
