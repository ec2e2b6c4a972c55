"""``audiozen train``: a training, and what is said when it has ended."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audiozen.cli.request import (
    ConfigFile,
    Overrides,
    checkpoints_of,
    read_experiment,
    require_table,
    tell,
)
from audiozen.errors import RequestError
from audiozen.system.shell import quoted
from audiozen.tables.records import NOISY
from audiozen.tables.summary import summarise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from audiozen.experiment import Experiment
    from audiozen.trainer.base_trainer import BaseTrainer

FLAGS = {"--resume": "resume", "--allow-changes": "allow_changes", "--profile": "profile"}


def train(
    config: ConfigFile,
    overrides: Overrides = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest good checkpoint.")
    ] = False,
    allow_changes: Annotated[
        bool,
        typer.Option(
            "--allow-changes",
            help="Resume also where model, optimizer, data or settings are not what they were.",
        ),
    ] = False,
    profile: Annotated[
        bool,
        typer.Option("--profile", help="Write a trace of a few steps of the first epoch, as well."),
    ] = False,
) -> None:
    """Train and validate."""
    experiment = read_experiment(config, overrides)
    require_table(experiment, config, "train_dataset")
    check_start(experiment, resume=resume)
    trainer = experiment.build_trainer(resume=resume, allow_changes=allow_changes)
    train, validation = experiment.train_dataloader(), experiment.validation_dataloaders()
    experiment.warn_of_shared_ids(validation)
    if profile:
        train_with_profile(trainer, train, validation)
    else:
        trainer.train(train, validation)
    if trainer.is_main_process:
        experiment.write_complexity(trainer)
        if told := improvement(experiment.exp_dir):
            tell(told)
        own = trainer.folder.config  # as run, overrides included
        test = f"audiozen test {quoted(own)}, then " if experiment.config.test_dataset else ""
        tell(f"look and listen: {test}audiozen report {quoted(experiment.exp_dir)}")


def improvement(folder: Path) -> str | None:
    """What the best checkpoint of a run makes of the validation data; None where no noisy signals were scored, too."""
    from audiozen.metrics import METRICS
    from audiozen.results.run import Run

    run = Run(folder)
    scores = summarise([record for table in run.tables("valid").values() for record in table])
    metric = run.best_metric or ""
    if metric not in scores or metric + NOISY not in scores:
        return None
    before, after = scores[metric + NOISY].mean, scores[metric].mean
    unit = f" {METRICS[metric].unit}".rstrip() if metric in METRICS else ""
    return f"best: {run.best_checkpoint}, {metric} {before:.2f}{unit} before (noisy), {after:.2f}{unit} after"


def plain_arguments(words: Sequence[str]) -> dict[str, Any] | None:
    """Arguments of :func:`train`, where the words of the command line are those and nothing else; or None.

    >>> plain_arguments(["train", "baseline.toml", "--resume"])
    {'config': PosixPath('baseline.toml'), 'overrides': None, 'resume': True}
    """
    values = [word for word in words[1:] if word not in FLAGS]
    if words[:1] != ["train"] or not values or any(value.startswith("-") for value in values):
        return None
    config, *overrides = values
    flags = {FLAGS[word]: True for word in words if word in FLAGS}
    return {"config": Path(config), "overrides": overrides or None, **flags}


def train_with_profile(trainer: BaseTrainer, train: Any, validation: Any) -> None:
    """Train, and say where the trace is."""
    from audiozen.trainer.profiling import profiled

    with profiled(trainer) as recording:
        trainer.train(train, validation)
    if recording is not None:
        tell(recording.told())


def check_start(experiment: Experiment, *, resume: bool) -> None:
    """Refuse to start over. To resume what has no checkpoint yet is to start.

    Raises:
        RequestError: there are checkpoints, and nobody asked to resume.
    """
    names = [] if resume else checkpoints_of(experiment).names()
    if names:
        raise RequestError(
            f"{experiment.exp_dir} has checkpoints already, the newest is {names[-1]}; go on with "
            "--resume, choose another name with meta.exp_id=NAME, or delete the folder"
        )
