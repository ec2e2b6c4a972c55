"""From what evaluation steps returned to one record per signal, their means, and the score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Number
from typing import TYPE_CHECKING, Any

from torch import Tensor

from audiozen.durable_files import replace_file
from audiozen.errors import TrainingError
from audiozen.tables.files import write_csv
from audiozen.tables.summary import summarise
from audiozen.tables.text import format_summary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Record = dict[str, Any]
SCORES_TAKEN_BY_DEFAULT = (
    'the default epoch_end hooks want {"name": value, 1-D tensor or list} from each step, with one value per '
    "signal; override the epoch_end hook to take anything else"
)
NAME_OF_THE_FIRST = "0"
"""What a dataloader without a name is called by its place; where there is no other, that says nothing."""


class ScoreTable:
    """Scores per signal of one evaluation.

    Args:
        datasets: names of the dataloaders.
        outputs: one list per dataloader with what the steps returned, as :func:`records_of` takes them.
    """

    def __init__(self, datasets: Sequence[str], outputs: Sequence[Sequence[Any]]) -> None:
        self.records = {name: records_of(steps) for name, steps in zip(datasets, outputs)}

    def write_csv(self, folder: Path, name: str) -> None:
        """Write ``NAME_DATASET.csv`` for each dataset, or ``NAME.csv`` where there is only one."""
        for dataset, records in self.records.items():
            stem = name if len(self.records) == 1 else f"{name}_{dataset}"
            write_csv(folder / f"{stem}.csv", records)

    def write_text(self, folder: Path, name: str) -> None:
        """Write the table of means to ``NAME.txt``."""
        replace_file(folder / f"{name}.txt", f"{self.text()}\n".encode())

    def means(self) -> dict[str, float]:
        """Mean of each metric, called ``DATASET/METRIC`` where there are several datasets."""
        several = len(self.records) > 1
        return {
            f"{dataset}/{metric}" if several else metric: summary.mean
            for dataset, records in self.records.items()
            for metric, summary in summarise(records).items()
        }

    def ids(self) -> set[str]:
        """Ids of the signals of all datasets."""
        return {str(record["id"]) for records in self.records.values() for record in records}

    def overall(self) -> dict[str, float]:
        """Mean of each metric over the signals of all datasets."""
        everything = [record for records in self.records.values() for record in records]
        return {metric: summary.mean for metric, summary in summarise(everything).items()}

    def text(self) -> str:
        """A table of the means of each dataset, to be shown."""
        return "\n\n".join(
            format_summary(self._title(dataset), summarise(records))
            for dataset, records in self.records.items()
        )

    def _title(self, dataset: str) -> str:
        num = f"{len(self.records[dataset])} signals"
        return num if list(self.records) == [NAME_OF_THE_FIRST] else f"{dataset} ({num})"


def records_of(outputs: Sequence[Any]) -> list[Record]:
    """One record per signal.

    Args:
        outputs: one entry per batch: a mapping of columns, each a number, a string, a 1-D tensor or a list, with one
            value per signal of the batch. A mapping among them holds further columns, under their own names.

    Returns:
        Records in dataset order, each with an ``id``: the column of that name, or else the signal's number.

    Raises:
        TrainingError: an entry is no such mapping, or its columns have different lengths.
    """
    records: list[Record] = []
    for output in outputs:
        if not isinstance(output, Mapping):
            raise TrainingError(
                f"{SCORES_TAKEN_BY_DEFAULT}; a step returned {type(output).__name__}"
            )
        columns = columns_of_batch(output)
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            raise TrainingError(f"{SCORES_TAKEN_BY_DEFAULT}; a step returned columns of {lengths}")
        for values in zip(*columns.values()):
            record = dict(zip(columns, values))
            records.append({"id": record.pop("id", str(len(records))), **record})
    return records


def columns_of_batch(output: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Columns by name.

    Raises:
        TrainingError: there are two of one name.
    """
    columns: dict[str, list[Any]] = {}
    for name, value in flattened(output):
        if name in columns:
            raise TrainingError(
                f"{SCORES_TAKEN_BY_DEFAULT}; a step returned two columns called {name!r}"
            )
        columns[name] = as_list(name, value)
    return columns


def flattened(output: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Columns of a batch; those of a mapping in the place of one as well."""
    for name, value in output.items():
        if isinstance(value, Mapping):
            yield from flattened(value)
        else:
            yield name, value


def as_list(name: str, column: Any) -> list[Any]:
    """A column of one batch as a list with one plain value per signal."""
    if isinstance(column, Tensor):
        if column.dim() > 1:
            shape = tuple(column.shape)
            raise TrainingError(f"{SCORES_TAKEN_BY_DEFAULT}; {name!r} has the shape {shape}")
        column = column.tolist()
    if isinstance(column, (str, Number)) or column is None:
        return [column]
    if not isinstance(column, Sequence):
        raise TrainingError(f"{SCORES_TAKEN_BY_DEFAULT}; {name!r} is a {type(column).__name__}")
    return [value.item() if isinstance(value, Tensor) else value for value in column]


def score_of(means: Mapping[str, float], best_metric: str | None) -> float:
    """The mean that decides the best checkpoint.

    Args:
        means: mean of each column of numbers.
        best_metric: which of them; None if there is only one.

    Raises:
        TrainingError: there is no such column, or several and none was chosen.
    """
    there = ", ".join(means) or "none"
    if best_metric is None:
        if len(means) != 1:
            raise TrainingError(
                f"best_metric is not set and the steps returned several scores or none ({there}); set it to one of them"
            )
        return next(iter(means.values()))
    if best_metric not in means:
        raise TrainingError(
            f"best_metric is {best_metric!r}, but the steps returned these scores: {there}"
        )
    return means[best_metric]
