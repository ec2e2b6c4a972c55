from __future__ import annotations

import math

import pytest
import soundfile

from audiozen.report.examples import (
    BEST,
    CHOSEN,
    DEGRADED,
    DIFFERENT,
    FAILED,
    FIXED,
    MEDIAN,
    WORST,
    choose,
    collect,
    files_of,
    with_sound,
)
from audiozen.results.run import Run
from tests.report.experiments import Plan, write_experiment


def candidates(scores, noisy=None) -> dict:
    """Scores by id; a tuple has one per run."""
    rows = {key: value if isinstance(value, tuple) else (value,) for key, value in scores.items()}
    return {
        key: [{"id": key, "si_sdr": value, "si_sdr_noisy": (noisy or {}).get(key)} for value in row]
        for key, row in rows.items()
    }


def chosen(scores, kind, *, num=2, higher_is_better=True, noisy=None, ids=()) -> list[str]:
    choices = choose(
        "test",
        candidates(scores, noisy),
        "si_sdr",
        higher_is_better=higher_is_better,
        num=num,
        ids=ids,
    )
    return [choice.signal_id for choice in choices if kind in choice.groups]


SCORES = {"a": 5.0, "b": 1.0, "c": 9.0, "d": 3.0, "e": 7.0, "f": 2.0, "g": 8.0}


def test_worst_best_and_median_are_chosen():
    assert chosen(SCORES, WORST) == ["b", "f"]
    assert chosen(SCORES, BEST) == ["c", "g"]
    assert sorted(chosen(SCORES, MEDIAN, num=3)) == ["a", "d", "e"]


def test_lower_may_be_better():
    assert chosen(SCORES, WORST, higher_is_better=False) == ["c", "g"]
    assert chosen(SCORES, BEST, higher_is_better=False) == ["b", "f"]


def test_only_signals_that_got_worse_are_degraded():
    noisy = dict(SCORES) | {"a": 6.0, "g": 10.0, "b": -5.0}
    assert chosen(SCORES, DEGRADED, num=3, noisy=noisy) == ["g", "a"]


def test_failed_scores_are_a_kind_of_their_own():
    scores = SCORES | {"b": math.nan}
    assert chosen(scores, FAILED) == ["b"]
    assert chosen(scores, WORST) == ["f", "d"]


def test_fixed_ones_are_spread_over_the_ids_whatever_the_scores():
    worse = {key: -value for key, value in SCORES.items()}
    assert chosen(SCORES, FIXED, num=3) != []
    assert (
        sorted(chosen(SCORES, FIXED, num=3)) == sorted(chosen(worse, FIXED, num=3)) == list("bdf")
    )
    assert sorted(chosen({"a": 1.0, "b": 2.0}, FIXED, num=3)) == ["a", "b"]


def test_wanted_ids_come_first():
    choices = choose(
        "test", candidates(SCORES), "si_sdr", higher_is_better=True, num=1, ids=["e", "missing"]
    )
    assert (choices[0].signal_id, choices[0].groups[0]) == ("e", CHOSEN)


def test_signal_of_several_kinds_is_there_once():
    choices = choose("test", candidates({"a": 1.0}), "si_sdr", higher_is_better=True, num=3)
    assert [choice.signal_id for choice in choices] == ["a"]
    assert choices[0].groups == [WORST, BEST, MEDIAN, FIXED]


def test_of_several_runs_the_mean_counts_and_what_they_differ_in_is_shown():
    scores = {"a": (1.0, 9.0), "b": (2.0, 2.5), "c": (8.0, 8.0)}
    assert chosen(scores, WORST, num=1) == ["b"]
    assert set(chosen(scores, DIFFERENT)) == {"a", "b"}
    assert chosen(scores, DIFFERENT, num=1) == ["a"]


def test_without_a_metric_only_fixed_ones_are_chosen():
    choices = choose("test", candidates(SCORES), None, higher_is_better=True, num=2)
    assert {group for choice in choices for group in choice.groups} == {FIXED}


def test_infinite_scores_are_ranked():
    assert chosen({"a": math.inf, "b": -math.inf, "c": 0.0}, BEST, num=1) == ["a"]


# ---- sound -------------------------------------------------------------------------------


def gather(runs, **options):
    tables = [run.tables() for run in runs]
    return collect(runs, tables, "si_sdr", higher_is_better=True, **{"num": 2, **options})


def test_budget_bounds_what_is_shown_and_the_rest_is_counted(runs):
    everything = gather([runs["baseline"]])
    sizes = [sum(signal.num_bytes for signal in one.signals) for one in everything.examples]
    some = gather([runs["baseline"]], budget=sum(sizes[:3]))
    assert everything.num_left_out == 0
    assert len(some.examples) == 3
    assert some.num_left_out == len(sizes) - 3
    assert gather([runs["baseline"]], budget=0).examples == []


def test_only_signals_with_sound_are_chosen(runs):
    found = gather([runs["two_datasets"]])
    assert found.num_with_sound == {"seen": 2, "unseen": 2}
    assert {one.dataset for one in found.examples} == {"seen", "unseen"}
    assert [signal.role for signal in found.examples[0].signals] == ["noisy", "enhanced", "clean"]


def test_first_of_signals_with_the_same_id_counts(runs):
    table = [{"id": "test_rain_0000", "si_sdr": score} for score in (1.0, 2.0)]
    found = with_sound([runs["baseline"]], [table], "test")
    assert found == {"test_rain_0000": [table[0]]}


def test_run_without_sound_has_no_examples(runs):
    assert gather([runs["silent"]]).examples == []


def test_several_runs_share_input_and_reference(runs):
    signal_id = "test_rain_0000"
    files = files_of([runs["baseline"], runs["larger"]], "test", signal_id)
    assert list(files) == ["noisy", "enhanced 1", "enhanced 2", "clean"]
    assert runs["larger"].root in files["enhanced 2"].parents
    assert runs["baseline"].root in files["noisy"].parents


def test_damaged_sound_is_told_and_the_others_are_shown(tmp_path):
    run = Run(write_experiment(tmp_path / "run", Plan(num_signals=3)))
    run.folder.sound("enhanced", "test_rain_0000").write_bytes(b"RIFF")
    found = gather([run])
    assert len(found.examples) == 2
    assert "test_rain_0000.wav" in found.problems[0]


def test_other_roles_are_shown_too(tmp_path):
    run = Run(write_experiment(tmp_path / "run", Plan(num_signals=1)))
    samples, rate = soundfile.read(run.folder.sound("clean", "test_rain_0000"))
    extra = run.folder.sound("mask", "test_rain_0000")
    extra.parent.mkdir()
    soundfile.write(extra, samples, rate)
    roles = [signal.role for signal in gather([run]).examples[0].signals]
    assert roles == ["noisy", "enhanced", "clean", "mask"]


@pytest.mark.parametrize("num", [0, 1])
def test_number_of_each_kind(runs, num):
    found = gather([runs["baseline"]], num=num)
    assert sum(WORST in one.groups for one in found.examples) == num
