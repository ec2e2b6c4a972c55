from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from audiozen.results.statistics import (
    bootstrap_interval,
    holm,
    sign_flip_test,
    smallest_p_value,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def interval(sums, sizes=None, *, confidence=0.95, num_resamples=10_000) -> tuple[float, float]:
    return bootstrap_interval(
        sums, sizes, confidence=confidence, rng=rng(), num_resamples=num_resamples
    )


# ---- interval ----------------------------------------------------------------------------


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("draw", ["normal", "exponential"])
def test_interval_is_that_of_scipy(draw: str, confidence: float) -> None:
    differences = getattr(rng(1), draw)(size=40)
    reference = stats.bootstrap(
        (differences,), np.mean, confidence_level=confidence, n_resamples=100_000, rng=rng(2)
    ).confidence_interval
    ours = interval(differences, confidence=confidence, num_resamples=100_000)
    assert ours == pytest.approx(tuple(reference), abs=0.02 * differences.std())


def test_interval_of_skewed_differences_leans_to_the_long_side() -> None:
    differences = rng(1).exponential(size=30)
    low, high = interval(differences)
    assert high - differences.mean() > 1.2 * (differences.mean() - low)


def test_interval_contains_the_mean_as_often_as_it_says() -> None:
    draw = rng(3)
    intervals = [interval(draw.gumbel(size=50), num_resamples=1000) for _ in range(400)]
    coverage = np.mean([low < np.euler_gamma < high for low, high in intervals])
    assert 0.91 < coverage < 0.98  # 0.95, and four standard deviations of 400 trials


def test_repeated_signals_tell_nothing_new_where_they_are_one_cluster() -> None:
    differences = rng(1).normal(size=30)
    assert interval(4 * differences, np.full(30, 4.0)) == pytest.approx(interval(differences))
    low, high = interval(np.repeat(differences, 4))
    assert high - low < 0.6 * np.diff(interval(differences))[0]


def test_clusters_of_different_sizes_count_by_their_signals() -> None:
    sizes = np.array([1.0, 9.0] * 20)
    low, high = interval(sizes * rng(1).normal(loc=2, scale=0.1, size=40), sizes)
    assert 1.9 < low < 2 < high < 2.1


def test_interval_of_equal_differences_is_a_point() -> None:
    assert interval(np.full(10, 0.25)) == (0.25, 0.25)
    assert interval(np.zeros(10)) == (0.0, 0.0)


@pytest.mark.parametrize("num", [0, 1])
def test_there_is_no_interval_of_less_than_two(num: int) -> None:
    assert np.isnan(interval(np.ones(num))).all()


@pytest.mark.parametrize("scale", [1e-100, 1e-12, 1e100])
def test_interval_has_the_scale_of_the_differences(scale: float) -> None:
    differences = rng(1).normal(size=20)
    expected = np.array(interval(differences))
    assert np.array(interval(scale * differences)) / scale == pytest.approx(expected)


# ---- test --------------------------------------------------------------------------------


@pytest.mark.parametrize("num", [5, 8, 12])
def test_few_differences_are_tested_exactly_as_by_scipy(num: int) -> None:
    differences = rng(num).normal(loc=0.4, size=num)
    reference = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip_test(differences, rng=rng()) == pytest.approx(reference.pvalue)


def test_many_differences_are_tested_as_by_scipy() -> None:
    differences = rng(1).normal(loc=0.25, size=60)
    reference = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=50_000, rng=rng(2)
    )
    ours = sign_flip_test(differences, rng=rng(), num_resamples=50_000)
    assert ours == pytest.approx(reference.pvalue, abs=0.005)
    assert ours == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=0.01)
    assert ours == pytest.approx(stats.wilcoxon(differences).pvalue, abs=0.1)


def test_exact_and_random_signs_agree() -> None:
    differences = rng(4).normal(loc=0.4, size=14)
    exact = sign_flip_test(differences, rng=rng(), num_resamples=8192)
    random = sign_flip_test(differences, rng=rng(), num_resamples=8191)
    assert exact * 8192 == pytest.approx(round(exact * 8192))
    assert random == pytest.approx(exact, abs=0.01)
    assert random != exact


def test_p_value_is_never_zero() -> None:
    assert sign_flip_test(np.ones(100), rng=rng(), num_resamples=999) == 0.001


def test_nothing_is_more_extreme_than_one_sign_for_all() -> None:
    for num in (1, 2, 5, 10):
        assert sign_flip_test(np.full(num, 0.1), rng=rng()) == smallest_p_value(num)


def test_signals_without_difference_change_nothing() -> None:
    differences = rng(1).normal(loc=0.5, size=10)
    padded = np.concatenate([differences, np.zeros(500)])
    assert sign_flip_test(padded, rng=rng()) == sign_flip_test(differences, rng=rng())
    assert sign_flip_test(np.zeros(500), rng=rng()) == 1.0


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=8))
def test_rounding_does_not_decide(tenths: list[int]) -> None:
    # 0.1 + 0.2 is more than 0.3 in floating point, and there are many such sums here.
    exact = sign_flip_test(np.array(tenths, dtype=float), rng=rng())
    assert sign_flip_test(np.array(tenths) / 10, rng=rng()) == exact


NUM_TRIALS = 400


@pytest.mark.parametrize("draw", ["normal", "standard_cauchy"])
@pytest.mark.parametrize("num", [10, 40])
def test_without_a_difference_one_is_seen_as_often_as_the_level_says(draw: str, num: int) -> None:
    trials = getattr(rng(5), draw)(size=(NUM_TRIALS, num))
    p_values = [sign_flip_test(trial, rng=rng(), num_resamples=1000) for trial in trials]
    for level in (0.05, 0.2):
        num_seen = sum(p_value < level for p_value in p_values)
        low, high = stats.binom.interval(0.999, NUM_TRIALS, level)
        assert low <= num_seen <= high


def test_asymmetric_differences_with_mean_zero_are_no_difference_where_there_are_many() -> None:
    trials = rng(6).exponential(size=(NUM_TRIALS, 100)) - 1
    num_seen = sum(sign_flip_test(trial, rng=rng(), num_resamples=1000) < 0.05 for trial in trials)
    low, high = stats.binom.interval(0.999, NUM_TRIALS, 0.05)
    assert low <= num_seen <= high


def test_clear_difference_is_seen() -> None:
    trials = rng(7).normal(loc=1.0, size=(NUM_TRIALS, 20))
    num_seen = sum(sign_flip_test(trial, rng=rng(), num_resamples=1000) < 0.05 for trial in trials)
    assert num_seen > 0.95 * NUM_TRIALS


def test_ten_thousand_signals_need_little_memory() -> None:
    differences = rng(1).normal(size=10_000)
    tracemalloc.start()
    try:
        interval(differences)
        sign_flip_test(differences, rng=rng())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 80e6


# ---- correction --------------------------------------------------------------------------


def test_corrections_of_holm_s_own_rule() -> None:
    # Steps down: times 4, 3, 2, 1, and never less than the one before.
    assert holm([0.01, 0.005, 0.03, 0.04]) == pytest.approx([0.03, 0.02, 0.06, 0.06])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@given(st.lists(st.floats(1e-6, 1), max_size=12), st.floats(1e-6, 1))
def test_correction_rejects_what_the_stepwise_rule_rejects(
    p_values: list[float], level: float
) -> None:
    ordered = sorted(p_values)
    num_rejected = 0
    while num_rejected < len(ordered):
        if (len(ordered) - num_rejected) * ordered[num_rejected] > level:
            break
        num_rejected += 1
    corrected = holm(p_values)
    if level < 1:
        assert sum(p_value <= level for p_value in corrected) == num_rejected
    assert all(after >= before for before, after in zip(p_values, corrected))


def test_level_that_few_signals_cannot_reach() -> None:
    assert smallest_p_value(5) > 0.05 > smallest_p_value(6)
    assert smallest_p_value(100_000) == 0.0
