"""The work that all frameworks do: model, data, optimizer, steps; and what has come out of it.

Data are ready in memory, and a step costs little but for the GRU: what is left is what a framework does by itself.
Nothing here imports a framework. An adapter is a module of this folder with one function::

    def train(work: Work) -> Result: ...
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

NUM_BATCHES = 16
"""Different ones; they come again and again."""
LOG_INTERVAL = 10
"""Steps between two losses that are logged, where a framework does not log each."""
TOLERANCE = 1e-6
"""Largest difference between what two frameworks have made of the same work, where numbers are summed up in another
order."""

Batch = tuple[Tensor, Tensor]


class GRU(nn.Module):
    """A small enhancement model. Features ``(batch, frames, channels)`` in, the same shape out."""

    def __init__(self, num_channels: int = 64, width: int = 128) -> None:
        super().__init__()
        self.gru = nn.GRU(num_channels, width, num_layers=2, batch_first=True)
        self.mask = nn.Linear(width, num_channels)

    def forward(self, noisy: Tensor) -> Tensor:
        """Enhance the features."""
        masked: Tensor = noisy * self.mask(self.gru(noisy)[0]).sigmoid()
        return masked


class Size(NamedTuple):
    """A model, and the shape of a batch of it."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]


SIZES = {
    "tiny": Size(lambda: nn.Linear(64, 64), (4, 64)),
    "gru": Size(GRU, (4, 62, 64)),  # 1 s with hops of 16 ms; a step takes some 20 ms
}


class Batches(Dataset[Batch]):
    """Batches of noisy and clean, of which each different one is held once.

    Args:
        shape: of a batch.
        numbers: which of the endless sequence to hand out.
        on_fetch: called whenever one is fetched, which every framework does in the same place of the loop.
    """

    def __init__(self, shape: Sequence[int], numbers: range, on_fetch: Callable[[], None]) -> None:
        generator = torch.Generator().manual_seed(1)
        self.clean = torch.randn(NUM_BATCHES, *shape, generator=generator)
        self.noisy = self.clean + torch.randn(NUM_BATCHES, *shape, generator=generator)
        self.numbers, self.on_fetch = numbers, on_fetch

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Batch:
        self.on_fetch()
        number = self.numbers[index] % NUM_BATCHES
        return self.noisy[number], self.clean[number]


class Result(NamedTuple):
    """What a training has come to.

    Attributes:
        num_steps: that the optimizer has made, as it has counted them itself.
        loss: of the last batch.
        weights: all of them, and their moving average where one is kept.
    """

    num_steps: int
    loss: float
    weights: Tensor

    def differs_from(self, other: Result) -> float:
        """The largest difference between two numbers at the same place; infinite where steps differ, and NaN where one
        of the numbers is.
        """
        if self.num_steps != other.num_steps:
            return math.inf
        of_weights, of_loss = self.weights - other.weights, torch.tensor([self.loss - other.loss])
        return torch.cat([of_weights, of_loss]).abs().max().item()


def nothing() -> None:
    """What happens by default when a batch is fetched."""


@dataclass
class Work:
    """What to train, for how long, and what for besides.

    Attributes:
        size: key of ``SIZES``.
        num_steps: updates of the weights.
        logged: whether progress, losses and checkpoints are on, as the framework has them by default.
        accumulation: batches per step.
        max_grad_norm: to which gradients are clipped; None: they are not.
        ema_decay: of a moving average of the weights; None: there is none.
        schedule: whether the learning rate changes with each step.
        folder: for all that is written.
        on_fetch: called for each batch.
        loss: that of the newest batch, without its graph.
    """

    size: str = "tiny"
    num_steps: int = 100
    logged: bool = False
    accumulation: int = 1
    max_grad_norm: float | None = None
    ema_decay: float | None = None
    schedule: bool = False
    folder: Path = Path("build/benchmarks")
    on_fetch: Callable[[], None] = nothing
    loss: Tensor = field(default_factory=lambda: torch.zeros(()))

    def model(self) -> nn.Module:
        """With the same weights each time."""
        torch.manual_seed(0)
        return SIZES[self.size].make()

    def optimizer(self, model: nn.Module) -> Optimizer:
        """With PyTorch's own choice of the implementation."""
        return torch.optim.AdamW(model.parameters(), lr=1e-3)

    def scheduler(self, optimizer: Optimizer) -> LRScheduler:
        """A new learning rate for each step."""
        return torch.optim.lr_scheduler.StepLR(optimizer, step_size=50, gamma=0.9)

    def dataset(self) -> Batches:
        """The batches of this process, in order."""
        return self._batches(range(rank(), self._num_batches, num_processes()))

    def dataloader(self) -> DataLoader[Batch]:
        """The same, as what is iterated."""
        return DataLoader(self.dataset(), batch_size=None)

    def whole_dataloader(self) -> DataLoader[Batch]:
        """The batches of all processes, for who deals them."""
        return DataLoader(self._batches(range(self._num_batches)), batch_size=None)

    @property
    def _num_batches(self) -> int:
        return self.num_steps * self.accumulation * num_processes()

    def _batches(self, numbers: range) -> Batches:
        return Batches(SIZES[self.size].shape, numbers, self.on_fetch)

    def mean_square(self, estimate: Tensor, clean: Tensor) -> Tensor:
        """The loss, which is also kept."""
        loss = (estimate - clean).square().mean()
        self.loss = loss.detach()
        return loss

    def result(
        self, model: nn.Module, optimizer: Optimizer, average: Iterable[Tensor] = ()
    ) -> Result:
        """What has come out of it."""
        weights = [*model.parameters(), *average]
        [num_steps] = {int(state["step"]) for state in optimizer.state.values()}
        flat = torch.cat([weight.detach().flatten() for weight in weights])
        return Result(num_steps, self.loss.item(), flat)


def rank() -> int:
    """Number of this process, from 0."""
    return int(os.environ.get("RANK", "0"))


def num_processes() -> int:
    """Of this training."""
    return int(os.environ.get("WORLD_SIZE", "1"))
