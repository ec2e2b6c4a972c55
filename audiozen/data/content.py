"""Whether a dataset holds what it held: a short text that changes with it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from audiozen.data.sampler import isolated_generators
from audiozen.data.seeded_batches import load_sample

RESERVED_EPOCH = -1
"""No epoch of a training has this number, so nothing of it is given away here."""


def content_of(dataset: Any, seed: int) -> str | None:
    """A text that changes when a dataset changes: what its ``fingerprint()`` returns, or a hash over three samples.

    A dataset knows best what it is made of: ``fingerprint()`` takes no arguments and returns a string that changes
    when the data change, and is the same in another process, on another machine and in another folder.

    Of a dataset without it, the first, the middle and the last sample are loaded, seeded, and described: their
    structure, their whole numbers, and of each tensor shape, type and mean magnitude to three digits. So the last bits,
    in which processors differ, do not count; nor does text, because it may hold a path, and data may be copied.

    Args:
        dataset: map-style.
        seed: of the run.

    Returns:
        The text; None where nothing can be said: a sample cannot be loaded, differs when it is loaded again (random
        numbers that are not seeded), or holds what is neither tensor, number, text nor a container of these.
    """
    fingerprint = getattr(dataset, "fingerprint", None)
    if callable(fingerprint):
        return str(fingerprint())
    try:
        first, again = _hash_of_samples(dataset, seed), _hash_of_samples(dataset, seed)
    except Exception:  # noqa: BLE001 - a dataset may raise anything; training will tell
        return None
    return first if first == again else None


def _hash_of_samples(dataset: Any, seed: int) -> str:
    hashed = hashlib.sha256()
    last = len(dataset) - 1
    with isolated_generators():
        for index in (0, last // 2, last):
            for feature in _features(load_sample(dataset, seed, RESERVED_EPOCH, index)):
                hashed.update(f"{feature}\n".encode())
    return hashed.hexdigest()[:16]


def _features(value: Any) -> Iterator[str]:
    if isinstance(value, torch.Tensor):
        yield _feature_of_tensor(value)
    elif isinstance(value, np.ndarray | np.generic):
        yield _feature_of_tensor(torch.from_numpy(np.array(value)))
    elif isinstance(value, float):
        yield f"{value:.2e}"
    elif isinstance(value, int | None):
        yield repr(value)
    elif isinstance(value, str | bytes):
        yield type(value).__name__
    elif isinstance(value, Mapping):
        yield repr(list(value))
        for part in value.values():
            yield from _features(part)
    elif isinstance(value, list | tuple):
        yield str(len(value))
        for part in value:
            yield from _features(part)
    else:
        raise TypeError(f"{type(value).__name__} has no defined content")


def _feature_of_tensor(tensor: torch.Tensor) -> str:
    magnitude = float(tensor.to(torch.complex128).abs().mean())  # complex holds every type
    return f"{tensor.dtype} {tuple(tensor.shape)} {magnitude:.2e}"
