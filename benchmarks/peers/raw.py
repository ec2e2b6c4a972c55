"""A plain loop of PyTorch, as one writes it by hand: what all others are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from peers.work import num_processes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from peers.work import Batch, Result, Work


def train(work: Work) -> Result:
    """Make the steps; where they are logged, with a bar that shows the loss of each."""
    if num_processes() > 1:
        torch.distributed.init_process_group("gloo")
    bare = work.model()
    model = nn.parallel.DistributedDataParallel(bare) if num_processes() > 1 else bare
    optimizer = work.optimizer(bare)
    extras = Extras(work, bare, optimizer)
    if work.logged:
        loop_with_bar(work, model, optimizer)
    elif work.accumulation > 1:
        loop_with_accumulation(work, model, optimizer)
    elif extras.any:
        loop_with_extras(work, model, optimizer, extras)
    else:
        loop(work, model, optimizer, work.dataloader())
    return work.result(bare, optimizer, extras.average)


def loop(work: Work, model: nn.Module, optimizer: Any, batches: Iterable[Batch]) -> None:
    """Nothing but steps."""
    for noisy, clean in batches:
        optimizer.zero_grad()
        work.mean_square(model(noisy), clean).backward()
        optimizer.step()


def loop_with_bar(work: Work, model: nn.Module, optimizer: Any) -> None:
    """With a bar, and the loss beside it; drawn when the bar wants to, which is ten times a second."""
    from tqdm import tqdm

    bar = tqdm(work.dataloader())
    for noisy, clean in bar:
        optimizer.zero_grad()
        loss = work.mean_square(model(noisy), clean)
        loss.backward()
        optimizer.step()
        bar.set_postfix(loss=loss.item(), refresh=False)
    torch.save(
        {"model": model.state_dict(), "optimizer": optimizer.state_dict()}, work.folder / "raw.pt"
    )


def loop_with_accumulation(work: Work, model: nn.Module, optimizer: Any) -> None:
    """With several batches in a step."""
    for index, (noisy, clean) in enumerate(work.dataloader()):
        if index % work.accumulation == 0:
            optimizer.zero_grad()
        (work.mean_square(model(noisy), clean) / work.accumulation).backward()
        if (index + 1) % work.accumulation == 0:
            optimizer.step()


class Extras:
    """Clipping, a schedule and a moving average, each with one call of PyTorch."""

    def __init__(self, work: Work, model: nn.Module, optimizer: Any) -> None:
        self.weights: list[Tensor] = list(model.parameters())
        self.decay, self.max_grad_norm = work.ema_decay, work.max_grad_norm
        self.scheduler = work.scheduler(optimizer) if work.schedule else None
        self.average: list[Tensor] = []
        if self.decay is not None:
            self.average = [weight.detach().clone() for weight in self.weights]
        self.any = bool(self.scheduler or self.average or self.max_grad_norm is not None)


def loop_with_extras(work: Work, model: nn.Module, optimizer: Any, extras: Extras) -> None:
    """With what is asked for of the extras; the average is warmed up as AudioZEN does it."""
    for step, (noisy, clean) in enumerate(work.dataloader()):
        optimizer.zero_grad()
        work.mean_square(model(noisy), clean).backward()
        if extras.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(extras.weights, extras.max_grad_norm)
        optimizer.step()
        if extras.scheduler is not None:
            extras.scheduler.step()
        if extras.decay is not None:
            decay = min(extras.decay, (1 + step) / (10 + step))
            with torch.no_grad():
                torch._foreach_lerp_(extras.average, extras.weights, 1 - decay)
