"""What several commands are asked for, and the refusal of what cannot be done."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from audiozen.errors import CheckpointError, ConfigError, RequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from audiozen.experiment import Experiment
    from audiozen.trainer.base_trainer import BaseTrainer
    from audiozen.trainer.checkpoint import CheckpointStore

TRACEBACK = "--traceback"

ConfigFile: TypeAlias = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="The experiment's .toml file.", show_default=False)
]
Overrides: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Settings in place of those of the file, such as trainer.args.max_epochs=2.",
        show_default=False,
    ),
]
Checkpoint: TypeAlias = Annotated[
    str, typer.Option("--ckpt", help="Which weights: best, latest, a checkpoint's name or a path.")
]
PretrainedModel: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        help="In place of an experiment, a model that comes with AudioZEN: band_gain_gru.",
        show_default=False,
    ),
]


def read_experiment(config: Path, overrides: Sequence[str] | None) -> Experiment:
    """The experiment of a file, checked.

    Raises:
        ConfigError: everything that is wrong with it.
    """
    from audiozen.experiment import Experiment

    return Experiment.from_file(config, overrides or ())


def checkpoints_of(experiment: Experiment) -> CheckpointStore:
    """The checkpoints that this experiment has already."""
    from audiozen.trainer.checkpoint import CheckpointStore

    return CheckpointStore(experiment.exp_dir / "checkpoints")


def require_checkpoint(experiment: Experiment, ckpt: str) -> Path:
    """Folder of the checkpoint that was asked for.

    Raises:
        RequestError: it does not exist; the text lists those that do.
    """
    try:
        return checkpoints_of(experiment).find(ckpt)
    except CheckpointError as error:
        raise RequestError(f"{error}. Train first, or choose one with --ckpt") from error


def require_table(experiment: Experiment, config: Path, table: str) -> None:
    """Refuse an experiment that lacks what the command is about.

    Raises:
        ConfigError: the table is missing.
    """
    if not getattr(experiment.config, table):
        raise ConfigError(str(config), [f"[{table}] missing; this command needs it"])


def refuse_several_processes(why: str) -> None:
    """Refuse to be started by torchrun.

    Args:
        why: and what to do instead.

    Raises:
        RequestError: so it was.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RequestError(why)


def tell_score(trainer: BaseTrainer, score: float) -> None:
    """Say the score, and where tables are."""
    tell(f"score {score:.4f}; tables in {trainer.metrics_dir}")


def is_main_process() -> bool:
    """Whether this process speaks for all of them."""
    return os.environ.get("RANK", "0") == "0"


def tell(message: str) -> None:
    """Say something about the run: once, on stderr."""
    if is_main_process():
        typer.echo(message, err=True)
