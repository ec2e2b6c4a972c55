"""Tensors of which this process may have a part only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def is_sharded(tensor: Tensor) -> bool:
    """Whether this process has a part of the tensor only."""
    # Asked so, since DTensor takes most of a second to import.
    return hasattr(tensor, "full_tensor")


def local_part(tensor: Tensor) -> Tensor:
    """What this process has of a tensor; it shares its memory."""
    return cast("DTensor", tensor).to_local() if is_sharded(tensor) else tensor


def whole_tensor(tensor: Tensor) -> Tensor:
    """The tensor as a whole, on every process. Collective where it is sharded."""
    return cast("DTensor", tensor).full_tensor() if is_sharded(tensor) else tensor


@torch.no_grad()
def placed_like(tensor: Tensor, parameter: Any) -> Tensor:
    """``tensor`` sharded or whole, as ``parameter`` is. Collective where it has to be put together.

    Args:
        tensor: if it is whole on every process and of another shape than the parameter, it stays so.
        parameter: sharded or whole.
    """
    if is_sharded(tensor) == is_sharded(parameter):
        return tensor
    if is_sharded(tensor):
        return whole_tensor(tensor)
    if tensor.shape != parameter.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    mesh, placements = parameter.device_mesh, parameter.placements
    # Without a source, nothing is exchanged.
    shard = distribute_tensor(tensor.detach(), mesh, placements, src_data_rank=None)
    return shard.clone()  # a view would keep the whole
