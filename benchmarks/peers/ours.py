"""AudioZEN."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from audiozen.tracking.console import SilentConsole
from audiozen.tracking.tracker import Tracker
from audiozen.trainer.base_trainer import BaseTrainer

if TYPE_CHECKING:
    from torch import Tensor

    from peers.work import Result, Work


class Trainer(BaseTrainer):
    """What a user writes."""

    work: Work

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:  # noqa: ARG002 - a hook
        """Mean squared error."""
        noisy, clean = batch
        return self.work.mean_square(self.model(noisy), clean)


def train(work: Work) -> Result:
    """Bare: no tracker, no console, no judgement of losses and gradients, one checkpoint at the end. Logged: all that
    is on by default, and checkpoints by the clock.
    """
    model = work.model()
    optimizer = work.optimizer(model)
    trainer = Trainer(
        model,
        optimizer,
        lr_scheduler=work.scheduler(optimizer) if work.schedule else None,
        config=settings(work),
        exp_dir=work.folder,
        tracker=None if work.logged else Tracker(),
        console=None if work.logged else SilentConsole(),
    )
    trainer.work = work
    trainer.train(work.whole_dataloader())
    average = getattr(trainer.averaging, "average", {})
    return work.result(model, optimizer, average.values())


def settings(work: Work) -> dict[str, Any]:
    """Of the trainer."""
    return {
        "max_steps": work.num_steps,
        "device": "cpu",
        "num_threads": 1,
        "gradient_accumulation_steps": work.accumulation,
        "max_grad_norm": math.inf if work.max_grad_norm is None else work.max_grad_norm,
        "ema_decay": work.ema_decay,
        "save_interval": {"minutes": 30.0} if work.logged else {},
        "on_nonfinite": "raise" if work.logged else "ignore",
    }
