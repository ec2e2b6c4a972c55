"""How many weights a model has."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import nn


class Parameters(NamedTuple):
    """Numbers of single weights, not of tensors. A tensor that is shared is counted once."""

    total: int
    """All parameters; buffers are none."""
    trainable: int
    """Those that require a gradient."""


def count_parameters(model: nn.Module) -> Parameters:
    """Count the weights of a model.

    Args:
        model: any module. Parameters that are shared between its parts count once.
    """
    weights = list(model.parameters())
    return Parameters(
        total=sum(weight.numel() for weight in weights),
        trainable=sum(weight.numel() for weight in weights if weight.requires_grad),
    )
