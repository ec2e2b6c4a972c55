"""Accelerate: a plain loop whose model, optimizer and data were prepared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration

from peers.dealt import prepared_batches
from peers.work import LOG_INTERVAL

if TYPE_CHECKING:
    from peers.work import Result, Work


def train(work: Work) -> Result:
    """Logged: its bar of tqdm, TensorBoard every so many steps, and ``save_state`` at the end."""
    accelerator = Accelerator(
        cpu=True,
        log_with="tensorboard" if work.logged else None,
        project_config=ProjectConfiguration(project_dir=str(work.folder)),
    )
    bare = work.model()
    loader = prepared_batches(accelerator, work)
    model, optimizer = accelerator.prepare(bare, plain := work.optimizer(bare))
    if work.logged:
        from accelerate.utils import tqdm

        accelerator.init_trackers("accelerate")
        loader = tqdm(loader)
    for step, (noisy, clean) in enumerate(loader):
        optimizer.zero_grad()
        loss = work.mean_square(model(noisy), clean)
        accelerator.backward(loss)
        optimizer.step()
        if work.logged and step % LOG_INTERVAL == 0:
            accelerator.log({"loss": loss.item()}, step=step)
    if work.logged:
        accelerator.save_state(str(work.folder / "state"))
        accelerator.end_training()
    return work.result(bare, plain)
