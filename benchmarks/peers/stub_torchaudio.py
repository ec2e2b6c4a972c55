"""A ``torchaudio`` in name only, where there is none."""

from __future__ import annotations

import importlib.machinery
import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any


class Stub(ModuleType):
    """A module that has whatever is asked for."""

    __version__ = "2.13.0"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Stub(f"{self.__name__}.{name}")

    def __call__(self, *_: object, **__: object) -> list[str]:
        """Nothing that could be listed."""
        return []


def stub_torchaudio() -> bool:
    """Put one in place, where none is installed; whether that was so."""
    if "torchaudio" in sys.modules or find_spec("torchaudio") is not None:
        return isinstance(sys.modules.get("torchaudio"), Stub)
    for name in ("torchaudio", "torchaudio.transforms", "torchaudio.functional"):
        sys.modules[name] = Stub(name)
        sys.modules[name].__spec__ = importlib.machinery.ModuleSpec(name, None)
    return True
