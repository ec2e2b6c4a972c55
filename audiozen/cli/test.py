"""``audiozen test``: the scores of a checkpoint on the test data."""

from __future__ import annotations

from audiozen.cli.request import (
    Checkpoint,
    ConfigFile,
    Overrides,
    read_experiment,
    require_checkpoint,
    require_table,
    tell,
    tell_score,
)
from audiozen.system.shell import quoted


def test(  # a command, and no test of pytest's
    config: ConfigFile,
    overrides: Overrides = None,  # noqa: PT028
    ckpt: Checkpoint = "best",  # noqa: PT028
) -> None:
    """Score a checkpoint on the test data."""
    experiment = read_experiment(config, overrides)
    require_table(experiment, config, "test_dataset")
    checkpoint = require_checkpoint(experiment, ckpt)
    trainer = experiment.build_trainer()
    score = trainer.test(experiment.test_dataloaders(), ckpt_path=checkpoint)
    tell_score(trainer, score)
    if trainer.is_main_process and not trainer.folder.complexity.exists():
        experiment.write_complexity(trainer)
    tell(f"look and listen: audiozen report {quoted(experiment.exp_dir)}")
