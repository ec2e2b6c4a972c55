"""Training samples that could not be loaded and had another one put in their place: counted, told and listed."""

from __future__ import annotations

import csv
import io
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from audiozen.durable_files import replace_file
from audiozen.errors import AudioZENError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

NUM_TOLD = 20
"""So many are told one by one."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BadSample:
    """A sample that could not be loaded."""

    epoch: int
    index: int
    """In the dataset."""
    reason: str
    """One line."""


def bad_sample(epoch: int, index: int, error: Exception) -> BadSample:
    """What is kept of the error that loading a sample raised."""
    text = str(error)
    if not isinstance(error, AudioZENError):
        text = f"{type(error).__name__}: {text}"
    # The name of a file need not be text; what cannot be written in UTF-8 is written as \\udcff.
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return BadSample(epoch, index, " ".join(text.split()))


class BadSamples:
    """The bad samples of a run, each once; iterated in the order of epoch and index.

    New ones are told: the first ones by name, from then on only when their number has doubled.
    """

    def __init__(self) -> None:
        self._reasons: dict[tuple[int, int], str] = {}

    def __len__(self) -> int:
        return len(self._reasons)

    def __iter__(self) -> Iterator[BadSample]:
        return (BadSample(*key, reason) for key, reason in sorted(self._reasons.items()))

    def add(self, sample: BadSample) -> None:
        """Count a sample, unless it is known."""
        key = sample.epoch, sample.index
        if key in self._reasons:
            return
        self._reasons[key] = sample.reason
        if len(self) <= NUM_TOLD:
            logger.warning(
                "sample %d cannot be loaded in epoch %d, another one takes its place: %s",
                sample.index,
                sample.epoch,
                sample.reason,
            )
        elif _has_doubled(len(self)):
            logger.warning("%d samples could not be loaded and were replaced so far", len(self))

    def state_dict(self) -> dict[str, Any]:
        """All of them, as values that JSON knows."""
        return {"samples": [[sample.epoch, sample.index, sample.reason] for sample in self]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Become what :meth:`state_dict` told of; nothing is told again."""
        self._reasons = {(epoch, index): reason for epoch, index, reason in state["samples"]}

    def write(self, path: Path) -> None:
        """Write the list as CSV with the columns epoch, index and reason; complete or not at all."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["epoch", "index", "reason"])
        writer.writerows(self.state_dict()["samples"])
        replace_file(path, text.getvalue().encode())


def _has_doubled(count: int) -> bool:
    doublings, rest = divmod(count, NUM_TOLD)
    return rest == 0 and doublings.bit_count() == 1
