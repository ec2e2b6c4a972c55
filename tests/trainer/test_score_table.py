from __future__ import annotations

import math

import pytest
import torch

from audiozen.errors import TrainingError
from audiozen.trainer.score_table import ScoreTable, records_of, score_of


def test_columns_become_one_record_per_signal():
    outputs = [
        {"id": ["a", "b"], "si_sdr": torch.tensor([1.0, 2.0]), "snr_db": [0, 5]},
        {"id": ["c"], "si_sdr": torch.tensor([3.0]), "snr_db": [10]},
    ]
    assert records_of(outputs) == [
        {"id": "a", "si_sdr": 1.0, "snr_db": 0},
        {"id": "b", "si_sdr": 2.0, "snr_db": 5},
        {"id": "c", "si_sdr": 3.0, "snr_db": 10},
    ]


def test_signals_without_id_are_numbered_over_the_batches():
    assert [r["id"] for r in records_of([{"x": [1, 2]}, {"x": 3.0}])] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ([1.0], "a step returned list"),
        ({"x": [1, 2], "y": [1]}, r"columns of \{'x': 2, 'y': 1\}"),
        ({"x": torch.zeros(2, 3)}, r"'x' has the shape \(2, 3\)"),
        ({"x": object()}, "'x' is a object"),
    ],
)
def test_other_outputs_are_refused(output, text):
    with pytest.raises(TrainingError, match=text):
        records_of([output])


def test_means_by_dataset_and_over_all_signals(tmp_path):
    table = ScoreTable(["seen", "unseen"], [[{"x": [1.0, 2.0]}], [{"x": [6.0]}]])
    assert table.means() == {"seen/x": 1.5, "unseen/x": 6.0}
    assert table.overall() == {"x": 3.0}
    table.write_csv(tmp_path, "test")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["test_seen.csv", "test_unseen.csv"]
    assert "seen (2 signals)" in table.text()


def test_single_dataset_has_short_names(tmp_path):
    table = ScoreTable(["0"], [[{"x": [1.0]}]])
    assert table.means() == {"x": 1.0}
    assert table.text().startswith("1 signals\n")
    table.write_csv(tmp_path, "valid_epoch_0001")
    assert [p.name for p in tmp_path.iterdir()] == ["valid_epoch_0001.csv"]


def test_failed_signals_are_left_out_of_the_mean():
    table = ScoreTable(["0"], [[{"x": [1.0, math.nan], "x__error": ["", "silent_reference"]}]])
    assert table.means() == {"x": 1.0}
    assert "silent_reference" in table.text()


def test_score_is_the_only_one_or_the_chosen_one():
    assert score_of({"x": 1.0}, None) == 1.0
    assert score_of({"x": 1.0, "y": 2.0}, "y") == 2.0
    with pytest.raises(TrainingError, match=r"several scores or none \(x, y\)"):
        score_of({"x": 1.0, "y": 2.0}, None)
    with pytest.raises(TrainingError, match="best_metric is 'z'"):
        score_of({"x": 1.0}, "z")


def test_mapping_in_the_place_of_a_column_holds_further_columns():
    [record] = records_of([{"id": "a", "after": {"x": [1.0], "x__error": [""]}, "y": 2.0}])
    assert record == {"id": "a", "x": 1.0, "x__error": "", "y": 2.0}


def test_two_columns_of_one_name_are_refused():
    with pytest.raises(TrainingError, match="two columns called 'x'"):
        records_of([{"x": 1.0, "after": {"x": [1.0]}}])
