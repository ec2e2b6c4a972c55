"""AudioZEN: the trainer for audio and speech models. The public names, nothing else.

They are imported when they are first used, so that ``import audiozen`` (and the command line) starts at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = [
    "AudioZENError",
    "BaseTrainer",
    "CheckpointStore",
    "Experiment",
    "TrainerConfig",
    "instantiate",
]

if TYPE_CHECKING:
    from audiozen.config.instantiate import instantiate
    from audiozen.config.schema import TrainerConfig
    from audiozen.errors import AudioZENError
    from audiozen.experiment import Experiment
    from audiozen.trainer.base_trainer import BaseTrainer
    from audiozen.trainer.checkpoint import CheckpointStore

_MODULES = {
    "AudioZENError": "audiozen.errors",
    "BaseTrainer": "audiozen.trainer.base_trainer",
    "CheckpointStore": "audiozen.trainer.checkpoint",
    "Experiment": "audiozen.experiment",
    "TrainerConfig": "audiozen.config.schema",
    "instantiate": "audiozen.config.instantiate",
}


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(
        f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}"
    )
