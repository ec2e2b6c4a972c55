"""What training_step returned in the course of an epoch, without a transfer from the device in each step."""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from audiozen.errors import TrainingError

if TYPE_CHECKING:
    from audiozen.processes.group import Group

Entry: TypeAlias = "float | dict[str, float]"
Layout: TypeAlias = tuple[str, ...] | None  # names of an entry's scalars; None: a bare number

MAX_SCALARS = 59
CHECKSUMS = 1 << 16
"""So many different ones, so that the sum of their squares is exact for a hundred thousand processes."""
LABEL = "the losses of all processes"

BLOCK_SIZE = 1024
"""Scalars that may be on the device before they are fetched."""


def loss_of(output: Any) -> Tensor:
    """What is to be minimised.

    Args:
        output: what ``training_step`` returned: a scalar tensor, or a dict of scalars with ``"loss"``.

    Raises:
        TrainingError: it is neither; the text names the key and what stands there.
    """
    if isinstance(output, Tensor) and output.numel() == 1:
        return output
    losses = {"loss": output} if isinstance(output, Tensor) else output
    if not isinstance(losses, Mapping) or "loss" not in losses:
        raise TrainingError(
            'training_step must return a scalar tensor, or a dict with "loss" and further scalars; it returned '
            + (f"a dict with {list(losses)}" if isinstance(losses, Mapping) else describe(losses))
        )
    for name, value in losses.items():
        if not isinstance(value, (int, float)) and not (
            isinstance(value, Tensor) and value.numel() == 1
        ):
            raise TrainingError(
                f"training_step returned {describe(value)} as {name!r}; only scalars are kept for the "
                "epoch. Return its mean, or keep it yourself"
            )
    loss = losses["loss"]
    if not isinstance(loss, Tensor):
        raise TrainingError(
            'training_step returned a number as "loss"; it must be a tensor to be minimised'
        )
    return loss


def describe(value: object) -> str:
    """A value in an error text."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return f"{type(value).__name__} ({value!r:.60})"


class EpochOutput:
    """One entry per micro-batch: a float, or a dict of floats, just as the step returned them.

    Scalars stay on the device until they are asked for, or until a block of them is fetched in one transfer; so
    nothing waits for the device in a step. Those that were fetched take 8 bytes each, and 12 per entry.

    Each process has the entries of its own share of each micro-batch, until :meth:`merge`.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything; a new epoch begins."""
        self._pending: list[float | Tensor] = []
        self._values = array("d")  # scalars of all entries, one entry after the other
        self._entries = array("i")  # for each entry, which of the layouts it has
        self._layouts: dict[Layout, int] = {}
        self._weights = array("d")  # of those entries that are not merged, which are the last ones
        self._num_merged_values = 0

    def __len__(self) -> int:
        return len(self._entries)

    def append(self, output: Tensor | Mapping[str, Tensor | float], weight: float = 1.0) -> None:
        """Take note of what one training_step returned.

        Args:
            output: a scalar, or several by name.
            weight: samples that it is of; 0 where it counts for nothing.
        """
        layout: Layout = None
        if isinstance(output, Tensor):
            # What this step has computed stays as it is; but in a CUDA graph each step computes it in the same place.
            is_fresh = output.grad_fn is not None and not (output.is_cuda or output._is_view())
            self._pending.append(output.detach() if is_fresh else _copy(output))
        else:
            layout = tuple(output)
            self._pending += map(_copy, output.values())
        self._entries.append(self._layouts.setdefault(layout, len(self._layouts)))
        self._weights.append(weight)
        if len(self._pending) >= BLOCK_SIZE:
            self._fetch()

    def floats(self) -> list[Entry]:
        """All entries as Python floats; what is still on the device comes over in one transfer."""
        return self._last(len(self))

    def latest(self, num_micro_batches: int = 1) -> dict[str, float]:
        """Mean of each scalar over the samples of the last micro-batches, not merged yet; waits for the device."""
        weights = self._weights[-num_micro_batches:].tolist()
        return weighted_means(self._last(num_micro_batches), weights)

    def merge(self, group: Group) -> None:
        """Let each entry be that of the whole micro-batch: the mean over the samples of all processes.

        To be called by all of them at the same time. Without it, :meth:`floats` and :meth:`state_dict` tell of this
        process's share alone.

        Raises:
            TrainingError: processes have different numbers of entries.
        """
        self._fetch()
        is_new = group.world_size > 1 and group.any(bool(self._weights), "the losses of the epoch")
        if is_new and not self._merge_columns(group):
            self._merge_one_by_one(group)
        self._num_merged_values, self._weights = len(self._values), array("d")

    def _merge_columns(self, group: Group) -> bool:
        """False where the processes have not the same scalars."""
        entries = self._entries[len(self) - len(self._weights) :]
        sizes = [1 if names is None else len(names) for names in self._layouts]
        weights = np.repeat(np.array(self._weights), np.array(sizes)[np.array(entries)])
        merged = average(
            group,
            (list(self._layouts), entries.tobytes()),
            np.array(self._values[self._num_merged_values :]),
            weights,
        )
        if merged is None:
            return False
        self._values[self._num_merged_values :] = array("d", merged.tolist())
        return True

    def _merge_one_by_one(self, group: Group) -> None:
        mine = list(zip(self._last(len(self._weights)), self._weights))
        everyone = group.all_gather(mine, "the losses of the epoch")
        if len({len(entries) for entries in everyone}) > 1:
            counts = ", ".join(str(len(entries)) for entries in everyone)
            raise TrainingError(
                f"processes have made different numbers of micro-batches since the last merge: {counts}"
            )
        del self._entries[len(self) - len(mine) :], self._values[self._num_merged_values :]
        for entries in zip(*everyone):
            merged = weighted_means(*map(list, zip(*entries)))
            is_bare = all(isinstance(entry, float) for entry, _ in entries)
            self.append(torch.tensor(merged["loss"], dtype=torch.float64) if is_bare else merged)
        self._fetch()

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
        self.clear()
        self._values.frombytes(state["values"].numpy().tobytes())
        self._entries.frombytes(state["entries"].numpy().tobytes())
        self._layouts = {layout: number for number, layout in enumerate(layouts)}
        self._num_merged_values = len(self._values)

    def _fetch(self) -> None:
        self._values.extend(fetch(self._pending))
        self._pending.clear()

    def _last(self, num_entries: int) -> list[Entry]:
        self._fetch()
        layouts = list(self._layouts)
        first = max(0, len(self) - num_entries)
        chosen = [layouts[number] for number in self._entries[first:]]
        sizes = {names: 1 if names is None else len(names) for names in layouts}
        num_values = sum(map(sizes.__getitem__, chosen))
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
    groups: dict[tuple[torch.device, torch.dtype], dict[int, Tensor]] = {}
    for index, scalar in enumerate(scalars):
        if isinstance(scalar, Tensor):
            number = scalar.reshape(()) if scalar.ndim else scalar
            groups.setdefault((scalar.device, scalar.dtype), {})[index] = number
        else:
            values[index] = float(scalar)
    for numbers in groups.values():
        for index, value in zip(numbers, torch.stack(list(numbers.values())).tolist()):
            values[index] = float(value)
    return values


def means(entries: Sequence[Entry]) -> dict[str, float]:
    """Mean of each scalar over the entries that have it; a bare float is called ``loss``."""
    return weighted_means(entries, [1.0] * len(entries))


def weighted_means(entries: Sequence[Entry], weights: Sequence[float]) -> dict[str, float]:
    """Mean of each scalar over the entries that have it, of which those without weight count only where all are so."""
    columns: dict[str, list[tuple[float, float]]] = {}
    for entry, weight in zip(entries, weights):
        for name, value in (entry if isinstance(entry, dict) else {"loss": entry}).items():
            columns.setdefault(name, []).append((value, weight))
    return {name: _weighted_mean(column) for name, column in columns.items()}


def _weighted_mean(column: list[tuple[float, float]]) -> float:
    values: list[float] = [value for value, _ in column]
    weights = [weight for _, weight in column]
    if len(set(weights)) == 1:  # also of a single value, which stays what it is
        return sum(values) / len(values)
    return sum(value * weight for value, weight in column if weight) / sum(weights)


def average(
    group: Group, layout: object, values: np.ndarray[Any, Any], weights: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any] | None:
    """Mean of each value over all processes, weighted; None where they have not the same values.

    Args:
        group: the processes; all of them call this at the same time.
        layout: says what the values are; its ``repr`` is compared.
        values: of this process, shape ``(num_values,)``.
        weights: of them, of the same shape. Each value has a weight on at least one process.
    """
    if not group.all_equal([len(values), zlib.crc32(repr(layout).encode())], LABEL):
        return None
    weighted = np.multiply(values, weights, where=weights > 0, out=np.zeros_like(values))
    total, weight = group.sum(torch.from_numpy(np.stack([weighted, weights])), LABEL).numpy()
    mean: np.ndarray[Any, Any] = total / weight
    return mean


class PendingMeans:
    """Means of scalars over the processes that have them, on their way while the training goes on.

    One exchange of a fixed size says whether all have the same scalars, what they are, and whether somebody asks for
    attention. Only where they are not the same, or too many, there is a second one.

    Args:
        group: the processes; all of them make this at the same time, and later call :meth:`result` at the same time.
        scalars: of this process.
        weight: its samples.
        flag: whether this process asks for attention.
    """

    def __init__(
        self, group: Group, scalars: Mapping[str, float], weight: float, *, flag: bool
    ) -> None:
        self._group, self._scalars, self._weight = group, dict(scalars), weight
        self._flag = flag
        if group.world_size == 1:
            return
        fits = len(scalars) <= MAX_SCALARS
        checksum = float(zlib.crc32(repr(list(scalars)).encode()) % CHECKSUMS)
        header = [flag, not fits, checksum, checksum**2, weight]
        values = [value * weight if weight else 0.0 for value in scalars.values()]
        vector = torch.zeros(len(header) + MAX_SCALARS, dtype=torch.float64)
        filled = header + (values if fits else [])
        vector[: len(filled)] = torch.tensor(filled, dtype=torch.float64)
        self._finish = group.start_sum(vector, LABEL)

    def result(self) -> tuple[dict[str, float], bool]:
        """The means, and whether any process asked for attention."""
        if self._group.world_size == 1:
            return self._scalars, self._flag
        flags, too_many, checksums, squares, weight, *sums = self._finish().tolist()
        # Equal numbers, and no others, have the square of their sum as the sum of their squares times their count.
        if too_many or checksums**2 != squares * self._group.world_size:
            return self._gathered(), bool(flags)
        return {name: total / weight for name, total in zip(self._scalars, sums)}, bool(flags)

    def _gathered(self) -> dict[str, float]:
        everyone = self._group.all_gather((self._scalars, self._weight), LABEL)
        return weighted_means(*map(list, zip(*everyone)))
