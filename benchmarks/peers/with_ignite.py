"""PyTorch-Ignite: an ``Engine`` over a function that makes one step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ignite.engine import Engine, Events
from torch import nn

from peers.work import LOG_INTERVAL, num_processes

if TYPE_CHECKING:
    from peers.work import Result, Work


def train(work: Work) -> Result:
    """Bare: no handlers. Logged: its progress bar, TensorBoard, and a checkpoint at the end of the epoch."""
    if num_processes() > 1:
        import ignite.distributed as idist

        idist.initialize("gloo")
    bare = work.model()
    model = nn.parallel.DistributedDataParallel(bare) if num_processes() > 1 else bare
    optimizer = work.optimizer(bare)

    def step(_engine: Engine, batch: Any) -> float | None:
        noisy, clean = batch
        optimizer.zero_grad()
        loss = work.mean_square(model(noisy), clean)
        loss.backward()
        optimizer.step()
        return loss.item() if work.logged else None

    engine = Engine(step)
    if work.logged:
        attach(engine, work, {"model": bare, "optimizer": optimizer})
    engine.run(work.dataloader(), max_epochs=1)
    return work.result(bare, optimizer)


def attach(engine: Engine, work: Work, parts: dict[str, Any]) -> None:
    """What its examples attach."""
    from ignite.handlers import ModelCheckpoint, TensorboardLogger
    from ignite.handlers.tqdm_logger import ProgressBar

    ProgressBar().attach(engine, output_transform=lambda loss: {"loss": loss})
    board = TensorboardLogger(log_dir=work.folder)
    board.attach_output_handler(
        engine,
        event_name=Events.ITERATION_COMPLETED(every=LOG_INTERVAL),
        tag="train",
        output_transform=lambda loss: {"loss": loss},
    )
    saver = ModelCheckpoint(work.folder, require_empty=False)
    engine.add_event_handler(Events.EPOCH_COMPLETED, saver, parts)
