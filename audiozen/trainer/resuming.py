"""How a training begins: where a checkpoint says that it was, or with nothing; the links in the folder fit that."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from audiozen.trainer.run_identity import samples_of_step, take_over_settings
from audiozen.trainer.saved_run import SavedRun
from audiozen.trainer.weights import initialise

if TYPE_CHECKING:
    from audiozen.trainer.base_trainer import BaseTrainer

logger = logging.getLogger(__name__)


def resume(trainer: BaseTrainer) -> None:
    """Go on from the newest checkpoint that is as it was written; from the beginning if there is none.

    Raises:
        RequestError: it was written by a run with another model, optimizer, data or settings, and ``allow_changes``
            is not set. The text lists the differences.
        CheckpointError: every checkpoint is damaged.
    """
    path = trainer.group.broadcast(
        trainer.store.newest_good() if trainer.is_main_process else None,
        "which checkpoint to resume",
    )
    if path is None:
        logger.info("nothing to resume in %s: starting from the beginning", trainer.checkpoints_dir)
        return
    saved, parts = SavedRun.read(trainer.store, path), trainer.stateful_parts()
    changes = saved.changes(trainer.identity, trainer.modules, parts)
    if changes and not trainer.allow_changes:
        raise saved.refusal(changes)
    saved.give_back(trainer.modules, parts, trainer.outcome_parts(), exactly=not changes)
    _tell_samples_of_step(trainer, samples_of_step(saved.identity))
    if changes:
        _adapt(trainer, saved, changes)
    trainer.tracker.rewind(trainer.state.step)
    _settle_links(trainer, path.name)
    logger.info(
        "resumed at epoch %d, step %d from %s", trainer.state.epoch, trainer.state.step, path
    )


def start_from_the_beginning(trainer: BaseTrainer) -> None:
    """Begin with the weights that the model has, or those of ``init_from``."""
    trainer.tracker.rewind(0)  # a run that was killed before its first checkpoint has logged
    if trainer.config.init_from is not None:
        initialise(trainer.modules, Path(trainer.config.init_from))
        trainer.averaging.restart()


def _tell_samples_of_step(trainer: BaseTrainer, before: int | None) -> None:
    """Say it where each step is of more or fewer samples than before."""
    now = samples_of_step(trainer.identity)
    if None not in (before, now) and before != now:
        logger.warning(
            "a step was of %d samples and is of %d from here on, as there are %d processes now",
            before,
            now,
            trainer.world_size,
        )


def _adapt(trainer: BaseTrainer, saved: SavedRun, changes: list[str]) -> None:
    """Go on with what has changed since the checkpoint as it is in this run."""
    for change in changes:
        logger.warning("changed since %s: %s", saved.path.name, change)
    if trainer.averaging.num_updates == 0:
        trainer.averaging.restart()
    take_over_settings(
        saved.identity, trainer.identity, trainer.optimizers, trainer.lr_schedulers.values()
    )
    of_data = [change for change in changes if change.startswith("train_dataloader.")]
    if any(not change.startswith("train_dataloader.batch_size") for change in of_data):
        _begin_epoch_again(trainer)


def _begin_epoch_again(trainer: BaseTrainer) -> None:
    """The data are others: what was consumed of the epoch means nothing now."""
    if not trainer.state.epoch_is_finished:
        logger.warning("epoch %d begins again, with the data as they are now", trainer.state.epoch)
        trainer.state.position = 0
        trainer.training_epoch_output.clear()


def _settle_links(trainer: BaseTrainer, name: str) -> None:
    """Let ``latest``, ``best`` and what is kept be as the state says; a run may have been killed before."""
    best = trainer.state.best_checkpoint if trainer.validation_dataloaders else name
    problems = (
        trainer.store.verify(trainer.store.root / best) if best and trainer.is_main_process else []
    )
    if problems := trainer.group.broadcast(problems, "whether the best checkpoint is whole"):
        logger.error(
            "the best checkpoint, %s, is lost: %s. The next one that is validated is taken for the best",
            best,
            "; ".join(problems),
        )
        trainer.state.best_score = trainer.state.best_checkpoint = best = None
    if trainer.is_main_process:
        trainer.store.mark_latest(name)
        if best is not None:
            trainer.store.mark_best(best)
        trainer.store.prune()
