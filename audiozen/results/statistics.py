"""What differences between two systems on the same signals show: an interval and a test. Knows numbers, and no tables.

::

    rng = np.random.default_rng(0)
    low, high = bootstrap_interval(differences, confidence=0.95, rng=rng)
    p_value = sign_flip_test(differences, rng=rng)

Signals that belong together (of one speaker, of one recording) can be resampled and flipped as a whole: then ``sums``
has the sum of the differences of each such cluster, and ``sizes`` how many signals it has.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["bootstrap_interval", "holm", "sign_flip_test", "smallest_p_value"]

Array: TypeAlias = "NDArray[np.float64]"

NUM_RESAMPLES = 10_000
_BLOCK = 1 << 20  # numbers that are drawn at once: memory stays the same for any number of signals
_ROUNDING = 1e-12  # of the largest sum there can be: sums that differ by less count as equal
_NORMAL = NormalDist()


def bootstrap_interval(
    sums: Array,
    sizes: Array | None = None,
    *,
    confidence: float,
    rng: np.random.Generator,
    num_resamples: int = NUM_RESAMPLES,
) -> tuple[float, float]:
    """Bootstrap interval of the mean over signals, bias-corrected and accelerated (BCa).

    With fewer than about 20 signals (or clusters), it is too narrow, as every bootstrap interval is.

    Args:
        sums: differences, shape ``(signals,)``; or their sums over clusters, shape ``(clusters,)``.
        sizes: signals in each cluster; None: one each.
        confidence: how often such intervals contain the mean, such as 0.95.
        rng: draws the resamples.
        num_resamples: how many.

    Returns:
        Both ends. NaN for fewer than two signals or clusters.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", Chapman & Hall 1993, section 14.3; DiCiccio and
    Efron, "Bootstrap Confidence Intervals", Statistical Science 11(3), 1996.

    >>> low, high = bootstrap_interval(np.arange(100.0), confidence=0.95, rng=np.random.default_rng(0))
    >>> print(f"{low:.0f} {high:.0f}")
    44 55
    """
    sizes = np.ones_like(sums) if sizes is None else sizes
    if len(sums) < 2:
        return math.nan, math.nan
    mean = sums.sum() / sizes.sum()
    means = np.concatenate(list(_resampled_means(sums, sizes, rng, num_resamples)))
    if means.min() == means.max():
        return float(means[0]), float(means[0])
    bias = _bias(means, mean)
    acceleration = _acceleration(sums, sizes)
    tail = (1 - confidence) / 2
    low, high = (_bca_level(level, bias, acceleration) for level in (tail, 1 - tail))
    return float(np.quantile(means, low)), float(np.quantile(means, high))


def _resampled_means(
    sums: Array, sizes: Array, rng: np.random.Generator, num_resamples: int
) -> Iterator[Array]:
    for block in _blocks(num_resamples, len(sums)):
        drawn = rng.integers(0, len(sums), (len(block), len(sums)))
        yield sums[drawn].sum(1) / sizes[drawn].sum(1)


def _bias(means: Array, mean: float) -> float:
    """How far the median of the resampled means lies from the mean, on the scale of the normal distribution."""
    share_below = float(np.mean(means < mean) + np.mean(means == mean) / 2)
    smallest = 1 / (len(means) + 1)
    return _NORMAL.inv_cdf(min(max(share_below, smallest), 1 - smallest))


def _acceleration(sums: Array, sizes: Array) -> float:
    """How fast the standard error of the mean changes with the mean, by the jackknife."""
    left_out = (sums.sum() - sums) / (sizes.sum() - sizes)
    deviations = left_out.mean() - left_out
    spread = np.linalg.norm(deviations)
    return float(((deviations / spread) ** 3).sum()) / 6 if spread > 0 else 0.0


def _bca_level(level: float, bias: float, acceleration: float) -> float:
    """The quantile of the resampled means that stands for ``level``."""
    shifted = bias + _NORMAL.inv_cdf(level)
    return _NORMAL.cdf(bias + shifted / (1 - acceleration * shifted))


def sign_flip_test(
    sums: Array, *, rng: np.random.Generator, num_resamples: int = NUM_RESAMPLES
) -> float:
    """Probability of a mean at least this far from zero if it makes no difference which system is which. Two-sided.

    Each difference could then as well have had the other sign. All ways to choose the signs are counted where there are
    few, otherwise as many random ones, and what was observed is one of them.

    Args:
        sums: differences, shape ``(signals,)``; or their sums over clusters, shape ``(clusters,)``.
        rng: draws the signs.
        num_resamples: how many times, where not all are counted.

    Returns:
        In (0, 1]. Random ones give no less than ``1 / (num_resamples + 1)``.

    Source: Fisher, "The Design of Experiments", 1935, section 21; Phipson and Smyth, "Permutation P-values Should Never
    Be Zero", Statistical Applications in Genetics and Molecular Biology 9(1), 2010. That it holds for many signals also
    where their differences are not symmetric: Romano, "On the Behavior of Randomization Tests Without a Group
    Invariance Assumption", Journal of the American Statistical Association 85, 1990.

    >>> sign_flip_test(np.ones(5), rng=np.random.default_rng(0))  # 2 of 32 choices are as extreme
    0.0625
    """
    sums = sums[sums != 0]  # whose sign does not matter
    if len(sums) == 0:
        return 1.0
    num_choices = 1 << (len(sums) - 1)  # the first sign stays: turning all of them changes nothing
    threshold = abs(sums.sum()) - _ROUNDING * np.abs(sums).sum()
    if num_choices <= num_resamples:
        return _num_extreme(sums, _all_flips(len(sums)), threshold) / num_choices
    num_extreme = _num_extreme(sums, _random_flips(len(sums), rng, num_resamples), threshold)
    return (num_extreme + 1) / (num_resamples + 1)


def _num_extreme(sums: Array, blocks: Iterable[NDArray[np.bool_]], threshold: float) -> int:
    flipped = (sums.sum() - 2 * (flips @ sums) for flips in blocks)
    return sum(int(np.count_nonzero(np.abs(block) >= threshold)) for block in flipped)


def _all_flips(num: int) -> Iterator[NDArray[np.bool_]]:
    for block in _blocks(2 ** (num - 1), num):
        yield (np.array(block)[:, None] >> np.arange(num)) & 1 == 1


def _random_flips(
    num: int, rng: np.random.Generator, num_resamples: int
) -> Iterator[NDArray[np.bool_]]:
    for block in _blocks(num_resamples, num):
        yield rng.integers(0, 2, (len(block), num), dtype=np.bool_)


def _blocks(num_rows: int, length: int) -> Iterator[range]:
    """All rows, in blocks that hold a bounded number of values."""
    size = max(1, _BLOCK // length)
    for start in range(0, num_rows, size):
        yield range(start, min(start + size, num_rows))


def smallest_p_value(num: int) -> float:
    """What `sign_flip_test` gives at least for this many differences, however clear they are.

    >>> smallest_p_value(5), smallest_p_value(6)
    (0.0625, 0.03125)
    """
    return math.ldexp(1.0, 1 - num)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number: with chance ``alpha`` at most, any is below ``alpha`` by accident.

    Source: Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 6, 1979.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected = [1.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected
