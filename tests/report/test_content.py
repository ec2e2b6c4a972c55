from __future__ import annotations

import pytest

from audiozen.report.content import collect, tables_of
from audiozen.results.run import Run
from tests.report.experiments import Plan, write_experiment


def test_all_parts_are_collected(runs):
    found = collect(runs["baseline"])
    assert (found.name, found.state, found.step, found.epoch) == ("baseline", "done", 600, 6)
    assert found.best == {
        "score": 9.87,
        "checkpoint": "epoch_0006",
        "step": 600,
    }
    assert (found.best_metric, found.higher_is_better) == ("si_sdr", True)
    assert found.description == "A causal GRU that sets the gains of 32 bands"
    assert found.complexity["parameters"] == 29216
    assert found.settings["test_dataset.0.name"] == '"test"'
    assert found.settings["train_dataset.args.snr_db"].split() == ["[", "-5.0,", "20.0,", "]"]


def test_columns_are_ordered_by_kind(runs):
    (dataset,) = collect(runs["baseline"]).datasets
    assert [(column.name, column.kind) for column in dataset.columns[:4]] == [
        ("id", "id"),
        ("noise_type", "label"),
        ("snr_db", "fact"),
        ("si_sdr", "metric"),
    ]
    assert dataset.num_signals == 10


def test_missing_value_has_its_reason(runs):
    (dataset,) = collect(runs["baseline"]).datasets
    pesq = next(column for column in dataset.columns if column.name == "pesq_wb")
    assert (pesq.values[4], pesq.reasons) == (None, {4: "no_speech_found"})
    means = next(one for one in dataset.means if one.metric == "pesq_wb")
    assert (means.num, means.num_failed, means.reasons) == (9, 1, {"no_speech_found": 1})


def test_facts_that_were_written_as_text_are_numbers(tmp_path):
    run = Run(write_experiment(tmp_path / "run", Plan(parts=("config",))))
    run.folder.metrics.mkdir()
    run.folder.table("test").write_text('"id","snr_db","stoi"\n"a","-5",0.5\n"b","10",inf\n')
    (dataset,) = collect(run).datasets
    assert [column.values for column in dataset.columns] == [["a", "b"], [-5, 10], [0.5, "inf"]]


def test_validation_stands_in_where_there_is_no_test(runs):
    assert list(tables_of(runs["trained"])) == ["validation"]
    assert "Scores are those of the validation" in collect(runs["trained"]).notes[0].text


@pytest.mark.parametrize(
    "name", ["running", "from_python", "silent", "only_settings", "all_nan", "trained"]
)
def test_run_that_lacks_parts_is_collected(runs, name):
    found = collect(runs[name])
    assert found.name == name
    assert found.notes


@pytest.mark.parametrize(
    "file", ["config.toml", "environment.json", "metrics/metrics.jsonl", "metrics/test.csv"]
)
def test_damaged_file_is_told_and_the_rest_is_shown(tmp_path, file):
    run = Run(write_experiment(tmp_path / "run", Plan()))
    (run.root / file).write_text('{"a",\n"b"\n')
    found = collect(run)
    assert any(file in note.text for note in found.notes)
    assert found.best
