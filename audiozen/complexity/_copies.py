"""Measuring a model without touching it: a copy with other tensors, or evaluation mode for a while."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def copy_with(model: nn.Module, convert: Callable[[Tensor], Tensor]) -> nn.Module:
    """A copy in evaluation mode, each of whose tensors is the converted one of the model.

    The model's own tensors are not copied on the way. Tensors that are plain attributes of a module are converted too.

    Args:
        model: any module that can be copied deeply.
        convert: from a tensor without history to the one in its place.
    """
    # What deepcopy finds here, it takes as the finished copy.
    converted = {id(tensor): _convert(tensor, convert) for tensor in _tensors(model)}
    return copy.deepcopy(model, converted).eval()


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()
    for module in model.modules():
        yield from (value for value in vars(module).values() if isinstance(value, Tensor))


def _convert(tensor: Tensor, convert: Callable[[Tensor], Tensor]) -> Tensor:
    result = convert(tensor.detach())
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(result, requires_grad=tensor.requires_grad)
    return result


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Every part of the model in evaluation mode, and back to what it was."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
