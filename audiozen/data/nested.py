"""Batches, and whatever else has tensors in dicts, lists, tuples and dataclasses."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch


def move_tensors(value: Any, device: torch.device | str, *, non_blocking: bool = False) -> Any:
    """``value`` with every tensor in it on ``device``; dicts, lists, tuples and dataclasses are walked through."""

    def moved(leaf: Any) -> Any:
        return leaf.to(device, non_blocking=non_blocking) if isinstance(leaf, Tensor) else leaf

    return map_leaves(moved, value)


def map_leaves(function: Callable[[Any], Any], value: Any) -> Any:
    """``value`` with ``function`` applied to everything in it that is no dict, list, tuple or dataclass."""
    if isinstance(value, dict):
        return {key: map_leaves(function, part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        parts = [map_leaves(function, part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
        return dataclasses.replace(value, **map_leaves(function, fields))
    return function(value)


def tensors_of(value: Any) -> list[Tensor]:
    """All tensors in it, in the order in which they are met."""
    found: list[Tensor] = []

    def note(leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            found.append(leaf)
        return leaf

    map_leaves(note, value)
    return found
