"""What one system scored: its tables by dataset, from the folder of a run or from a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from audiozen.errors import RequestError
from audiozen.results.run import Run
from audiozen.tables.files import SUFFIXES, read_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from audiozen.results.run import Record

__all__ = ["Scores", "read_all_scores", "read_scores"]


@dataclass(frozen=True)
class Scores:
    """What one system scored on each signal.

    Args:
        name: what the system is called.
        tables: records by dataset, one per signal.
        higher_is_better: direction of the metrics that its run states one for.
    """

    name: str
    tables: Mapping[str, Sequence[Record]]
    higher_is_better: Mapping[str, bool] = field(default_factory=dict)


def read_all_scores(paths: Sequence[str | Path], stage: str = "test") -> list[Scores]:
    """Read what systems scored. Each is called as its folder or file, or by the whole path where two are called alike.

    Args:
        paths: folders of runs, and per-signal tables (``.csv``, ``.jsonl``).
        stage: which tables of a run: ``test``, or ``valid``: those of the best checkpoint.

    Raises:
        RequestError: a path is neither, is given twice, or its run has no such tables.
        AudioZENError: a table cannot be read.
    """
    places = [Path(path).resolve() for path in paths]
    twice = [path for number, path in enumerate(paths) if places[number] in places[:number]]
    if twice:
        raise RequestError(f"{twice[0]} is given twice; it would be compared with itself")
    names = [place.stem if place.is_file() else place.name for place in places]
    return [
        read_scores(path, name if names.count(name) == 1 else str(path), stage)
        for path, name in zip(paths, names)
    ]


def read_scores(path: str | Path, name: str, stage: str = "test") -> Scores:
    """Read one system; see `read_all_scores`."""
    path = Path(path)
    if path.is_file():
        return Scores(name, {path.stem: read_table(path)})
    if not path.is_dir():
        raise RequestError(
            f"{path} does not exist; expected the folder of a run, or a table ({', '.join(SUFFIXES)})"
        )
    return _scores_of_run(Run(path), name, stage)


def _scores_of_run(run: Run, name: str, stage: str) -> Scores:
    tables = run.tables(stage)
    if not tables:
        command = "audiozen test" if stage == "test" else "audiozen validate"
        raise RequestError(f"{run.root} has no {stage} table; {command} CONFIG writes it")
    alone = f"{stage}_{run.best_checkpoint}"  # the name of a dataset that has none
    tables = {stage if dataset == alone else dataset: table for dataset, table in tables.items()}
    metric = run.best_metric
    return Scores(name, tables, {} if metric is None else {metric: run.higher_is_better})
