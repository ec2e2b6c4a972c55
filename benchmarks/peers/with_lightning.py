"""Lightning's ``Trainer``."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import lightning

from peers.work import num_processes

if TYPE_CHECKING:
    from torch import Tensor

    from peers.work import Result, Work


class Module(lightning.LightningModule):
    """What a user writes."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self.work, self.model = work, work.model()
        self.optimizer = work.optimizer(self.model)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:  # noqa: ARG002 - a hook
        """Mean squared error; logged, as its manual does it, with ``self.log`` in each step."""
        noisy, clean = batch
        loss = self.work.mean_square(self.model(noisy), clean)
        if self.work.logged:
            self.log("train_loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        """The only one."""
        return self.optimizer


def train(work: Work) -> Result:
    """Bare: everything off that can be switched off. Logged: its defaults, with TensorBoard for the logger."""
    from lightning.pytorch.loggers import TensorBoardLogger

    warnings.simplefilter("ignore")
    module = Module(work)
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=num_processes(),
        strategy="ddp" if num_processes() > 1 else "auto",
        max_epochs=1,
        logger=TensorBoardLogger(work.folder) if work.logged else False,
        enable_progress_bar=work.logged,
        enable_checkpointing=work.logged,
        enable_model_summary=work.logged,
        use_distributed_sampler=False,
        default_root_dir=work.folder,
    )
    trainer.fit(module, work.dataloader())
    return work.result(module.model, module.optimizer)
