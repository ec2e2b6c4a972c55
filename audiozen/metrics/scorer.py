"""Several metrics of a batch of signals, as columns of a table."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from audiozen.errors import MetricError, RequestError, WorkerDied
from audiozen.metrics.catalogue import IMPROVEMENT, METRICS, Metric
from audiozen.metrics.measure import Measure, Recording, signals
from audiozen.metrics.pool import gathered

if TYPE_CHECKING:
    from concurrent.futures import Future

    from audiozen.metrics.measure import Signal
    from audiozen.metrics.pool import MetricPool

Cell = float | str

Outcome: TypeAlias = Mapping[str, float] | MetricError
"""Values by name of the metric, or why there are none."""


class Job(NamedTuple):
    """One measure of one pair of signals. It can be pickled, and run in another process."""

    measure: Measure
    estimate: Recording
    reference: Recording | None
    sample_rate: int

    def run(self) -> Outcome:
        """Its values, or the error, returned instead of raised."""
        try:
            return self.measure(self.estimate, self.reference, self.sample_rate)
        except MetricError as error:
            return error


class Scorer:
    """Computes metrics for each signal of a batch.

    Called as ``scorer(estimate, reference)`` it returns columns for a table: each is a list with
    one entry per signal. A metric that is undefined for a signal is NaN there. If that happens to
    any signal of the call, the column ``<name>__error`` is there as well: the reason, or ``""``
    where all is well. Calls without failures have no such column; tables take the union.

    Each metric has an improvement, named with ``_i`` behind (``si_sdr_i``): its value for the
    estimate less its value for the noisy signal that the estimate was made of, which is then given
    as ``noisy=``. It is NaN where either is, with the reason of the one that failed. Improvements of
    distances, which are better when lower, are below 0.

    Can be pickled, and be called in other processes. A missing optional package is a failure of
    all signals, with the reason ``not_installed``.

    Args:
        names: keys of :data:`~audiozen.metrics.METRICS`, and improvements, in the order of the
            columns.
        sample_rate: of all signals, in Hz.

    Raises:
        RequestError: an unknown name, one twice, none, or a metric that is not defined at this
            rate.

    >>> import torch
    >>> clean = torch.tensor([[1.0, -1.0, 1.0, -1.0], [0.0, 0.0, 0.0, 0.0]])
    >>> Scorer(["snr"])(clean * 1.1, clean)["snr__error"]
    ['', 'silent_reference']
    >>> [gain, _] = Scorer(["snr_i"])(clean * 1.1, clean, noisy=clean * 2)["snr_i"]
    >>> print(f"{gain:.1f} dB")
    20.0 dB
    """

    def __init__(self, names: Sequence[str], sample_rate: int = 16000) -> None:
        _check_names(names)
        for name in names:
            _metric(name).measure.check_sample_rate(name, sample_rate)
        self.names = tuple(names)
        self.sample_rate = sample_rate

    def __call__(
        self,
        estimate: Signal,
        reference: Signal | None = None,
        *,
        noisy: Signal | None = None,
        suffix: str = "",
    ) -> dict[str, list[Cell]]:
        """Columns for a batch of signals.

        Args:
            estimate: shape ``(time,)`` or ``(batch, time)``, in ``[-1, 1]``.
            reference: same shape. May be left out if no metric needs one.
            noisy: what the estimate was made of, same shape. Only improvements look at it.
            suffix: added to the names: ``"_noisy"`` gives ``si_sdr_noisy`` and, if need be,
                ``si_sdr_noisy__error``.

        Returns:
            Columns, each with one entry per signal (one for the shape ``(time,)``).

        Raises:
            ShapeError: the shapes differ, or are others than these.
            RequestError: there is no reference, and a metric needs one; or there is no noisy
                signal, and an improvement is asked for.
        """
        jobs = self._jobs(estimate, reference, noisy)
        return self._assemble([[job.run() for job in group] for group in jobs], suffix)

    def submit(
        self,
        pool: MetricPool,
        estimate: Signal,
        reference: Signal | None = None,
        *,
        noisy: Signal | None = None,
        suffix: str = "",
    ) -> Future[dict[str, list[Cell]]]:
        """As calling it, but slow metrics are computed by the processes of a pool, meanwhile.

        Where a process dies (PESQ can abort), the metric that it was at is NaN for that signal, with the reason
        ``crashed``.

        Args:
            pool: computes; waits here first while too much is pending.
            estimate: as when it is called, like all others. It may be changed as soon as this has returned.
            reference: same shape.
            noisy: same shape.
            suffix: added to the names.

        Returns:
            The columns, when they are there.

        Raises:
            ShapeError, RequestError: as when it is called; at once.
        """
        jobs = self._jobs(estimate, reference, noisy)
        sizes = [len(group) for group in jobs]
        pending = [_started(job, pool) for group in jobs for job in group]

        def columns(outcomes: list[Outcome | WorkerDied]) -> dict[str, list[Cell]]:
            following = map(_survived, outcomes)
            return self._assemble([[next(following) for _ in range(n)] for n in sizes], suffix)

        return gathered(pending, columns)

    def __repr__(self) -> str:
        return f"Scorer({list(self.names)}, sample_rate={self.sample_rate})"

    def _jobs(
        self, estimate: Signal, reference: Signal | None, noisy: Signal | None
    ) -> list[list[Job]]:
        """What is to be computed of each signal; each measure once of the estimate and of noisy."""
        self._refuse_missing(reference, noisy)
        after, before = self._measures()
        jobs = []
        for enhanced, target, mixture in signals(estimate, reference, noisy):
            group = [_job(measure, enhanced, target, self.sample_rate) for measure in after]
            if mixture is not None:
                group += [_job(measure, mixture, target, self.sample_rate) for measure in before]
            jobs.append(group)
        return jobs

    def _assemble(
        self, outcomes: Sequence[Sequence[Outcome]], suffix: str = ""
    ) -> dict[str, list[Cell]]:
        """Columns, from the outcomes of the jobs of each signal, in the order of the jobs."""
        rows = [self._scores(group) for group in outcomes]
        columns: dict[str, list[Cell]] = {}
        for name in self.names:
            scores = [row[name] for row in rows]
            columns[name + suffix] = [s if isinstance(s, float) else math.nan for s in scores]
            if any(isinstance(score, MetricError) for score in scores):
                columns[f"{name}{suffix}__error"] = [_reason(score) for score in scores]
        return columns

    def _scores(self, outcomes: Sequence[Outcome]) -> dict[str, float | MetricError]:
        """All metrics of one signal, by name."""
        after, before = self._measures()
        of_estimate = dict(zip(after, outcomes))
        of_noisy = dict(zip(before, outcomes[len(after) :]))
        return {
            name: _improvement(name, of_estimate, of_noisy)
            if _is_improvement(name)
            else _score(name, of_estimate)
            for name in self.names
        }

    def _measures(self) -> tuple[list[Measure], list[Measure]]:
        """Those of the estimate, and those of the noisy signal."""
        return _measures(self.names), _measures(self._improvements())

    def _improvements(self) -> list[str]:
        return [name for name in self.names if _is_improvement(name)]

    def _refuse_missing(self, reference: Signal | None, noisy: Signal | None) -> None:
        without = [name for name in self.names if _metric(name).needs_reference]
        if reference is None and without:
            raise RequestError(f"{', '.join(without)}: cannot be computed without a reference")
        if noisy is None and self._improvements():
            raise RequestError(
                f"{', '.join(self._improvements())}: cannot be computed without the noisy signal "
                "that the estimate was made of; pass it as noisy="
            )


def _job(
    measure: Measure, estimate: Recording, reference: Recording | None, sample_rate: int
) -> Job:
    return Job(measure, estimate, reference if measure.needs_reference else None, sample_rate)


def _started(job: Job, pool: MetricPool) -> Future[Outcome] | Outcome:
    """The outcome, now where it is cheap."""
    return pool.submit(Job.run, job) if job.measure.is_slow else job.run()


def _survived(outcome: Outcome | WorkerDied) -> Outcome:
    return MetricError("crashed", str(outcome)) if isinstance(outcome, WorkerDied) else outcome


def _measures(names: Sequence[str]) -> list[Measure]:
    """What must run to have all these metrics."""
    asked = list(dict.fromkeys(_metric(name).measure for name in names))
    covered = {inner for measure in asked for inner in measure.covers}
    return [measure for measure in asked if measure not in covered]


def _score(name: str, outcomes: Mapping[Measure, Outcome]) -> float | MetricError:
    wanted = _metric(name).measure
    [outcome] = [
        outcome
        for measure, outcome in outcomes.items()
        if wanted is measure or wanted in measure.covers
    ]
    return outcome if isinstance(outcome, MetricError) else float(outcome[_base(name)])


def _improvement(
    name: str, of_estimate: Mapping[Measure, Outcome], of_noisy: Mapping[Measure, Outcome]
) -> float | MetricError:
    after, before = _score(name, of_estimate), _score(name, of_noisy)
    if isinstance(after, MetricError):
        return after
    return before if isinstance(before, MetricError) else after - before


def _is_improvement(name: str) -> bool:
    return name not in METRICS


def _base(name: str) -> str:
    return name.removesuffix(IMPROVEMENT)


def _metric(name: str) -> Metric:
    return METRICS[_base(name)]


def _reason(score: float | MetricError) -> str:
    if not isinstance(score, MetricError):
        return ""
    # What another package said cannot be looked up; the other words can.
    return str(score) if score.reason == "failed" else score.reason


def _check_names(names: Sequence[str]) -> None:
    problems = [_unknown(name) for name in names if _base(name) not in METRICS]
    if len(set(names)) < len(names):
        problems.append(f"a metric is named twice in {list(names)}")
    if not names:
        problems.append(f"no metric is named; there are {', '.join(METRICS)}")
    if problems:
        raise RequestError("; ".join(problems))


def _unknown(name: str) -> str:
    base = _base(name)
    near = difflib.get_close_matches(base, METRICS, n=1)
    suffix = name[len(base) :]
    hint = f"did you mean {near[0] + suffix!r}?" if near else f"there are {', '.join(METRICS)}"
    return f"unknown metric {name!r}; {hint}"
