"""Weights of a file against those of a model: what fits, what does not, and taking over what does."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from audiozen.errors import CheckpointError, RequestError
from audiozen.trainer.checkpoint import MANIFEST, CheckpointStore
from audiozen.trainer.own_memory import copy_all

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor, nn

logger = logging.getLogger(__name__)

Weights = dict[str, dict[str, "Tensor"]]
"""By the model's name, and by the tensor's."""
NUM_SHOWN = 10


def misfits(
    modules: Mapping[str, nn.Module], weights: Mapping[str, Mapping[str, Tensor]]
) -> list[str]:
    """One sentence for each tensor, or model, that is there on one side only or has another shape."""
    problems = []
    for name in {**modules, **weights}:
        model = f"model {name!r}" if name else "the model"
        if name not in weights:
            problems.append(f"{model}: there are no weights for it; there: {listed(weights)}")
        elif name not in modules:
            problems.append(f"{model}: there is no such model; there: {listed(modules)}")
        else:
            prefix = f"model {name!r}, " if name else ""
            expected = modules[name].state_dict()
            problems += [f"{prefix}{text}" for text in tensor_misfits(expected, weights[name])]
    return problems


def tensor_misfits(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """The same for the tensors of one model."""
    problems = []
    for name in {**expected, **found}:
        if name not in found:
            problems.append(f"{name}: expected {tuple(expected[name].shape)}, not found")
        elif name not in expected:
            problems.append(f"{name}: found {tuple(found[name].shape)}, not expected")
        elif expected[name].shape != found[name].shape:
            shapes = tuple(expected[name].shape), tuple(found[name].shape)
            problems.append(f"{name}: expected {shapes[0]}, found {shapes[1]}")
    return problems


def load_matching(
    modules: Mapping[str, nn.Module], weights: Mapping[str, Mapping[str, Tensor]]
) -> int:
    """Take over what has a place of its name and shape; how many tensors those are."""
    pairs = [
        (place, weights[name][key])
        for name, module in modules.items()
        if name in weights
        for key, place in module.state_dict().items()
        if key in weights[name] and place.shape == weights[name][key].shape
    ]
    copy_all(pairs)
    return len(pairs)


def initialise(modules: Mapping[str, nn.Module], path: Path) -> None:
    """Start from the weights of a checkpoint's folder or of a ``.safetensors`` file, as far as they fit; the rest
    is told.

    Raises:
        RequestError: there is nothing, or nothing that fits.
    """
    try:
        weights = read_weights(path)
    except CheckpointError as error:
        raise RequestError(f"init_from: {error}") from error
    problems = first_of(misfits(modules, weights))
    num_taken = load_matching(modules, weights)
    if num_taken == 0:
        raise RequestError(
            "\n  ".join([f"init_from: nothing in {path} fits the model:", *problems])
        )
    logger.info("initialised %d tensors from %s", num_taken, path)
    for problem in problems:
        logger.warning("not initialised from %s: %s", path, problem)


def read_weights(path: Path) -> Weights:
    """Weights of a checkpoint's folder, or of a ``.safetensors`` file that is the only model's.

    Raises:
        CheckpointError: there is no such thing, or it is damaged.
    """
    if (path / MANIFEST).is_file():
        return CheckpointStore(path.parent).load_models(path)
    if not path.is_file():
        raise CheckpointError(f"{path} is neither a checkpoint's folder nor a .safetensors file")
    import safetensors.torch

    try:
        return {"": safetensors.torch.load_file(path)}
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read as safetensors: {error}") from error


def first_of(problems: list[str]) -> list[str]:
    """The first few, and how many more there are."""
    more = len(problems) - NUM_SHOWN
    return problems[:NUM_SHOWN] + ([f"... and {more} more"] if more > 0 else [])


def listed(models: Mapping[str, object]) -> str:
    """Names of models in a message."""
    return ", ".join(repr(name) if name else "one without a name" for name in models) or "none"
