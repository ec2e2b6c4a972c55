"""What is asked of a trainer that cannot be done, told before anything begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audiozen.trainer.cuda_graphs import graph_problems

if TYPE_CHECKING:
    from audiozen.trainer.base_trainer import BaseTrainer


def request_problems(trainer: BaseTrainer) -> list[str]:
    """What a training needs and does not have, and what contradicts each other: a sentence for each."""
    problems = []
    if not trainer.has_own("training_step"):
        problems.append("training_step: missing; it returns the loss of a micro-batch")
    if trainer.validation_dataloaders and not trainer.has_own("validation_step"):
        problems.append("validation_step: missing; it returns the scores of a batch")
    if not trainer.optimizers:
        problems.append("optimizer: missing; training needs one")
    if not trainer.automatic_optimization and trainer.config.gradient_accumulation_steps != 1:
        problems.append(
            "gradient_accumulation_steps: must be 1 where training_step calls optimizer_step itself"
        )
    problems += graph_problems(
        trainer.config,
        trainer.device,
        trainer.world_size,
        is_automatic=trainer.automatic_optimization,
    )
    mode = "max" if trainer.config.higher_is_better else "min"
    for name, scheduler in trainer.score_followers.schedulers.items():
        if trainer.validation_dataloaders and scheduler.mode != mode:
            problems.append(
                f"lr_scheduler{name and '.'}{name}: mode {scheduler.mode!r} contradicts higher_is_better = "
                f"{str(trainer.config.higher_is_better).lower()}; set it to {mode!r}"
            )
    return problems
