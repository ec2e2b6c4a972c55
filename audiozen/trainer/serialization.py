"""Nested Python values as JSON plus tensors, and back, without pickle.

::

    document, tensors = flatten(optimizer.state_dict())
    optimizer.load_state_dict(unflatten(document, tensors))

JSON holds numbers, strings and structure; what it cannot hold is wrapped: ``{"$tensor": "key"}``,
``{"$tuple": [...]}``, ``{"$dict": [[key, value], ...]}`` (keys that are no strings), ``{"$float": "nan"}``,
``{"$array": ...}``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audiozen.errors import CheckpointError


def flatten(value: Any) -> tuple[Any, dict[str, Tensor]]:
    """Split a nested value into a JSON document and the tensors that it refers to.

    Args:
        value: dicts, lists, tuples, strings, numbers, booleans, None, tensors and NumPy arrays, in any nesting.

    Returns:
        The document, and the tensors by key; keys are the paths at which they stand.

    Raises:
        CheckpointError: something else is in it. The text names its path and type.
    """
    tensors: dict[str, Tensor] = {}
    return _flatten(value, "", tensors), tensors


def _flatten(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    def inner(key: object, item: Any) -> Any:
        return _flatten(item, f"{path}/{key}" if path else str(key), tensors)

    if isinstance(value, Tensor):
        tensors[path] = value.detach()
        return {"$tensor": path}
    if isinstance(value, np.ndarray):
        tensors[path] = torch.from_numpy(value.copy().view(np.uint8).reshape(-1))
        return {"$array": path, "dtype": value.dtype.str, "shape": list(value.shape)}
    if isinstance(value, np.generic):
        return _scalar(value.item())
    if value is None or isinstance(value, (bool, str, int, float)):
        return _scalar(value)
    if isinstance(value, list):
        return [inner(index, item) for index, item in enumerate(value)]
    if isinstance(value, tuple):
        return {"$tuple": [inner(index, item) for index, item in enumerate(value)]}
    if isinstance(value, dict):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: inner(key, item) for key, item in value.items()}
        return {
            "$dict": [[_flatten(key, path, {}), inner(key, item)] for key, item in value.items()]
        }
    raise CheckpointError(
        f"{path or 'the value'} is a {type(value).__name__}, which a checkpoint cannot hold; allowed are tensors, "
        "arrays, numbers, strings, lists, tuples and dicts of them"
    )


def _scalar(value: Any) -> Any:
    """A scalar as JSON allows it: floats that are not finite are wrapped."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": repr(value)}
    return value


def unflatten(document: Any, tensors: dict[str, Tensor]) -> Any:
    """The value that :func:`flatten` took apart.

    Raises:
        CheckpointError: the document refers to a tensor that is not there.
    """
    if isinstance(document, list):
        return [unflatten(item, tensors) for item in document]
    if not isinstance(document, dict):
        return document
    if "$tensor" in document:
        return _find(tensors, document["$tensor"])
    if "$array" in document:
        raw = _find(tensors, document["$array"]).numpy().tobytes()
        return np.frombuffer(raw, dtype=document["dtype"]).reshape(document["shape"]).copy()
    if "$tuple" in document:
        return tuple(unflatten(item, tensors) for item in document["$tuple"])
    if "$float" in document:
        return float(document["$float"])
    if "$dict" in document:
        return {
            unflatten(key, tensors): unflatten(item, tensors) for key, item in document["$dict"]
        }
    return {key: unflatten(item, tensors) for key, item in document.items()}


def _find(tensors: dict[str, Tensor], key: str) -> Tensor:
    if key not in tensors:
        raise CheckpointError(f"tensor {key!r} is missing")
    return tensors[key]
