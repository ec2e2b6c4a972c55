"""What training_step returned in the course of an epoch, without a transfer from the device in each step."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from audiozen.errors import TrainingError

Losses = dict[str, Tensor]
Layout: TypeAlias = tuple[str, ...] | None  # names of an entry's scalars; None: a bare number

BLOCK_SIZE = 1024
"""Scalars that may be on the device before they are fetched."""


def check_losses(output: Any) -> Losses:
    """Losses of one micro-batch as a dict with ``"loss"``.

    Args:
        output: what ``training_step`` returned: a scalar tensor, or a dict of scalars with ``"loss"``.

    Raises:
        TrainingError: it is neither; the text names the key and what stands there.
    """
    if isinstance(output, Tensor):
        output = {"loss": output}
    if not isinstance(output, Mapping) or "loss" not in output:
        raise TrainingError(
            'training_step must return a scalar tensor, or a dict with "loss" and further scalars; it returned '
            + (f"a dict with {list(output)}" if isinstance(output, Mapping) else describe(output))
        )
    for name, value in output.items():
        if not isinstance(value, (int, float)) and not (
            isinstance(value, Tensor) and value.numel() == 1
        ):
            raise TrainingError(
                f"training_step returned {describe(value)} as {name!r}; only scalars are kept for the "
                "epoch. Return its mean, or keep it yourself"
            )
    if not isinstance(output["loss"], Tensor):
        raise TrainingError(
            'training_step returned a number as "loss"; it must be a tensor to be minimised'
        )
    return dict(output)


def describe(value: object) -> str:
    """A value in an error text."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return f"{type(value).__name__} ({value!r:.60})"


class EpochOutput:
    """One entry per micro-batch: a float, or a dict of floats, just as the step returned them.

    Scalars stay on the device until they are asked for, or until a block of them is fetched in one transfer; so
    nothing waits for the device in a step. Those that were fetched take 8 bytes each, and 4 per entry.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything; a new epoch begins."""
        self._pending: list[float | Tensor] = []
        self._values = array("d")  # scalars of all entries, one entry after the other
        self._entries = array("i")  # for each entry, which of the layouts it has
        self._layouts: dict[Layout, int] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def append(self, output: Tensor | Mapping[str, Tensor | float]) -> None:
        """Take note of what one training_step returned."""
        is_bare = isinstance(output, Tensor)
        layout = None if is_bare else tuple(output)
        self._entries.append(self._layouts.setdefault(layout, len(self._layouts)))
        self._pending += map(_copy, [output] if is_bare else output.values())
        if len(self._pending) >= BLOCK_SIZE:
            self._fetch()

    def floats(self) -> list[float | dict[str, float]]:
        """All entries as Python floats; what is still on the device comes over in one transfer."""
        return self._last(len(self))

    def latest(self, num_micro_batches: int = 1) -> dict[str, float]:
        """Mean of each scalar over the last micro-batches; waits for the device."""
        return means(self._last(num_micro_batches))

    def state_dict(self) -> dict[str, Any]:
        """All entries, as two tensors and the few layouts that they have."""
        self._fetch()
        return {
            "values": torch.from_numpy(np.array(self._values)),
            "entries": torch.from_numpy(np.array(self._entries)),
            "layouts": list(self._layouts),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with saved entries."""
        layouts = [None if names is None else tuple(names) for names in state["layouts"]]
        values, entries = state["values"].tolist(), state["entries"].tolist()
        self.clear()
        self._values, self._entries = array("d", values), array("i", entries)
        self._layouts = {layout: number for number, layout in enumerate(layouts)}

    def _fetch(self) -> None:
        self._values.extend(fetch(self._pending))
        self._pending.clear()

    def _last(self, num_entries: int) -> list[float | dict[str, float]]:
        self._fetch()
        layouts = list(self._layouts)
        first = max(0, len(self) - num_entries)
        chosen = [layouts[number] for number in self._entries[first:]]
        num_values = sum(1 if names is None else len(names) for names in chosen)
        values = iter(self._values[len(self._values) - num_values :])
        return [
            next(values) if names is None else {name: next(values) for name in names}
            for names in chosen
        ]


def _copy(scalar: Tensor | float) -> Tensor | float:
    """A step may write to its tensor later, or return a small part of a large one, which would stay in memory."""
    return scalar.detach().clone() if isinstance(scalar, Tensor) else scalar


def fetch(scalars: list[float | Tensor]) -> list[float]:
    """Numbers and one-element tensors as Python floats, with one transfer per device and dtype."""
    values: list[float] = [0.0] * len(scalars)
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for index, scalar in enumerate(scalars):
        if isinstance(scalar, Tensor):
            groups.setdefault((scalar.device, scalar.dtype), []).append(index)
        else:
            values[index] = float(scalar)
    for indices in groups.values():
        block = torch.stack([scalars[index].reshape(()) for index in indices])  # type: ignore[union-attr]
        for index, value in zip(indices, block.tolist()):
            values[index] = float(value)
    return values


def means(entries: list[float | dict[str, float]]) -> dict[str, float]:
    """Mean of each scalar over the entries that have it; a bare float is called ``loss``."""
    columns: dict[str, list[float]] = {}
    for entry in entries:
        for name, value in (entry if isinstance(entry, dict) else {"loss": entry}).items():
            columns.setdefault(name, []).append(value)
    return {name: sum(column) / len(column) for name, column in columns.items()}
