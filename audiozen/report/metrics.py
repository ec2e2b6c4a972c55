"""What the page knows of the metrics in the tables: unit, direction, and which one matters most."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from audiozen.errors import RequestError
from audiozen.tables.records import NOISY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from audiozen.report.content import Experiment


def describe(experiments: Sequence[Experiment]) -> dict[str, dict[str, Any]]:
    """Unit and direction of each metric of the output, in the order of the tables.

    A metric of the catalogue has those of the catalogue; the ``best_metric`` of a run has the direction that the run
    gave it; that of others is not known (None).
    """
    from audiozen.metrics.catalogue import metric_of

    directions = {_plain(one.best_metric): one.higher_is_better for one in reversed(experiments)}
    described = {}
    for name in _names(experiments):
        known = metric_of(name)
        described[name] = {
            "unit": known.unit if known else "",
            "higherIsBetter": known.higher_is_better if known else directions.get(name),
        }
    return described


def choose(experiments: Sequence[Experiment], wanted: str | None) -> str | None:
    """The metric that is shown first: the wanted one, the first run's ``best_metric``, or the first in the tables.

    Raises:
        RequestError: no table has the wanted one.
    """
    names = _names(experiments)
    if wanted is not None and wanted not in names:
        there = ", ".join(names) or "none: test the run first"
        raise RequestError(f"no metric {wanted!r} in the tables; there are: {there}")
    best = [_plain(one.best_metric) for one in experiments]
    candidates = [wanted, *best, *names]
    return next((name for name in candidates if name in names), None)


def _names(experiments: Sequence[Experiment]) -> list[str]:
    """Metrics of what models made, in the order of the tables."""
    names = [
        means.metric
        for experiment in experiments
        for dataset in experiment.datasets
        for means in dataset.means
    ]
    return [name for name in dict.fromkeys(names) if not name.endswith(NOISY)]


def _plain(metric: str | None) -> str | None:
    """The metric without the name of a dataset."""
    return metric and metric.rpartition("/")[2]
