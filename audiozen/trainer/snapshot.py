"""What a run needs to go on besides the weights of its models: taken from its parts, and given back to them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol

from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from audiozen.errors import CheckpointError
from audiozen.trainer.own_memory import with_own_memory
from audiozen.trainer.weight_averaging import NoAveraging

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler


logger = logging.getLogger(__name__)

COPYING = (nn.Module, NoAveraging)
"""Parts that copy a state into memory which they have; others keep its tensors."""


class Stateful(Protocol):
    """Anything that can write its state down and take it up again."""

    def state_dict(self) -> dict[str, Any]:
        """The state."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Take the state up again."""


def name_parts(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, Stateful]:
    """Parts by the name that they have in a checkpoint: ``KIND``, or ``KIND.NAME`` where they have names."""
    return {
        f"{kind}.{name}" if name else kind: part
        for kind, parts in groups.items()
        for name, part in parts.items()
    }


def take_snapshot(parts: Mapping[str, Stateful]) -> dict[str, Any]:
    """States of all parts, and of which class each part is."""
    return {
        name: {"class": type(part).__name__, "state": part.state_dict()}
        for name, part in parts.items()
    }


def part_differences(parts: Mapping[str, Stateful], snapshot: Mapping[str, Any]) -> list[str]:
    """One sentence for each part that is there on one side only, or is of another class."""
    problems = []
    for name in {**snapshot, **parts}:
        before = snapshot[name]["class"] if name in snapshot else None
        now = type(parts[name]).__name__ if name in parts else None
        if before != now:
            was, is_now = (repr(kind) if kind else "not there" for kind in (before, now))
            problems.append(f"{name}: was {was}, is {is_now}")
    return problems


def load_snapshot(
    parts: Mapping[str, Stateful], snapshot: Mapping[str, Any], where: object
) -> None:
    """Give the states back.

    Args:
        parts: the same as those of the run that wrote the snapshot.
        snapshot: their states.
        where: where it came from, for error texts.

    Raises:
        CheckpointError: the parts are others or of another class, or a state does not fit its part.
    """
    check_snapshot(snapshot, where)
    if problems := part_differences(parts, snapshot):
        raise CheckpointError(f"{where} is of other parts: {'; '.join(problems)}")
    for name, part in parts.items():
        load_into(part, snapshot[name]["state"], f"{where}, {name}")


def load_what_fits(
    parts: Mapping[str, Stateful], snapshot: Mapping[str, Any], where: object
) -> list[str]:
    """Give back the states that have a part of their class and fit it; names of the parts that start anew."""
    check_snapshot(snapshot, where)
    anew = []
    for name, part in parts.items():
        before = snapshot.get(name, {"class": None})
        try:
            if before["class"] != type(part).__name__:
                raise CheckpointError(f"{where} has no state for a {type(part).__name__}")
            load_into(part, before["state"], f"{where}, {name}")
        except CheckpointError as error:
            logger.warning("%s starts anew: %s", name, error)
            anew.append(name)
    return anew


def check_snapshot(snapshot: Mapping[str, Any], where: object) -> None:
    """Refuse what :func:`take_snapshot` has not made.

    Raises:
        CheckpointError: a part has no class or no state.
    """
    for name, part in snapshot.items():
        if not isinstance(part, dict) or not {"class", "state"} <= part.keys():
            raise CheckpointError(f"{where}, {name} has no class and state")


def load_into(part: Stateful, state: Any, where: object) -> None:
    """``part.load_state_dict(state)``, with an error that says where it went wrong.

    What the part has afterwards is memory of its own, not that of the file from which the state came.

    Raises:
        CheckpointError: the state does not fit.
    """
    try:
        part.load_state_dict(state if isinstance(part, COPYING) else with_own_memory(state))
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{where} does not fit: {error}") from error


class ScoreFollowers:
    """What a score changes: schedules of the kind ``ReduceLROnPlateau``, and through them learning rates.

    A checkpoint is written before its validation, so these have to be written down once more after it.

    Args:
        lr_schedulers: by name; those of other kinds are left alone.
        optimizers: by name.
    """

    def __init__(
        self, lr_schedulers: Mapping[str, LRScheduler], optimizers: Mapping[str, Optimizer]
    ) -> None:
        self.schedulers = {
            name: scheduler
            for name, scheduler in lr_schedulers.items()
            if isinstance(scheduler, ReduceLROnPlateau)
        }
        self.optimizers = optimizers

    def step(self, score: float) -> None:
        """Tell them a score."""
        for scheduler in self.schedulers.values():
            scheduler.step(score)

    def state_dict(self) -> dict[str, Any]:
        """States of the schedules, and all learning rates."""
        return {
            "lr_schedulers": take_snapshot(self.schedulers),
            "learning_rates": {
                name: [group["lr"] for group in optimizer.param_groups]
                for name, optimizer in self.optimizers.items()
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        load_snapshot(self.schedulers, state["lr_schedulers"], "the outcome of the validation")
        for name, optimizer in self.optimizers.items():
            for group, learning_rate in zip(optimizer.param_groups, state["learning_rates"][name]):
                group["lr"] = learning_rate
