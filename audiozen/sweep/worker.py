"""One worker of a sweep: makes one trial after the other, each an ordinary run."""

from __future__ import annotations

import gc
import math
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch
from optuna.trial import TrialState

from audiozen.config.locate import explain
from audiozen.errors import AudioZENError, Preempted, TrainingError
from audiozen.experiment import Experiment
from audiozen.sweep.plan import settings_of
from audiozen.sweep.space import as_overrides, in_words
from audiozen.sweep.study import ChangedExperiment
from audiozen.trainer.checkpoint import CheckpointStore
from audiozen.trainer.stop_signals import StopSignals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from optuna.trial import Trial

    from audiozen.sweep.study import Study
    from audiozen.trainer.base_trainer import BaseTrainer

MAX_FAILURES = 3
"""Where so many trials have failed and none has succeeded, it is not for their values."""


def work(
    study: Study,
    config: Path,
    overrides: Sequence[str],
    num_trials: int,
    *,
    say: Callable[[str], object],
    after_trial: Callable[[], object] = lambda: None,
) -> None:
    """Make trials until a study has enough of them.

    Args:
        study: the study.
        config: the experiment's file.
        overrides: ``key=value`` each, of all trials.
        num_trials: of the study, whoever makes them.
        say: tells people a line.
        after_trial: called after each.

    Raises:
        Preempted: a signal asked to stop, and everything is saved.
        ChangedExperiment: the experiment's file was changed.
        AudioZENError: trials have failed, and none has succeeded.
    """
    try:
        while make_one(study, config, overrides, num_trials, say):
            free_memory()
            after_trial()
            refuse_to_fail_on(study)
    except Preempted as stop:
        raise Preempted(f"{stop}. The same command goes on with the sweep") from stop


def make_one(
    study: Study,
    config: Path,
    overrides: Sequence[str],
    num_trials: int,
    say: Callable[[str], object],
) -> bool:
    """Make one trial; False where none is left. Arguments as for :func:`work`."""
    with ExitStack() as claim:
        with stoppable():
            trial = claim.enter_context(study.claimed(num_trials))
        if trial is not None:
            Attempt(study, trial, config, overrides, say).run()
        return trial is not None


class Attempt:
    """One trial, in the hands of one worker.

    Args:
        study: what it belongs to.
        trial: the trial.
        config: the experiment's file.
        overrides: ``key=value`` each, of all trials.
        say: tells people a line.
    """

    def __init__(
        self,
        study: Study,
        trial: Trial,
        config: Path,
        overrides: Sequence[str],
        say: Callable[[str], object],
    ) -> None:
        self.study = study
        self.trial = trial
        self.config = config
        self.values = study.values(trial)
        self.folder = study.run_folder(trial.number)
        place = {"meta.save_dir": str(study.folder), "meta.exp_id": self.folder.name}
        self.overrides = [*overrides, *as_overrides(self.values | place)]
        self.say = say
        self.is_pruned = False
        self._since = time.monotonic()

    def run(self) -> None:
        """Train from where the run of the trial stands, and tell the study what comes of it.

        Raises:
            Preempted: a signal asked to stop, and everything is saved.
            ChangedExperiment: the experiment's file was changed.
        """
        self.say(f"{self.folder.name}: {in_words(self.values)}")
        with self._failure_told():
            with stoppable():
                experiment = Experiment.from_file(self.config, self.overrides)
                self.study.require_settings(settings_of(experiment, self.study.plan.space))
                saved = CheckpointStore(experiment.exp_dir / "checkpoints").names()
                trainer = experiment.build_trainer(resume=bool(saved))
                data = experiment.train_dataloader(), experiment.validation_dataloaders()
            trainer.gives_up = lambda score: self.gives_up(trainer, score)
            trainer.train(*data)
            with stoppable():
                self._finish(experiment, trainer)

    def gives_up(self, trainer: BaseTrainer, score: float) -> bool:
        """Tell the study a score; whether the trial is not worth going on with.

        Raises:
            TrainingError: the score is NaN.
        """
        state = trainer.state
        self.study.report(self.trial, score, state.step)
        self._count_seconds()
        if math.isnan(score):
            raise TrainingError(f"the score is NaN after {state.step} steps")
        if not trainer.end.reached(state) and self.trial.should_prune():
            self.study.prune(self.trial.number)
            self.is_pruned = True
            self.say(f"{self.folder.name}: given up after {state.step} steps, score {score:.4f}")
        return self.is_pruned

    def _finish(self, experiment: Experiment, trainer: BaseTrainer) -> None:
        if self.is_pruned:
            return
        score = trainer.state.best_score
        if score is None:
            raise TrainingError("no validation has given a score")
        experiment.write_complexity(trainer)
        self._count_seconds()
        self.study.complete(self.trial.number, score)
        self.say(f"{self.folder.name}: score {score:.4f}")

    @contextmanager
    def _failure_told(self) -> Iterator[None]:
        """An error is the end of the trial, not of the worker."""
        try:
            yield
        except (Preempted, ChangedExperiment):
            self._count_seconds()
            self.study.forgive(self.trial)
            raise
        except Exception as error:  # noqa: BLE001 - whatever a user's code raises
            folders = [self.config.resolve().parent, self.config.resolve().parent.parent]
            is_ours = isinstance(error, AudioZENError)
            reason = str(error) if is_ours else explain(error, folders)
            self.study.fail(self.trial.number, reason)
            self.say(f"{self.folder.name} failed: {reason}")

    def _count_seconds(self) -> None:
        now = time.monotonic()
        self.study.add_seconds(self.trial, now - self._since)
        self._since = now


@contextmanager
def stoppable() -> Iterator[None]:
    """Within this context a signal that asks to stop is heard at the end.

    Raises:
        Preempted: there was one.
    """
    with StopSignals() as signals:
        yield
        if signals.received:
            raise Preempted(f"stopped by {signals.received}; everything is saved")


def free_memory() -> None:
    """Give back what the last trial had on the GPU, which is full before Python has a reason to look for garbage."""
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()


def refuse_to_fail_on(study: Study) -> None:
    """Stop where nothing but failures comes of a study.

    Raises:
        AudioZENError: so it is; with what the last one says.
    """
    finished = [trial for trial in study.trials if trial.state.is_finished()]
    failed = [trial for trial in finished if trial.state == TrialState.FAIL]
    if len(failed) == len(finished) >= MAX_FAILURES:
        raise AudioZENError(
            f"all of {len(failed)} trials have failed, so it is not for their values. The last one says: "
            f"{failed[-1].user_attrs.get('reason')}"
        )
