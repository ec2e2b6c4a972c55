from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import Trial

from audiozen.errors import RequestError
from audiozen.sweep.entries import Entry, entries_of, importance_of
from audiozen.sweep.plan import Plan
from audiozen.sweep.space import Choices, Range
from audiozen.sweep.study import MAX_STARTS, Study

PLAN = Plan(
    space={
        "a.rate": Range(low=1e-4, high=1e-2, log=True),
        "a.size": Range(low=1, high=9, step=2),
        "a.share": Range(low=0.0, high=1.0, step=0.25),
        "a.layers": Choices([[1, 2], [3]]),
    },
    settings={"meta.seed": 0},
    best_metric="si_sdr",
    higher_is_better=True,
    sampler="tpe",
    pruner="none",
    seed=0,
)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path / "sweep", PLAN)


def finish(study: Study, score: float) -> dict[str, Any]:
    """One trial from beginning to end."""
    with study.claimed(1000) as trial:
        assert trial is not None
        study.report(trial, score, step=10)
        study.complete(trial.number, score)
        return study.values(trial)


def abandon(study: Study) -> Trial:
    """A trial whose worker is gone."""
    with study.claimed(1000) as trial:
        assert trial is not None
        return trial


def the_only(study: Study) -> Entry:
    (entry,) = entries_of(study)
    return entry


def test_values_are_of_the_space(study: Study) -> None:
    for score in range(15):
        values = finish(study, score)
        assert values.keys() == PLAN.space.keys()
        assert 1e-4 <= values["a.rate"] <= 1e-2
        assert values["a.size"] in (1, 3, 5, 7, 9)
        assert isinstance(values["a.size"], int)
        assert values["a.share"] in (0, 0.25, 0.5, 0.75, 1)
        assert values["a.layers"] in ([1, 2], [3])


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_values_depend_on_number_and_scores_before_alone(tmp_path: Path, sampler: Any) -> None:
    plan = replace(PLAN, sampler=sampler)
    study = Study(tmp_path / "a", plan)
    in_one_go = [finish(study, number % 5) for number in range(14)]
    in_many = [finish(Study(tmp_path / "b", plan), number % 5) for number in range(14)]
    assert in_one_go == in_many
    other = Study(tmp_path / "c", replace(plan, seed=1))
    assert finish(other, 0)["a.rate"] != in_one_go[0]["a.rate"]


def test_search_gets_closer_than_chance(tmp_path: Path) -> None:
    study = Study(tmp_path, replace(PLAN, space={"x": Range(low=-1.0, high=1.0)}))
    tried = []
    for _ in range(30):
        with study.claimed(30) as trial:
            assert trial is not None
            tried.append(study.values(trial)["x"])
            study.complete(trial.number, -abs(tried[-1] - 0.3))
    assert sum(abs(x - 0.3) < 0.2 for x in tried[15:]) > 7  # 3 by chance


def test_joins_what_is_there_and_refuses_another_plan_with_what_differs(study: Study) -> None:
    finish(study, 1.0)
    assert len(Study(study.folder, PLAN).trials) == 1
    assert Study(study.folder).plan == study.plan == PLAN
    other = replace(PLAN, seed=1, space={**PLAN.space, "a.size": Range(low=1, high=7)})
    with pytest.raises(RequestError, match="is the folder of another sweep") as caught:
        Study(study.folder, other)
    assert str(caught.value).splitlines()[1:] == [
        "  space.a.size.high: 9 there, 7 now",
        "  space.a.size.step: 2 there, None now",
        "  seed: 0 there, 1 now",
    ]


def test_nothing_is_shown_where_nothing_was_started(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="has no trials yet"):
        Study(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_trials_of_all_workers_count(study: Study) -> None:
    finish(study, 1.0)
    abandon(study)
    with study.claimed(2) as trial:
        assert trial is not None
        assert trial.number == 1  # nobody has it
        with Study(study.folder).claimed(2) as other:
            # In one process the lock of the run is no obstacle; that it is between two, test_worker shows.
            assert other is None or other.number == 1


def test_abandoned_trial_keeps_its_values_and_gets_those_that_it_lacks(study: Study) -> None:
    values = study.values(abandon(study))
    assert study.values(abandon(study)) == values
    study.complete(0, 1.0)
    study.study.ask()  # killed before it had any
    with study.claimed(1000) as trial:
        assert trial is not None
        assert trial.number == 1
        assert study.values(trial).keys() == PLAN.space.keys()


def test_trial_that_kills_its_workers_fails(study: Study) -> None:
    for _ in range(MAX_STARTS):
        assert abandon(study).number == 0
    assert abandon(study).number == 1
    assert [entry.state for entry in entries_of(study)] == ["stopped", "failed"]
    assert entries_of(study)[-1].reason == "its worker died 3 times in a row"


def test_trial_that_gets_on_may_start_as_often_as_it_likes(study: Study) -> None:
    for start in range(2 * MAX_STARTS):
        trial = abandon(study)
        assert trial.number == 0
        study.report(trial, 1.0, step=start)


def test_validation_that_is_done_again_counts_once(study: Study) -> None:
    trial = abandon(study)
    for step in (10, 20, 20, 30):
        study.report(trial, float(step), step)
    entry = the_only(study)
    assert (entry.validations, entry.steps, entry.score) == (3, 30, 30.0)


def test_half_a_line_at_the_end_of_the_journal_is_removed(study: Study) -> None:
    finish(study, 1.0)
    path = study.folder / "study.journal"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code":4,"worker')
    finish(Study(study.folder), 2.0)
    assert path.read_bytes().startswith(whole + b'{"op_code":4,"worker_id":"')
    assert len(Study(study.folder).trials) == 2


def test_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match="cannot be locked: Not a directory"):
        Study(tmp_path / "file" / "sweep", PLAN)


def test_what_matters_is_found(tmp_path: Path) -> None:
    space = {"a.much": Range(low=0.0, high=1.0), "a.little": Range(low=0.0, high=1.0)}
    study = Study(tmp_path, replace(PLAN, space=space, sampler="random"))
    for _ in range(25):
        with study.claimed(25) as trial:
            assert trial is not None
            values = study.values(trial)
            assert importance_of(study) == {} or len(study.trials) > 10
            study.complete(trial.number, values["a.much"] + 0.01 * values["a.little"])
    importance = importance_of(study)
    assert importance["a.much"] > 0.8
    assert sum(importance.values()) == pytest.approx(1)
