from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from audiozen.errors import RequestError
from audiozen.results.comparison import IDENTICAL, NO_DIFFERENCE, TOO_FEW, compare, verdict_of
from audiozen.results.difference import Difference
from audiozen.results.question import Question
from audiozen.results.scores import Scores
from tests.results.made_up import compared, only, system

NAN = math.nan
QUICK = Question(num_resamples=1000)


# ---- verdicts ----------------------------------------------------------------------------


CLEAR = np.linspace(0.5, 1.5, 20)


@pytest.mark.parametrize(
    ("metric", "differences", "verdict"),
    [
        ("si_sdr", CLEAR, "B better"),
        ("si_sdr", -CLEAR, "A better"),
        ("llr", CLEAR, "A better"),
        ("llr", -CLEAR, "B better"),
        ("mystery", CLEAR, "B higher"),
        ("mystery", -CLEAR, "B lower"),
        ("si_sdr", CLEAR - 1, NO_DIFFERENCE),
        ("si_sdr", 0 * CLEAR, IDENTICAL),
        ("si_sdr", CLEAR[:5], TOO_FEW),
        ("si_sdr", CLEAR[:6], "B better"),
        ("si_sdr", CLEAR[:1] * 0, IDENTICAL),
    ],
)
def test_verdict(metric: str, differences: np.ndarray, verdict: str) -> None:
    values = np.arange(len(differences)) / 7
    first, second = system("a", **{metric: values}), system("b", **{metric: values + differences})
    assert only(compared(first, second)).verdict == verdict


@pytest.mark.parametrize(
    ("p_corrected", "low", "verdict"),
    [
        (0.049, 0.1, "B better"),
        (0.05, 0.1, NO_DIFFERENCE),
        (0.049, 0.0, NO_DIFFERENCE),
        (0.049, -0.1, NO_DIFFERENCE),
    ],
)
def test_test_and_interval_have_to_agree(p_corrected: float, low: float, verdict: str) -> None:
    row = only(compared(system("a", stoi=CLEAR), system("b", stoi=2 * CLEAR)))
    judged = replace(row, p_corrected=p_corrected, low=low)
    assert verdict_of(judged, level=0.05) == verdict


def test_too_few_signals_have_neither_interval_nor_p_value() -> None:
    row = only(compared(system("a", stoi=[0.5] * 5), system("b", stoi=[0.75] * 5)))
    assert np.isnan([row.low, row.high, row.p_value, row.p_corrected]).all()
    strict = compared(
        system("a", stoi=CLEAR[:10]), system("b", stoi=2 * CLEAR[:10]), confidence=0.999
    )
    assert only(strict).verdict == TOO_FEW  # 2 / 2 ** 10 is not below 0.001


def test_direction_may_be_stated_by_the_runs() -> None:
    values = np.arange(20) / 7
    first = Scores("a", system("a", wer=values).tables, {"wer": False})
    second = system("b", wer=values + CLEAR)
    assert only(compared(first, second)).verdict == "A better"
    contradicting = Scores("b", second.tables, {"wer": True})
    assert only(compared(first, contradicting)).verdict == "B higher"


def test_p_values_are_corrected_for_all_tests_of_the_call() -> None:
    rng = np.random.default_rng(0)
    first = system("a", **{name: rng.normal(size=12) for name in ("si_sdr", "snr", "stoi")})
    second = system("b", **{name: rng.normal(size=12) for name in ("si_sdr", "snr", "stoi")})
    comparison = compared(first, second, num_resamples=4096)
    raw = sorted(row.p_value for row in comparison.differences)
    corrected = sorted(row.p_corrected for row in comparison.differences)
    assert comparison.num_tests == 3
    assert corrected[0] == pytest.approx(3 * raw[0])
    alone = compared(first, second, metrics=["stoi"], num_resamples=4096)
    assert only(alone).p_value == comparison.differences[2].p_value
    assert only(alone).low == comparison.differences[2].low


def test_difference_that_only_the_uncorrected_test_sees_is_not_shown() -> None:
    values = np.arange(20) / 7
    weak = values + np.linspace(-1, 1, 20) + 0.32
    alone = only(compared(system("a", stoi=values), system("b", stoi=weak)))
    assert 0.01 < alone.p_value < 0.05
    assert alone.verdict == "B better"
    others = dict.fromkeys(("snr", "si_sdr", "estoi", "pesq_wb"), values)
    among = compared(system("a", stoi=values, **others), system("b", stoi=weak, **others))
    assert among.differences[0].verdict == NO_DIFFERENCE


def test_more_tests_than_resamples_can_tell_are_told() -> None:
    groups = [f"{number % 50}" for number in range(400)]
    first = system("a", stoi=np.arange(400) / 7, noise=groups)
    second = system("b", stoi=np.arange(400) / 7 + 1, noise=groups)
    coarse = compared(first, second, by="noise")
    assert coarse.notes == [
        "warning: 51 tests are more than 1000 resamples can tell differences in; give --num-resamples 10200"
    ]
    fine = compared(first, second, by="noise", num_resamples=10_200)
    assert fine.notes == []
    assert fine.differences[0].verdict == "B better"


# ---- several systems ---------------------------------------------------------------------


def test_all_are_compared_with_the_first_or_each_with_each() -> None:
    systems = [system(name, stoi=np.arange(10.0)) for name in "abc"]
    star, full = compare(systems, QUICK), compare(systems, Question(all_pairs=True))
    assert [(row.a, row.b) for row in star.differences] == [("a", "b"), ("a", "c")]
    assert [(row.a, row.b) for row in full.differences] == [("a", "b"), ("a", "c"), ("b", "c")]


def test_datasets_have_rows_of_their_own() -> None:
    def both(name: str, better: float) -> Scores:
        tables = [
            system(name, stoi=np.arange(10.0) + shift).tables["test"] for shift in (0, better)
        ]
        return Scores(name, dict(zip(("seen", "unseen"), tables)))

    comparison = compare([both("a", 0), both("b", 1)], QUICK)
    assert [(row.dataset, row.verdict) for row in comparison.differences] == [
        ("seen", IDENTICAL),
        ("unseen", "B better"),
    ]


def test_one_system_is_refused() -> None:
    with pytest.raises(RequestError, match="two systems or more"):
        compare([system("a", stoi=[1.0])])


# ---- calibration -------------------------------------------------------------------------


def simulated(rng: np.random.Generator, effect: float) -> list[Difference]:
    """Three metrics of 30 signals whose difficulty both systems share."""
    difficulty = rng.normal(scale=3, size=(3, 30))
    names = ("si_sdr", "stoi", "pesq_wb")
    first, second = (difficulty + rng.normal(size=(3, 30)) for _ in range(2))
    pair = system("a", **dict(zip(names, first))), system("b", **dict(zip(names, second + effect)))
    return compared(*pair).differences


def test_without_a_difference_any_is_told_in_five_of_a_hundred_comparisons_at_most() -> None:
    rng = np.random.default_rng(11)
    num = 200
    told = sum(any("better" in row.verdict for row in simulated(rng, 0)) for _ in range(num))
    assert told <= stats.binom.ppf(0.999, num, 0.05)
    assert told >= stats.binom.ppf(0.001, num, 0.02)  # that it is not never


def test_clear_difference_is_told() -> None:
    rng = np.random.default_rng(12)
    rows = [row for _ in range(50) for row in simulated(rng, 1.2)]
    assert np.mean([row.verdict == "B better" for row in rows]) > 0.95
    assert not [row for row in rows if row.verdict == "A better"]
