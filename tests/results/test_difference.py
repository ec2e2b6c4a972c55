from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from audiozen.errors import RequestError
from audiozen.results.comparison import IDENTICAL, NO_DIFFERENCE, TOO_FEW
from audiozen.results.difference import Difference
from audiozen.results.scores import Scores
from tests.results.made_up import compared, only, system

NAN = math.nan


def test_numbers_of_a_row_are_those_of_the_pairs() -> None:
    values = np.arange(10.0)
    row = only(compared(system("a", stoi=values), system("b", stoi=values + [1, -1, 0, 1, 1] * 2)))
    assert (row.a, row.b, row.dataset, row.group, row.metric) == ("a", "b", "test", "all", "stoi")
    assert (row.num, row.num_failed_a, row.num_failed_b) == (10, 0, 0)
    assert (row.mean_a, row.mean_b) == pytest.approx((4.5, 4.9))
    assert row.difference == pytest.approx(0.4)
    assert (row.b_wins, row.ties, row.a_wins) == (6, 2, 2)
    assert row.low < 0.4 < row.high
    reference = stats.permutation_test(
        ([1, -1, 0, 1, 1] * 2,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert row.p_value == row.p_corrected == pytest.approx(reference.pvalue)


def test_wins_are_those_of_the_better_value() -> None:
    values = np.arange(10.0)
    row = only(compared(system("a", llr=values), system("b", llr=values - 1)))
    assert (row.b_wins, row.ties, row.a_wins) == (10, 0, 0)


# ---- honesty -----------------------------------------------------------------------------


def test_failures_are_left_out_of_both_and_counted() -> None:
    values = np.arange(10.0)
    first = np.where(values == 3, NAN, values)
    second = np.where((values == 3) | (values == 7) | (values == 8), NAN, values + 1)
    comparison = compared(system("a", stoi=first), system("b", stoi=second))
    row = only(comparison)
    assert (row.num, row.num_failed_a, row.num_failed_b) == (7, 1, 3)
    assert row.difference == 1.0
    assert row.mean_a == pytest.approx(np.mean([0, 1, 2, 4, 5, 6, 9]))
    (note,) = comparison.notes
    assert note.startswith(
        "warning: b against a, test: stoi failed for 0 signals in A alone and 2 in B alone; they are left out of both"
    )


def test_same_failures_need_no_warning() -> None:
    values = np.where(np.arange(10) == 3, NAN, np.arange(10.0))
    comparison = compared(system("a", stoi=values), system("b", stoi=values + 1))
    assert only(comparison).num == 9
    assert comparison.notes == []


def test_infinite_and_missing_scores_count_as_failed() -> None:
    values = list(np.arange(10.0))
    row = only(
        compared(system("a", snr=[None, *values[1:]]), system("b", snr=[*values[:-1], math.inf]))
    )
    assert (row.num, row.num_failed_a, row.num_failed_b) == (8, 1, 1)
    assert row.difference == 0


def test_metric_that_failed_everywhere_is_too_few() -> None:
    row = only(compared(system("a", stoi=[NAN] * 9), system("b", stoi=[1.0] * 9)))
    assert row.num == 0
    assert math.isnan(row.mean_a)
    assert row.verdict == TOO_FEW


def test_inputs_and_improvements_are_no_metrics_of_their_own() -> None:
    values = np.arange(10.0)
    columns = {"stoi": values, "stoi_noisy": values, "stoi_i": values, "duration": values}
    comparison = compared(system("a", **columns), system("b", **columns))
    assert [row.metric for row in comparison.differences] == ["stoi"]
    asked = compared(system("a", **columns), system("b", **columns), metrics=["stoi_i"])
    assert [row.metric for row in asked.differences] == ["stoi_i"]
    assert only(asked).higher_is_better


def test_columns_that_are_the_same_everywhere_are_facts_unless_their_direction_is_known() -> None:
    columns = {"stoi": np.arange(10.0), "num_speakers": np.arange(10.0)}
    comparison = compared(system("a", **columns), system("b", **columns))
    assert [row.metric for row in comparison.differences] == ["stoi"]
    assert comparison.notes == [
        "b against a, test: the same everywhere, taken for facts about the signals: num_speakers"
    ]


def test_only_metric_is_compared_also_where_it_is_the_same_everywhere() -> None:
    comparison = compared(system("a", mystery=[1.0] * 9), system("b", mystery=[1.0] * 9))
    assert only(comparison).verdict == IDENTICAL
    assert comparison.notes == []


def test_metrics_of_one_system_alone_are_told() -> None:
    values = np.arange(10.0)
    comparison = compared(system("a", stoi=values, snr=values), system("b", stoi=values))
    assert [row.metric for row in comparison.differences] == ["stoi"]
    assert comparison.notes == ["b against a, test: only a has snr"]


# ---- groups and clusters -----------------------------------------------------------------


def test_groups_stand_below_all_signals_in_natural_order() -> None:
    snr = [10.0, -5.0, 0.0] * 8
    values = np.arange(24.0)
    better_at_zero = values + np.where(np.array(snr) == 0, 1.0, -1.0)
    comparison = compared(
        system("a", stoi=values, snr_db=snr),
        system("b", stoi=better_at_zero, snr_db=snr),
        by="snr_db",
    )
    assert [(row.group, row.num, row.verdict) for row in comparison.differences] == [
        ("all", 24, NO_DIFFERENCE),
        ("-5", 8, "A better"),
        ("0", 8, "B better"),
        ("10", 8, "A better"),
    ]


def test_label_may_be_called_as_the_row_of_all_signals() -> None:
    first = system("a", stoi=np.arange(12.0), noise=["all", "car"] * 6)
    groups = [(row.group, row.num) for row in compared(first, first, by="noise").differences]
    assert groups == [("all", 12), ("all", 6), ("car", 6)]


def test_label_may_be_in_one_table_alone_but_must_not_differ() -> None:
    values = np.arange(12.0)
    labelled = system("a", stoi=values, noise=["cafe", "car"] * 6)
    assert len(compared(labelled, system("b", stoi=values), by="noise").differences) == 3
    other = system("b", stoi=values, noise=["cafe", "bus"] * 6)
    with pytest.raises(
        RequestError, match=r"noise differs for 6 signals, such as s0001 \(car in a, bus in b\)"
    ):
        compared(labelled, other, by="noise")
    with pytest.raises(RequestError, match="no column 'nois'; did you mean 'noise'"):
        compared(labelled, other, by="nois")


def test_column_that_is_no_label_is_refused() -> None:
    values = np.arange(60.0)
    first = system("a", stoi=values, level=[f"{value}" for value in values])
    with pytest.raises(RequestError, match="level has 60 different values"):
        compared(first, first, by="level")


def test_signals_of_one_speaker_are_not_independent() -> None:
    rng = np.random.default_rng(3)
    speakers = [f"p{number // 20}" for number in range(160)]
    of_the_speaker = np.repeat([2, -1, 1.5, -0.5, 1, -0.8, 1.2, -0.2], 20)
    values = rng.normal(size=160)
    first = system("a", stoi=values, speaker=speakers)
    second = system("b", stoi=values + of_the_speaker, speaker=speakers)
    naive = only(compared(first, second))
    honest = only(compared(first, second, cluster="speaker"))
    assert (naive.mean_a, naive.difference) == (honest.mean_a, honest.difference)
    assert naive.verdict != NO_DIFFERENCE
    assert honest.verdict == NO_DIFFERENCE
    assert honest.high - honest.low > 3 * (naive.high - naive.low)
    failing = np.where(np.arange(160) < 20, NAN, values)  # all signals of one speaker
    fewer = only(compared(first, system("b", stoi=failing, speaker=speakers), cluster="speaker"))
    assert (fewer.num, fewer.verdict) == (140, IDENTICAL)
    two = ["p1", "p2"] * 80
    few = compared(
        system("a", stoi=values, speaker=two),
        system("b", stoi=values + 1, speaker=two),
        cluster="speaker",
    )
    assert only(few).verdict == TOO_FEW


def test_clusters_of_one_signal_are_signals() -> None:
    rng = np.random.default_rng(3)
    names = [f"s{number:02d}" for number in range(30)]
    first = system("a", stoi=rng.normal(size=30), speaker=names)
    second = system("b", stoi=rng.normal(size=30), speaker=names)
    plain, clustered = compared(first, second), compared(first, second, cluster="speaker")
    assert clustered.differences == plain.differences


def test_unknown_metrics_are_refused() -> None:
    first, second = system("a", stoi=[1.0], snr=[1.0]), system("b", stoi=[1.0])
    with pytest.raises(RequestError, match="no metric in both 'snr'; there are stoi"):
        compared(first, second, metrics=["snr"])
    with pytest.raises(RequestError, match="a and c have no metric in common"):
        compared(first, system("c", other=[1.0]))


# ---- properties --------------------------------------------------------------------------

eighths = st.integers(-80, 80).map(lambda number: number / 8)  # sums of them are exact
tables = st.lists(
    st.tuples(eighths | st.just(NAN), eighths | st.just(NAN)), min_size=1, max_size=30
)


def mirrored(row: Difference) -> tuple[Any, ...]:
    """What is to be seen of a row from the other side."""
    verdict = {"A better": "B better", "B better": "A better"}.get(row.verdict, row.verdict)
    return (-row.difference, -row.high, -row.low, row.p_value, row.a_wins, row.ties, verdict)


def seen(row: Difference) -> tuple[Any, ...]:
    return (row.difference, row.low, row.high, row.p_value, row.b_wins, row.ties, row.verdict)


@given(tables)
@settings(max_examples=40, deadline=None)
def test_seen_from_the_other_side_everything_is_mirrored(values: list[tuple[float, float]]) -> None:
    first, second = zip(*values)
    one, other = system("a", stoi=first), system("b", stoi=second)
    row, back = only(compared(one, other)), only(compared(other, one))
    assert mirrored(row)[:4] == pytest.approx(seen(back)[:4], nan_ok=True, abs=1e-9)
    assert mirrored(row)[4:] == seen(back)[4:]


@given(tables, eighths)
@settings(max_examples=40, deadline=None)
def test_what_is_added_to_both_changes_nothing(
    values: list[tuple[float, float]], constant: float
) -> None:
    first, second = map(np.array, zip(*values))
    row = only(compared(system("a", stoi=first), system("b", stoi=second)))
    shifted = only(
        compared(system("a", stoi=first + constant), system("b", stoi=second + constant))
    )
    assert seen(shifted)[4:] == seen(row)[4:]
    assert seen(shifted)[:4] == pytest.approx(seen(row)[:4], nan_ok=True, abs=1e-9)


@given(tables, st.randoms())
@settings(max_examples=40, deadline=None)
def test_order_of_the_signals_does_not_matter(
    values: list[tuple[float, float]], random: Any
) -> None:
    first, second = zip(*values)
    one, other = system("a", stoi=first), system("b", stoi=second)
    row = only(compared(one, other))
    shuffled = [list(side.tables["test"]) for side in (one, other)]
    for records in shuffled:
        random.shuffle(records)
    again = only(compared(*(Scores(name, {"test": side}) for name, side in zip("ab", shuffled))))
    assert repr(again) == repr(row)
