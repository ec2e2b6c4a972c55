"""The random generators of a training process, the GPU's included: seed, write down, take up again."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from audiozen.data.sampler import (
    GeneratorStates,
    derive_seed,
    generator_states,
    restore_generators,
    seed_generators,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


def seed_process(*parts: int | str, device: torch.device | None = None) -> None:
    """Seed Python's, NumPy's and PyTorch's generators, that of ``device`` included if it is a GPU.

    Args:
        parts: what the numbers depend on, such as seed, step and rank.
        device: where the model is. None: not known yet, so all GPUs.
    """
    seed_generators(*parts)
    if device is None:
        torch.cuda.manual_seed_all(derive_seed(*parts))  # nothing happens without a GPU
    elif device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(derive_seed(*parts))


def generators_state(device: torch.device) -> dict[str, Any]:
    """Where the generators stand; that of ``device`` is included if it is a GPU."""
    state: dict[str, Any] = {"cpu": tuple(generator_states())}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def load_generators_state(state: dict[str, Any], device: torch.device) -> None:
    """Go on where :func:`generators_state` was taken. Without a state for the GPU, its generator is left as it is."""
    restore_generators(GeneratorStates(*state["cpu"]))
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


@contextmanager
def preserved_generators(device: torch.device) -> Iterator[None]:
    """After this context the generators stand where they stood before it."""
    state = generators_state(device)
    try:
        yield
    finally:
        load_generators_state(state, device)
