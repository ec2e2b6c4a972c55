"""The trials of one sweep, which many workers share: who does which, and what came of it.

::

    exp/baseline_sweep/
    ├── study.journal       everything that is known of the trials
    ├── trial_0000/         an ordinary run, as ``audiozen train`` leaves it
    ├── trial_0001/
    └── sweep.csv, sweep.svg
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.trial import Trial, TrialState

from audiozen.errors import RequestError
from audiozen.sweep.journal import Journal
from audiozen.sweep.plan import Plan
from audiozen.sweep.space import Choices, in_toml
from audiozen.trainer.run_lock import run_lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

    from audiozen.sweep.plan import Pruner, Sampler
    from audiozen.sweep.space import Range

NAME = "sweep"
OTHER_SWEEP = (
    "{} is the folder of another sweep; give the new one another name, by that of the space's file or with "
    "meta.exp_id=NAME, or delete the folder:"
)
CHANGED = (
    "the experiment has changed since the sweep in {} began, so that scores cannot be compared:"
)
MAX_STARTS = 3
"""A trial that ends its worker so many times without a validation between them has failed."""


class ChangedExperiment(RequestError):
    """The experiment is not what it was when its sweep began. Nothing was started with it."""


class Study:
    """The trials in a folder.

    Args:
        folder: of the sweep.
        plan: what is tried. None: what the study says.

    Raises:
        RequestError: there is no study, or it has another plan.
    """

    def __init__(self, folder: Path, plan: Plan | None = None) -> None:
        self.folder = folder
        path = folder / "study.journal"
        if plan is None and not path.is_file():
            raise RequestError(f"{folder} has no trials yet; start the sweep first")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.journal = Journal(path)
        with self.journal.lock.held():
            self.study = self._opened(plan)
        self.plan = Plan.of_json(self.study.user_attrs["plan"])
        if plan is not None and (differences := self.plan.differences(plan)):
            raise RequestError("\n  ".join([OTHER_SWEEP.format(folder), *differences]))
        self.study.pruner = pruner_of(self.plan.pruner)

    def _opened(self, plan: Plan | None) -> optuna.Study:
        names = [one.study_name for one in self.journal.storage.get_all_studies()]
        if plan is None or NAME in names:
            return optuna.load_study(study_name=NAME, storage=self.journal.storage)
        study = optuna.create_study(
            study_name=NAME,
            storage=self.journal.storage,
            direction="maximize" if plan.higher_is_better else "minimize",
        )
        study.set_user_attr("plan", plan.as_json())
        return study

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials as they are now, by number."""
        return self.study.get_trials(deepcopy=False)

    def require_settings(self, settings: dict[str, Any]) -> None:
        """Refuse settings that are not those of the sweep.

        Raises:
            ChangedExperiment: they are not; the text says which.
        """
        if differences := self.plan.differences(replace(self.plan, settings=settings)):
            raise ChangedExperiment("\n  ".join([CHANGED.format(self.folder), *differences]))

    def run_folder(self, number: int) -> Path:
        """Folder of the run of a trial."""
        return self.folder / f"trial_{number:04d}"

    # ---- before a trial --------------------------------------------------------------------

    @contextmanager
    def claimed(self, num_trials: int) -> Iterator[Trial | None]:
        """Within this context, a trial that no other worker has; None where nothing is left to do.

        First those whose worker is gone, then new ones.

        Args:
            num_trials: of the study, whoever makes them.
        """
        with ExitStack() as stack:
            with self.journal.lock.held():
                trial = self._abandoned(stack) or self._new(stack, num_trials)
            yield trial

    def _abandoned(self, stack: ExitStack) -> Trial | None:
        for trial in self.trials:
            if trial.state != TrialState.RUNNING:
                continue
            try:
                stack.enter_context(run_lock(self.run_folder(trial.number)))
            except RequestError:  # its worker is alive
                continue
            if trial.user_attrs.get("starts", 0) >= MAX_STARTS:
                self.fail(trial.number, f"its worker died {MAX_STARTS} times in a row")
            else:
                self._set_sampler(trial.number)
                return self._started(Trial(self.study, trial._trial_id))
        return None

    def _new(self, stack: ExitStack, num_trials: int) -> Trial | None:
        number = len(self.trials)
        if number >= num_trials:
            return None
        stack.enter_context(run_lock(self.run_folder(number)))
        self._set_sampler(number)
        return self._started(self.study.ask())

    def _set_sampler(self, number: int) -> None:
        """Values depend on the number of the trial and on those before alone, whoever makes them."""
        words = np.random.SeedSequence([self.plan.seed, number]).generate_state(1)
        self.study.sampler = sampler_of(self.plan.sampler, int(words[0]))

    def _started(self, trial: Trial) -> Trial:
        self.values(trial)
        trial.set_user_attr("starts", trial.user_attrs.get("starts", 0) + 1)
        return trial

    def values(self, trial: Trial) -> dict[str, Any]:
        """The values of the settings that are varied."""
        return {key: suggested(trial, key, kind) for key, kind in self.plan.space.items()}

    # ---- in the course of a trial ----------------------------------------------------------

    def report(self, trial: Trial, score: float, step: int) -> None:
        """Take note of a validation. One that is done again after a resume counts once.

        Args:
            trial: whose.
            score: what came out.
            step: steps made so far.
        """
        steps = trial.user_attrs.get("steps", [])
        if step not in steps:
            trial.report(score, len(steps) + 1)
            trial.set_user_attr("steps", [*steps, step])
        self.forgive(trial)

    def forgive(self, trial: Trial) -> None:
        """Take note that the trial is not to blame for the end of its worker."""
        trial.set_user_attr("starts", 0)

    def add_seconds(self, trial: Trial, seconds: float) -> None:
        """Take note of the time that was spent on a trial."""
        trial.set_user_attr("seconds", trial.user_attrs.get("seconds", 0.0) + seconds)

    # ---- after a trial ---------------------------------------------------------------------

    def complete(self, number: int, score: float) -> None:
        """A trial has come to its end."""
        self.study.tell(number, score)

    def prune(self, number: int) -> None:
        """A trial is given up."""
        self.study.tell(number, state=TrialState.PRUNED)

    def fail(self, number: int, reason: str) -> None:
        """A trial has failed."""
        self._trial(number).set_user_attr("reason", reason)
        self.study.tell(number, state=TrialState.FAIL)

    def _trial(self, number: int) -> Trial:
        return Trial(self.study, self.trials[number]._trial_id)


def suggested(trial: Trial, key: str, kind: Range | Choices) -> Any:
    """The value that a trial has for a setting; it is chosen where that was not done yet."""
    if isinstance(kind, Choices):
        values = {label(value): value for value in kind.values}
        return values[trial.suggest_categorical(key, list(values))]
    if kind.is_whole:
        low, high, step = int(kind.low), int(kind.high), int(kind.step or 1)
        return trial.suggest_int(key, low, high, step=step, log=kind.log)
    return trial.suggest_float(key, kind.low, kind.high, step=kind.step, log=kind.log)


def label(choice: Any) -> Any:
    """What a study calls a choice: lists and tables by their text."""
    return in_toml(choice) if isinstance(choice, (list, dict)) else choice


def sampler_of(name: Sampler, seed: int) -> BaseSampler:
    """A sampler by name."""
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed)


def pruner_of(name: Pruner) -> BasePruner:
    """A pruner by name, as Optuna sets it up."""
    pruners: dict[str, type[BasePruner]] = {
        "median": optuna.pruners.MedianPruner,
        "asha": optuna.pruners.SuccessiveHalvingPruner,
        "hyperband": optuna.pruners.HyperbandPruner,
        "none": optuna.pruners.NopPruner,
    }
    return pruners[name]()
