"""The differences between two systems on the signals of one dataset."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from audiozen.errors import RequestError
from audiozen.results.statistics import bootstrap_interval, sign_flip_test, smallest_p_value
from audiozen.tables.records import (
    IMPROVEMENT,
    NOISY,
    columns_of,
    is_number,
    label_text,
    metrics_of,
    refuse_unknown,
)
from audiozen.tables.summary import natural_order

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from audiozen.results.pairing import Pairs
    from audiozen.results.question import Question
    from audiozen.results.run import Record
    from audiozen.results.scores import Scores
    from audiozen.results.statistics import Array

__all__ = ["Difference"]

ALL = "all"
MAX_GROUPS = 50


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One metric of two systems on the same signals."""

    a: str
    b: str
    dataset: str
    group: str
    """``all``, or a label of the column that was asked for."""
    metric: str
    higher_is_better: bool | None
    """None where it is not known."""
    num: int
    """Signals for which both have a value. Everything below is of those."""
    num_failed_a: int
    num_failed_b: int
    mean_a: float
    mean_b: float
    difference: float
    """Mean of B - A."""
    low: float
    high: float
    """The ends of its interval; NaN where there are too few signals."""
    p_value: float
    """Of the sign-flip test; NaN where there are too few signals."""
    p_corrected: float = math.nan
    """The same, corrected for the number of tests."""
    b_wins: int
    """Signals on which B is better; where the direction is not known, higher."""
    ties: int
    a_wins: int
    verdict: str = ""
    """In words: ``A better``, ``B better`` (or ``higher``), or why neither is said."""


class PairedScores:
    """Two systems on one dataset: what is compared there, row by row.

    Args:
        first: system A.
        second: system B.
        pairs: their records of one dataset.
        question: what is asked.

    Raises:
        RequestError: they do not have what is asked for.
    """

    def __init__(self, first: Scores, second: Scores, pairs: Pairs, question: Question) -> None:
        self.first, self.second = first, second
        self.pairs = pairs
        self.question = question
        self.clusters = self._labels(question.cluster) if question.cluster else None
        self.groups = self._groups()
        self.metrics, self.facts = self._metrics()

    def named(self, note: str) -> str:
        """A note that says what it is about."""
        _, mark, text = note.rpartition("warning: ")
        return f"{mark}{self.second.name} against {self.first.name}, {self.pairs.dataset}: {text}"

    # ---- what is compared ----------------------------------------------------------------

    def _labels(self, column: str) -> list[str]:
        """Label of each signal. Both systems may state it, or one alone.

        Raises:
            RequestError: neither states it, or they do not agree.
        """
        sides = [side for side in self.pairs[1:3] if column in columns_of(side)]
        refuse_unknown("column", [] if sides else [column], self._columns())
        labels = [[label_text(record.get(column)) for record in side] for side in sides]
        differing = [number for number, both in enumerate(zip(*labels)) if len(set(both)) > 1]
        if differing:
            one, other = (side[differing[0]] for side in labels)
            raise RequestError(
                f"{column} differs for {len(differing)} signals, such as {sides[0][differing[0]]['id']} ({one} in "
                f"{self.first.name}, {other} in {self.second.name}): these are not the same data"
            )
        return labels[0]

    def _columns(self) -> list[str]:
        columns = columns_of([*self.pairs.first, *self.pairs.second])
        return [column for column in columns if column != "id"]

    def _groups(self) -> list[tuple[str, list[int]]]:
        """Places of the signals of each group; of all signals first."""
        everything = (ALL, list(range(len(self.pairs.first))))
        if self.question.by is None:
            return [everything]
        labels = self._labels(self.question.by)
        if len(set(labels)) > MAX_GROUPS:
            raise RequestError(
                f"{self.question.by} has {len(set(labels))} different values; choose a column with {MAX_GROUPS} "
                "labels or fewer"
            )
        places: dict[str, list[int]] = {}
        for number, label in enumerate(labels):
            places.setdefault(label, []).append(number)
        order = sorted(places, key=lambda label: natural_order((label,)))
        return [everything, *((label, places[label]) for label in order)]

    def _metrics(self) -> tuple[list[str], list[str]]:
        """Metrics to compare, and columns that are taken for facts about the signals."""
        theirs = metrics_of(self.pairs.second)
        both = [name for name in metrics_of(self.pairs.first) if name in theirs]
        refuse_unknown("metric in both", self.question.metrics, both)
        if not both:
            raise RequestError(f"{self.first.name} and {self.second.name} have no metric in common")
        if self.question.metrics:
            return list(self.question.metrics), []
        own = [name for name in both if not _follows_from_another(name, both)]
        facts = [name for name in own if self._is_fact(name)]
        metrics = [name for name in own if name not in facts]
        return (metrics, facts) if metrics else (own, [])

    def _is_fact(self, metric: str) -> bool:
        first, second = self._values(metric)
        return self._direction(metric) is None and np.array_equal(first, second, equal_nan=True)

    def _direction(self, metric: str) -> bool | None:
        """Whether higher is better: of a metric of AudioZEN's, or as the runs state."""
        from audiozen.metrics.catalogue import metric_of

        known = metric_of(metric.removesuffix(NOISY))
        if known is not None:
            return known.higher_is_better
        stated = {
            system.higher_is_better[metric]
            for system in (self.first, self.second)
            if metric in system.higher_is_better
        }
        return stated.pop() if len(stated) == 1 else None

    # ---- what comes of it ----------------------------------------------------------------

    def notes(self) -> Iterator[str]:
        """What is left out, and why."""
        first, second = metrics_of(self.pairs.first), metrics_of(self.pairs.second)
        for name, here, there in (
            (self.first.name, first, second),
            (self.second.name, second, first),
        ):
            only = [metric for metric in here if metric not in there]
            if only and not self.question.metrics:
                yield f"only {name} has {', '.join(only)}"
        if self.facts:
            yield f"the same everywhere, taken for facts about the signals: {', '.join(self.facts)}"
        for metric in self.metrics:
            yield from self._failures(metric)

    def _failures(self, metric: str) -> Iterator[str]:
        first, second = (np.isnan(values) for values in self._values(metric))
        only_first, only_second = int(np.sum(first & ~second)), int(np.sum(second & ~first))
        if only_first or only_second:
            yield (
                f"warning: {metric} failed for {only_first} signals in A alone and {only_second} in B alone; "
                "they are left out of both, so a system that fails on hard signals looks better than it is"
            )

    def differences(self) -> Iterator[Difference]:
        """A row for each metric and group."""
        for metric in self.metrics:
            first, second = self._values(metric)
            for group, places in self.groups:
                yield self._difference(metric, group, first[places], second[places], places)

    def _values(self, metric: str) -> tuple[Array, Array]:
        """Scores of both, NaN where it failed."""
        return _numbers(metric, self.pairs.first), _numbers(metric, self.pairs.second)

    def _difference(
        self, metric: str, group: str, first: Array, second: Array, places: list[int]
    ) -> Difference:
        failed_first, failed_second = np.isnan(first), np.isnan(second)
        both = ~(failed_first | failed_second)
        differences = second[both] - first[both]
        places = [place for place, there in zip(places, both) if there]
        low, high, p_value = self._inference(differences, places)
        direction = self._direction(metric)
        better = -differences if direction is False else differences
        return Difference(
            a=self.first.name,
            b=self.second.name,
            dataset=self.pairs.dataset,
            group=group,
            metric=metric,
            higher_is_better=direction,
            num=len(differences),
            num_failed_a=int(failed_first.sum()),
            num_failed_b=int(failed_second.sum()),
            mean_a=_mean(first[both]),
            mean_b=_mean(second[both]),
            difference=_mean(differences),
            low=low,
            high=high,
            p_value=p_value,
            b_wins=int(np.sum(better > 0)),
            ties=int(np.sum(better == 0)),
            a_wins=int(np.sum(better < 0)),
        )

    def _inference(self, differences: Array, places: list[int]) -> tuple[float, float, float]:
        """Both ends of the interval and the p-value; NaN where so few signals can show nothing."""
        sums, sizes = differences, np.ones_like(differences)
        if self.clusters is not None:
            sums, sizes = _clustered(differences, [self.clusters[place] for place in places])
        question = self.question
        if smallest_p_value(len(sums)) >= question.level:
            return math.nan, math.nan, math.nan
        # Each row starts from the seed, so that it does not depend on what else is compared.
        low, high = bootstrap_interval(
            sums,
            sizes,
            confidence=question.confidence,
            rng=np.random.default_rng(question.seed),
            num_resamples=question.num_resamples,
        )
        rng = np.random.default_rng(question.seed)
        return low, high, sign_flip_test(sums, rng=rng, num_resamples=question.num_resamples)


def _clustered(differences: Array, labels: list[str]) -> tuple[Array, Array]:
    """Sum and number of the differences of each label."""
    _, places = np.unique(np.array(labels, dtype=str), return_inverse=True)
    sums = np.bincount(places, weights=differences)
    return sums.astype(np.float64), np.bincount(places).astype(np.float64)


def _numbers(metric: str, records: Sequence[Record]) -> Array:
    cells = (record.get(metric) for record in records)
    values = np.array([float(cell) if is_number(cell) else math.nan for cell in cells])  # type: ignore[arg-type]
    values[np.isinf(values)] = math.nan  # of which there is no mean
    return values


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else math.nan


def _follows_from_another(name: str, metrics: Sequence[str]) -> bool:
    """Whether a column is that of the noisy signal, or differs as the metric itself does."""
    return any(
        name.endswith(ending) and name.removesuffix(ending) in metrics
        for ending in (NOISY, IMPROVEMENT)
    )
