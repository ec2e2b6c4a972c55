"""Several metrics of a batch of signals, as columns of a table."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence  # noqa: TC003 - experiment files are checked against it
from typing import TYPE_CHECKING

from audiozen.errors import MetricError, RequestError
from audiozen.metrics.catalogue import METRICS
from audiozen.metrics.measure import pairs

if TYPE_CHECKING:
    from audiozen.metrics.measure import Measure, Samples, Signal

Cell = float | str


class Scorer:
    """Computes metrics for each signal of a batch.

    Called as ``scorer(estimate, reference)`` it returns columns for a table: each is a list with
    one entry per signal. A metric that is undefined for a signal is NaN there. If that happens to
    any signal of the call, the column ``<name>__error`` is there as well: the reason, or ``""``
    where all is well. Calls without failures have no such column; tables take the union.

    Can be pickled, and be called in other processes. A missing optional package is a failure of
    all signals, with the reason ``not_installed``.

    Args:
        names: keys of :data:`~audiozen.metrics.METRICS`, in the order of the columns.
        sample_rate: of all signals, in Hz.

    Raises:
        RequestError: an unknown name, one twice, none, or a metric that is not defined at this
        rate.

    >>> import torch
    >>> clean = torch.tensor([[1.0, -1.0, 1.0, -1.0], [0.0, 0.0, 0.0, 0.0]])
    >>> Scorer(["snr"])(clean * 1.1, clean)["snr__error"]
    ['', 'silent_reference']
    """

    def __init__(self, names: Sequence[str], sample_rate: int = 16000) -> None:
        _check_names(names)
        for name in names:
            METRICS[name].measure.check_sample_rate(name, sample_rate)
        self.names = tuple(names)
        self.sample_rate = sample_rate

    def __call__(
        self, estimate: Signal, reference: Signal | None = None, *, suffix: str = ""
    ) -> dict[str, list[Cell]]:
        """Columns for a batch of signals.

        Args:
            estimate: shape ``(time,)`` or ``(batch, time)``, in ``[-1, 1]``.
            reference: same shape. May be left out if no metric needs one.
            suffix: added to the names: ``"_noisy"`` gives ``si_sdr_noisy`` and, if need be,
                ``si_sdr_noisy__error``.

        Returns:
            Columns, each with one entry per signal (one for the shape ``(time,)``).

        Raises:
            ShapeError: the shapes differ, or are others than these.
            RequestError: there is no reference, and a metric needs one.
        """
        if reference is None:
            self._refuse_missing_reference()
        columns: dict[str, list[Cell]] = {}
        results = [self._score(*pair) for pair in pairs(estimate, reference)]
        for name in self.names:
            columns[name + suffix] = [values[name] for values, _ in results]
            if any(name in errors for _, errors in results):
                columns[f"{name}{suffix}__error"] = [errors.get(name, "") for _, errors in results]
        return columns

    def __repr__(self) -> str:
        return f"Scorer({list(self.names)}, sample_rate={self.sample_rate})"

    def _score(
        self, estimate: Samples, reference: Samples | None
    ) -> tuple[dict[str, float], dict[str, str]]:
        """Values and reasons of one signal, by name. Each measure runs once."""
        values: dict[str, float] = {}
        errors: dict[str, str] = {}
        for measure, names in self._names_by_measure().items():
            try:
                scores = measure(estimate, reference, self.sample_rate)
                values.update({name: float(scores[name]) for name in names})
            except MetricError as error:
                values.update(dict.fromkeys(names, math.nan))
                errors.update(dict.fromkeys(names, _reason(error)))
        return values, errors

    def _names_by_measure(self) -> dict[Measure, list[str]]:
        groups: dict[Measure, list[str]] = {}
        for name in self.names:
            groups.setdefault(METRICS[name].measure, []).append(name)
        return groups

    def _refuse_missing_reference(self) -> None:
        without = [name for name in self.names if METRICS[name].needs_reference]
        if without:
            raise RequestError(f"{', '.join(without)}: cannot be computed without a reference")


def _reason(error: MetricError) -> str:
    # What another package said cannot be looked up; the other words can.
    return str(error) if error.reason == "failed" else error.reason


def _check_names(names: Sequence[str]) -> None:
    problems = [_unknown(name) for name in names if name not in METRICS]
    if len(set(names)) < len(names):
        problems.append(f"a metric is named twice in {list(names)}")
    if not names:
        problems.append(f"no metric is named; there are {', '.join(METRICS)}")
    if problems:
        raise RequestError("; ".join(problems))


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, METRICS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(METRICS)}"
    return f"unknown metric {name!r}; {hint}"
