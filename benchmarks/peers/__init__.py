"""One adapter per framework, all of which do the same work; see ``peers.work``."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from peers.work import Result, Work

MODULES = {
    "raw": "peers.raw",
    "audiozen": "peers.ours",
    "ignite": "peers.with_ignite",
    "fabric": "peers.with_fabric",
    "accelerate": "peers.with_accelerate",
    "speechbrain": "peers.with_speechbrain",
    "lightning": "peers.with_lightning",
    "transformers": "peers.with_transformers",
}
ABLATIONS = {"unseeded": "peers.ours_unseeded"}
"""AudioZEN without a part of what it does: what that part costs."""


def adapter(name: str) -> Callable[[Work], Result]:
    """The function that trains with a framework or an ablation, which is imported only now."""
    train: Callable[[Work], Result] = import_module((MODULES | ABLATIONS)[name]).train
    return train
