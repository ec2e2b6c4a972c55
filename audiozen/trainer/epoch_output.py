"""What training_step returned in the course of an epoch, without a transfer from the device in each step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from audiozen.errors import TrainingError

Losses = dict[str, Tensor]
BLOCK_SIZE = 512


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

    Scalars stay on the device until they are asked for, or until a block of them is fetched in one transfer;
    so memory is
    bounded and nothing waits for the device in a step.
    """

    def __init__(self) -> None:
        self._entries: list[float | dict[str, float]] = []
        self._pending: list[float | Tensor | dict[str, float | Tensor]] = []
        self._num_checked = 0

    def __len__(self) -> int:
        return len(self._entries) + len(self._pending)

    def append(self, output: Tensor | Mapping[str, Tensor | float]) -> None:
        """Take note of what one training_step returned."""
        if isinstance(output, Tensor):
            self._pending.append(output.detach())
        else:
            self._pending.append(
                {name: v.detach() if isinstance(v, Tensor) else v for name, v in output.items()}
            )
        if len(self._pending) >= BLOCK_SIZE:
            self.floats()

    def floats(self) -> list[float | dict[str, float]]:
        """All entries as Python floats; what is still on the device comes over in one transfer."""
        values = iter(fetch([v for entry in self._pending for v in _scalars(entry)]))
        for entry in self._pending:
            if isinstance(entry, dict):
                self._entries.append({name: next(values) for name in entry})
            else:
                self._entries.append(next(values))
        self._pending.clear()
        return self._entries

    def latest(self, num_micro_batches: int = 1) -> dict[str, float]:
        """Mean of each scalar over the last micro-batches; waits for the device."""
        return means(self.floats()[-num_micro_batches:])

    def first_nonfinite(self) -> tuple[int, dict[str, float]] | None:
        """Number and scalars of the first micro-batch with a NaN or an infinity; waits for the device."""
        for index, entry in enumerate(self.floats()[self._num_checked :], start=self._num_checked):
            scalars = entry if isinstance(entry, dict) else {"loss": entry}
            if not all(math.isfinite(value) for value in scalars.values()):
                return index, scalars
        self._num_checked = len(self._entries)
        return None

    def clear(self) -> None:
        """Forget everything; a new epoch begins."""
        self.load_state_dict({"entries": []})

    def state_dict(self) -> dict[str, Any]:
        """All entries."""
        return {"entries": list(self.floats())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with saved entries."""
        self._entries = list(state["entries"])
        self._pending = []
        self._num_checked = 0


def _scalars(entry: float | Tensor | dict[str, float | Tensor]) -> list[float | Tensor]:
    return list(entry.values()) if isinstance(entry, dict) else [entry]


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
