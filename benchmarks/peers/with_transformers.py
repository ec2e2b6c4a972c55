"""The ``Trainer`` of transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import transformers

from peers.dealt import prepared_batches
from peers.work import LOG_INTERVAL

if TYPE_CHECKING:
    from torch import Tensor, nn

    from peers.work import Result, Work


class Trainer(transformers.Trainer):
    """What a user writes whose model returns no loss, and whose batches are tuples."""

    work: Work

    def compute_loss(self, model: nn.Module, inputs: Any, *_: Any, **__: Any) -> Tensor:
        """Mean squared error."""
        noisy, clean = inputs
        return self.work.mean_square(model(noisy), clean)

    def get_train_dataloader(self) -> Any:
        """The same as everybody's."""
        return prepared_batches(self.accelerator, self.work)


def train(work: Work) -> Result:
    """Bare: everything off that can be switched off. Logged: TensorBoard, its bar, and a checkpoint at the end."""
    model = work.model()
    optimizer = work.optimizer(model)
    arguments = transformers.TrainingArguments(
        output_dir=str(work.folder),
        use_cpu=True,
        max_steps=work.num_steps,
        max_grad_norm=0.0,
        lr_scheduler_type="constant",
        save_strategy="epoch" if work.logged else "no",
        logging_strategy="steps" if work.logged else "no",
        logging_steps=LOG_INTERVAL,
        report_to=["tensorboard"] if work.logged else [],
        disable_tqdm=not work.logged,
        remove_unused_columns=False,
    )
    trainer = Trainer(
        model=model, args=arguments, train_dataset=work.dataset(), optimizers=(optimizer, None)
    )
    trainer.work = work
    trainer.train()
    return work.result(model, optimizer)
