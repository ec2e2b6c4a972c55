"""What a run needs to go on besides the weights of its models: taken from its parts, and given back to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from torch.optim.lr_scheduler import ReduceLROnPlateau

from audiozen.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler


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
    if set(parts) != set(snapshot):
        raise CheckpointError(f"{where} holds {sorted(snapshot)}, this run has {sorted(parts)}")
    for name, part in parts.items():
        try:
            before, state = snapshot[name]["class"], snapshot[name]["state"]
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"{where}, {name} has no class and state") from error
        now = type(part).__name__
        if before != now:
            raise CheckpointError(
                f"{where}, {name} was a {before} and is a {now} now; use a {before}"
            )
        load_into(part, state, f"{where}, {name}")


def load_into(part: Stateful, state: Any, where: object) -> None:
    """``part.load_state_dict(state)``, with an error that says where it went wrong.

    Raises:
        CheckpointError: the state does not fit.
    """
    try:
        part.load_state_dict(state)
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
