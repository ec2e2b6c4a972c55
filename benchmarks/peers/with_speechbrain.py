"""SpeechBrain's ``Brain``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from peers.stub_torchaudio import stub_torchaudio

stub_torchaudio()

import speechbrain  # noqa: E402 - after what it imports

if TYPE_CHECKING:
    from torch import Tensor

    from peers.work import Result, Work


class Brain(speechbrain.Brain):
    """What a user writes."""

    work: Work

    def compute_forward(self, batch: Any, stage: Any) -> Tensor:  # noqa: ARG002 - a hook
        """Enhance."""
        estimate: Tensor = self.modules.model(batch[0])
        return estimate

    def compute_objectives(self, predictions: Tensor, batch: Any, stage: Any) -> Tensor:  # noqa: ARG002 - a hook
        """Mean squared error."""
        return self.work.mean_square(predictions, batch[1])


def train(work: Work) -> Result:
    """Both without clipping, which it does by default. Logged: with its bar, which shows the mean of the losses, and
    its checkpointer, which saves by the clock; a tracker it has only where a recipe calls one.
    """
    model = work.model()
    optimizer = work.optimizer(model)
    brain = Brain(
        {"model": model},
        opt_class=lambda _parameters: optimizer,
        run_opts={
            "device": "cpu",
            "max_grad_norm": float("inf"),
            "noprogressbar": not work.logged,
        },
        checkpointer=checkpointer(work, model, optimizer) if work.logged else None,
    )
    brain.work = work
    brain.fit(range(1), work.dataloader())
    return work.result(model, optimizer)


def checkpointer(work: Work, model: Any, optimizer: Any) -> Any:
    """Saves both."""
    from speechbrain.utils.checkpoints import Checkpointer

    return Checkpointer(work.folder, {"model": model, "optimizer": optimizer})
