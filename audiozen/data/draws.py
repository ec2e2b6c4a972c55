"""A few random numbers for each signal, drawn on the CPU and sent to the device without waiting for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Generator, Tensor


def random_integer(limit: int, generator: Generator | None) -> int:
    """From 0 to ``limit - 1``."""
    return int(torch.randint(max(limit, 1), (), generator=generator, device=device_of(generator)))


def random_uniform(
    shape: tuple[int, ...], low: float, high: float, generator: Generator | None
) -> Tensor:
    """Between ``low`` and ``high``, where the generator is."""
    return low + (high - low) * torch.rand(shape, generator=generator, device=device_of(generator))


def device_of(generator: Generator | None) -> torch.device:
    """Where a generator draws."""
    return torch.device("cpu") if generator is None else generator.device


def moved(draws: Tensor, like: Tensor) -> Tensor:
    """A few numbers, where ``like`` is."""
    return moved_to(like.device, draws)


def moved_to(device: torch.device | str, draws: Tensor) -> Tensor:
    """A few numbers, on a device."""
    # The other way it would have to be waited for: the numbers would be read before they are there.
    return draws.to(device, non_blocking=draws.device.type == "cpu")
