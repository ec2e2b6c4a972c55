"""What all workers of a sweep must agree on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from audiozen.sweep.space import space_of, tables_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from audiozen.experiment import Experiment
    from audiozen.sweep.space import Space

Sampler: TypeAlias = Literal["tpe", "random"]
Pruner: TypeAlias = Literal["median", "asha", "hyperband", "none"]

OF_THE_MACHINE = {
    *("num_workers", "prefetch_factor", "persistent_workers", "pin_memory"),
    *("num_threads", "num_metric_workers"),
}
"""Settings that may differ between machines, as scores do not depend on them."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a sweep tries, and how.

    Args:
        space: what is varied.
        settings: all others of the experiment that scores depend on, by key.
        best_metric: what the score is called.
        higher_is_better: direction of the score.
        sampler: how values are chosen.
        pruner: how it is decided which trials are given up.
        seed: of the choice of values.
    """

    space: Space
    settings: dict[str, Any]
    best_metric: str
    higher_is_better: bool
    sampler: Sampler
    pruner: Pruner
    seed: int

    def as_json(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        return {**vars(self), "space": tables_of(self.space)}

    @classmethod
    def of_json(cls, facts: Mapping[str, Any]) -> Plan:
        """The opposite of :meth:`as_json`."""
        return cls(**{**facts, "space": space_of(facts["space"])})

    def differences(self, other: Plan) -> list[str]:
        """What another plan has otherwise, a line each."""
        mine, theirs = (dict(_flat(plan.as_json())) for plan in (self, other))
        keys = list(dict.fromkeys([*mine, *theirs]))
        return [
            f"{key.removeprefix('settings.')}: {mine.get(key)!r} there, {theirs.get(key)!r} now"
            for key in keys
            if mine.get(key) != theirs.get(key)
        ]


def plan_of(
    experiment: Experiment, space: Space, *, sampler: Sampler, pruner: Pruner, seed: int
) -> Plan:
    """The plan of a sweep over an experiment. Arguments as for :class:`Plan`."""
    return Plan(
        space=space,
        settings=settings_of(experiment, space),
        best_metric=experiment.trainer_config.best_metric or "score",
        higher_is_better=experiment.trainer_config.higher_is_better,
        sampler=sampler,
        pruner=pruner,
        seed=seed,
    )


def settings_of(experiment: Experiment, space: Space) -> dict[str, Any]:
    """Settings of an experiment that scores depend on, by key; but for what is varied.

    Paths may differ between machines, and so may what costs only time.
    """
    tables = experiment.record()
    tables["meta"] = {key: tables["meta"][key] for key in ("seed", "deterministic")}
    return {
        key: value
        for key, value in _flat(tables)
        if not _is_of_the_machine(key, value)
        and not any(f"{key}.".startswith(f"{varied}.") for varied in space)
    }


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Values in tables and in lists of tables, by their dotted keys."""
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _flat(item, f"{key}.{name}" if key else name)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        yield from _flat({str(index): item for index, item in enumerate(value)}, key)
    else:
        yield key, value


def _is_of_the_machine(key: str, value: Any) -> bool:
    is_path = isinstance(value, str) and Path(value).is_absolute()
    return is_path or key.rpartition(".")[2] in OF_THE_MACHINE
