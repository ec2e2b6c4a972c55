"""Lightning Fabric: a plain loop whose model, optimizer and data were set up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning.fabric import Fabric
from lightning.fabric.loggers import TensorBoardLogger

from peers.work import LOG_INTERVAL, num_processes

if TYPE_CHECKING:
    from peers.work import Result, Work


def train(work: Work) -> Result:
    """Logged: a bar of tqdm, since Fabric has none, its logger every so many steps, and its checkpoint at the end."""
    loggers = [TensorBoardLogger(work.folder)] if work.logged else []
    fabric = Fabric(
        accelerator="cpu",
        devices=num_processes(),
        strategy="ddp" if num_processes() > 1 else "auto",
        loggers=loggers,
    )
    fabric.launch()
    bare = work.model()
    model, optimizer = fabric.setup(bare, plain := work.optimizer(bare))
    loader = fabric.setup_dataloaders(work.dataloader(), use_distributed_sampler=False)
    if work.logged:
        from tqdm import tqdm

        loader = tqdm(loader)
    for step, (noisy, clean) in enumerate(loader):
        optimizer.zero_grad()
        loss = work.mean_square(model(noisy), clean)
        fabric.backward(loss)
        optimizer.step()
        if work.logged and step % LOG_INTERVAL == 0:
            fabric.log("loss", loss, step=step)
    if work.logged:
        fabric.save(work.folder / "fabric.ckpt", {"model": model, "optimizer": optimizer})
    return work.result(bare, plain)
