from __future__ import annotations

import os

import pytest

from audiozen.report.curves import curves_of
from audiozen.report.notes import (
    on_code,
    on_cost,
    on_curves,
    on_shared_ids,
    on_state,
    on_tables,
    on_time,
)
from audiozen.results.run import Run
from tests.report.experiments import Plan, write_experiment

STARTED = {"argv": ["audiozen", "train", "a.toml"]}


@pytest.mark.parametrize(
    ("state", "text", "command"),
    [
        ("running", "in progress", ""),
        ("stopped", "stopped before its end", "audiozen train a.toml --resume"),
        ("failed", "failed or was killed", "audiozen train a.toml --resume"),
        ("new", "not known", ""),
    ],
)
def test_run_that_is_not_done_is_told(state, text, command):
    (note,) = on_state(state, STARTED)
    assert text in note.text
    assert note.command == command
    assert note.is_warning == bool(command)


def test_run_that_is_done_needs_no_note():
    assert list(on_state("done", STARTED)) == []


def test_losses_that_are_nan_are_told():
    rows = [{"step": step, "epoch": 1, "train/loss": float("nan")} for step in (7, 8)]
    (note,) = on_curves(curves_of(rows), STARTED)
    assert note.text == "train/loss is NaN or infinite in 2 of 2 values, first at step 7."


def test_nothing_logged_and_nothing_tested_name_their_commands():
    (logged,), (tested,) = on_curves([], STARTED), on_tables({}, {}, STARTED)
    assert logged.command == "audiozen train a.toml"
    assert tested.command == "audiozen test a.toml"
    assert not logged.is_warning
    (from_python,) = on_tables({}, {}, {})
    assert from_python.command.startswith("trainer.test(")


def test_failures_are_told_with_reasons():
    records = [{"id": "a", "stoi": 0.5}, {"id": "b", "stoi": None, "stoi__error": "too_short"}]
    (note,) = on_tables({"test": records}, {}, STARTED)
    assert note.text == "stoi failed for 1 of 2 signals of test: too_short (1)."


def test_ids_in_validation_and_test_are_told():
    valid = {"valid": [{"id": "p1"}, {"id": "p2"}]}
    (note,) = on_shared_ids(valid, {"test": [{"id": "p2"}, {"id": "p3"}]})
    assert "1 of 2 ids" in note.text
    assert "p2" in note.text


def test_ids_that_are_numbers_say_nothing():
    numbers = [{"id": "0"}, {"id": "1"}]
    assert list(on_shared_ids({"valid": numbers}, {"test": numbers[:1]})) == []


def test_ids_of_digits_are_names_where_they_do_not_count_from_zero():
    (note,) = on_shared_ids({"valid": [{"id": "007"}, {"id": "19"}]}, {"test": [{"id": "19"}]})
    assert "1 of 1 ids of test are ids of the validation data (valid) too, such as 19." in note.text


def test_test_of_older_weights_is_told(tmp_path):
    run = Run(write_experiment(tmp_path / "run", Plan(parts=("checkpoint", "test"))))
    best = run.folder.checkpoints / "best" / "validation.json"
    os.utime(best, (0, 0))
    assert list(on_time(run, run.tables(), STARTED)) == []
    os.utime(best, (4e9, 4e9))
    (note,) = on_time(run, run.tables(), STARTED)
    assert note.command == "audiozen test a.toml"


def test_changed_code_and_unmeasured_cost_are_told():
    assert list(on_code({"git": {"is_changed": False}})) == []
    assert len(list(on_code({"git": {"is_changed": True}}))) == 1
    assert [note.text for note in on_cost({"notes": ["no latency"]})] == [
        "Cost of the model: no latency"
    ]
