"""Which models there are, and how one is loaded.

>>> names()
['band_gain_gru']
>>> pretrained = load("band_gain_gru")
>>> pretrained.sample_rate
16000
>>> import torch
>>> pretrained.model(torch.zeros(1, 100)).shape
torch.Size([1, 100])
"""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import safetensors.torch

from audiozen.config.instantiate import instantiate
from audiozen.config.problems import suggestion
from audiozen.errors import DamagedCheckpointError, RequestError

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Pretrained", "load", "names"]

FOLDER = Path(__file__).parent
SETTINGS, WEIGHTS, CARD = "model.toml", "weights.safetensors", "README.md"


class Pretrained(NamedTuple):
    """A model with its weights, in evaluation mode, on the CPU."""

    name: str
    model: nn.Module
    sample_rate: int
    """In Hz: of the waveforms that it takes and returns."""
    card: Path
    """What it is for, on what it was trained, what it reaches, and under which licence it is."""


def names() -> list[str]:
    """The models that come with this package."""
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{SETTINGS}"))


def load(name: str) -> Pretrained:
    """A model and its weights, which are verified first.

    Raises:
        RequestError: there is no model of this name; the text lists those that there are.
        DamagedCheckpointError: the weights are missing, or are not those that were published.
    """
    if name not in names():
        raise RequestError(
            f"no pretrained model is called {name!r}: {suggestion(name, names(), 'there are')}"
        )
    folder = FOLDER / name
    settings = tomllib.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    model = instantiate(**settings["model"])
    model.load_state_dict(_verified(folder / WEIGHTS, settings["weights"]["sha256"]))
    return Pretrained(name, model.eval(), settings["acoustics"]["sample_rate"], folder / CARD)


def _verified(path: Path, sha256: str) -> dict[str, Tensor]:
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != sha256:
        what = "is not as it was published" if content else "is missing"
        raise DamagedCheckpointError(f"{path} {what}; install audiozen again")
    return safetensors.torch.load(content)
