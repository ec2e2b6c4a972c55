"""Learning-rate schedules that PyTorch does not have. All advance once per step."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from torch.optim.lr_scheduler import LambdaLR

if TYPE_CHECKING:
    from torch.optim import Optimizer

__all__ = ["warmup_cosine"]


def warmup_cosine(
    optimizer: Optimizer,
    num_warmup_steps: int,
    num_training_steps: int,
    min_ratio: float = 0.0,
) -> LambdaLR:
    """From near zero up in a straight line, then down along half a cosine.

    Args:
        optimizer: its learning rate is the highest one.
        num_warmup_steps: steps until the highest learning rate; step k of them uses k / num_warmup_steps of it.
        num_training_steps: steps after which the lowest is reached. Beyond them it stays there.
        min_ratio: the lowest as a part of the highest, in [0, 1].

    Raises:
        ValueError: the warm-up is not shorter than the whole.

    Source: the decay is that of Loshchilov & Hutter, "SGDR", ICLR 2017, eq. 5, without restarts.
    """
    if not 0 <= num_warmup_steps < num_training_steps:
        raise ValueError(
            f"num_warmup_steps must be at least 0 and less than num_training_steps ({num_training_steps}), got "
            f"{num_warmup_steps}"
        )
    ratio = partial(
        _warmup_cosine_ratio,
        num_warmup_steps=num_warmup_steps,
        num_training_steps=num_training_steps,
        min_ratio=min_ratio,
    )
    return LambdaLR(optimizer, ratio)


def _warmup_cosine_ratio(
    num_steps_made: int, *, num_warmup_steps: int, num_training_steps: int, min_ratio: float
) -> float:
    if num_steps_made < num_warmup_steps:
        return (num_steps_made + 1) / num_warmup_steps
    progress = (num_steps_made - num_warmup_steps) / (num_training_steps - num_warmup_steps)
    return min_ratio + (1 - min_ratio) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2
