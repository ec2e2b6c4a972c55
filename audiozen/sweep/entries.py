"""What is known of the trials of a sweep, the best first."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from optuna.importance import get_param_importances
from optuna.trial import TrialState

from audiozen.errors import RequestError
from audiozen.results.run import RUNNING, Run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from optuna.trial import FrozenTrial

    from audiozen.sweep.study import Study

DONE, PRUNED, FAILED, STOPPED = "done", "pruned", "failed", "stopped"
STATES = {TrialState.COMPLETE: DONE, TrialState.PRUNED: PRUNED, TrialState.FAIL: FAILED}
ORDER = (DONE, PRUNED, RUNNING, STOPPED, FAILED)
MIN_FOR_IMPORTANCE = 10
"""With fewer trials, importance is chance."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One trial."""

    number: int
    name: str
    """Of its folder."""
    state: str
    """``done``, ``pruned``, ``failed``, ``running``, or ``stopped`` (the next worker goes on with it)."""
    score: float | None
    """The best of its validations."""
    values: dict[str, Any] = field(default_factory=dict)
    """What it has for the settings that are varied."""
    validations: int = 0
    steps: int | None = None
    """At the last validation."""
    seconds: float | None = None
    """Of all workers that had it."""
    reason: str = ""
    """Why it failed."""


def entries_of(study: Study) -> list[Entry]:
    """All trials: those that are done by their score, then those that are pruned, then all others."""
    higher = study.plan.higher_is_better
    entries = [_entry(trial, study.run_folder(trial.number), higher) for trial in study.trials]

    def order(entry: Entry) -> tuple[Any, ...]:
        score = -math.inf if entry.score is None else entry.score if higher else -entry.score
        return ORDER.index(entry.state), -score, entry.number

    return sorted(entries, key=order)


def importance_of(study: Study) -> dict[str, float]:
    """The share of each setting in what makes a trial one of the best (PED-ANOVA), the largest first.

    Empty where too few trials are done, or nothing is known.
    """
    done = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    if len(done) < MIN_FOR_IMPORTANCE or len({trial.value for trial in done}) == 1:
        return {}
    return get_param_importances(study.study)


def records_of(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Entries as records of a table, with every value in a column of its own."""
    return [
        {
            "trial": entry.name,
            "state": entry.state,
            "score": entry.score,
            **entry.values,
            "validations": entry.validations,
            "steps": entry.steps,
            "seconds": entry.seconds,
            "reason": entry.reason,
        }
        for entry in entries
    ]


def _entry(trial: FrozenTrial, folder: Path, higher_is_better: bool) -> Entry:
    state = STATES.get(trial.state) or (RUNNING if _is_running(folder) else STOPPED)
    steps = trial.user_attrs.get("steps", [])
    return Entry(
        number=trial.number,
        name=folder.name,
        state=state,
        score=_score(trial, higher_is_better),
        values=trial.params,
        validations=len(steps),
        steps=max(steps, default=None),
        seconds=trial.user_attrs.get("seconds"),
        reason=" ".join(trial.user_attrs.get("reason", "").split()),
    )


def _score(trial: FrozenTrial, higher_is_better: bool) -> float | None:
    scores = [score for score in trial.intermediate_values.values() if not math.isnan(score)]
    return (max if higher_is_better else min)(scores, default=None)


def _is_running(folder: Path) -> bool:
    try:
        return Run(folder).state == RUNNING
    except RequestError:  # nothing is there yet
        return False
