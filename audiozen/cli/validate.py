"""``audiozen validate``: the scores of a checkpoint on the validation data."""

from __future__ import annotations

from audiozen.cli.request import (
    Checkpoint,
    ConfigFile,
    Overrides,
    read_experiment,
    require_checkpoint,
    require_table,
    tell_score,
)


def validate(config: ConfigFile, overrides: Overrides = None, ckpt: Checkpoint = "best") -> None:
    """Score a checkpoint on the validation data."""
    experiment = read_experiment(config, overrides)
    require_table(experiment, config, "validate_dataset")
    checkpoint = require_checkpoint(experiment, ckpt)
    trainer = experiment.build_trainer()
    score = trainer.validate(experiment.validation_dataloaders(), ckpt_path=checkpoint)
    tell_score(trainer, score)
