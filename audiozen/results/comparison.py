"""Which of two systems is better on the same signals, and whether that is shown.

::

    systems = read_all_scores(["exp/baseline", "exp/large"])
    comparison = compare(systems, Question(by="noise_type"))
    comparison.differences[0].verdict  # "B better"

Everything is paired: what is looked at is the difference B - A of each signal.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from audiozen.errors import RequestError
from audiozen.results.difference import PairedScores
from audiozen.results.pairing import pair_systems
from audiozen.results.question import Question
from audiozen.results.statistics import holm

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from audiozen.results.difference import Difference
    from audiozen.results.scores import Scores

__all__ = ["Comparison", "compare"]

NO_DIFFERENCE, IDENTICAL, TOO_FEW = "no difference shown", "identical", "too few signals"


class Comparison(NamedTuple):
    """All differences that were asked for, and what those who read them have to know."""

    question: Question
    differences: list[Difference]
    notes: list[str]

    @property
    def num_tests(self) -> int:
        """P-values that were corrected together."""
        return sum(not math.isnan(row.p_value) for row in self.differences)


def compare(systems: Sequence[Scores], question: Question | None = None) -> Comparison:
    """Compare systems, each with the first one, or all with all.

    Two things have to agree before a difference is told: the corrected p-value is below ``1 - confidence``, and the
    interval of the mean difference does not contain zero.

    Args:
        systems: two or more; A is the one that comes first.
        question: what to compare, and how.

    Returns:
        A row for each pair of systems, dataset, metric and group, in this order.

    Raises:
        RequestError: the systems have not the same signals, or not what is asked for.
    """
    question = question or Question()
    if len(systems) < 2:
        raise RequestError("there is nothing to compare; expected two systems or more")
    differences: list[Difference] = []
    notes: list[str] = []
    for first, second in _pairs_of(systems, question):
        for pairs in pair_systems(first, second, common=question.common):
            view = PairedScores(first, second, pairs, question)
            notes += [view.named(note) for note in (*pairs.notes, *view.notes())]
            differences += view.differences()
    judged = _judged(differences, question.level)
    comparison = Comparison(question, judged, notes)
    return comparison._replace(notes=list(dict.fromkeys([*notes, *_too_coarse(comparison)])))


def _pairs_of(systems: Sequence[Scores], question: Question) -> Iterable[tuple[Scores, Scores]]:
    if question.all_pairs:
        return combinations(systems, 2)
    return [(systems[0], other) for other in systems[1:]]


def _judged(differences: Sequence[Difference], level: float) -> list[Difference]:
    tested = [row for row in differences if not math.isnan(row.p_value)]
    corrected = iter(holm([row.p_value for row in tested]))
    with_p = [
        row if math.isnan(row.p_value) else replace(row, p_corrected=next(corrected))
        for row in differences
    ]
    return [replace(row, verdict=verdict_of(row, level)) for row in with_p]


def verdict_of(row: Difference, level: float) -> str:
    """What a row shows, in words.

    Args:
        row: with its corrected p-value.
        level: how often a difference may be told where there is none.
    """
    if 0 < row.num == row.ties:
        return IDENTICAL
    if math.isnan(row.p_corrected):
        return TOO_FEW
    if row.p_corrected >= level or row.low <= 0 <= row.high:
        return NO_DIFFERENCE
    if row.higher_is_better is None:
        return "B higher" if row.difference > 0 else "B lower"
    return "B better" if (row.difference > 0) == row.higher_is_better else "A better"


def _too_coarse(comparison: Comparison) -> Iterator[str]:
    num_resamples, num_tests = comparison.question.num_resamples, comparison.num_tests
    if num_tests / (num_resamples + 1) >= comparison.question.level:
        needed = math.ceil(10 * num_tests / comparison.question.level)
        yield (
            f"warning: {num_tests} tests are more than {num_resamples} resamples can tell differences in; "
            f"give --num-resamples {needed}"
        )
