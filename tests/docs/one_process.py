"""Programs and commands of several pages, one after the other in one process, as if each had one of its own."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from audiozen.config import locate

if TYPE_CHECKING:
    import types
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
MODULE = "__page__"
"""Name of the module that the programs of a page are."""


@contextlib.contextmanager
def process_restored(folder: Path) -> Iterator[None]:
    """Work in a folder, with warnings as errors, and leave the process as it was."""
    environment, argv = dict(os.environ), list(sys.argv)
    generators = random.getstate(), np.random.get_state()
    num_threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng(devices=[]):
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        patch.setattr(sys, "dont_write_bytecode", True)  # files may change within a second
        os.environ |= {"OMP_NUM_THREADS": "1", "ROOT": str(ROOT)}
        try:
            with modules_restored(folder), warnings.catch_warnings():
                warnings.simplefilter("error")
                yield
        finally:
            os.environ.clear()
            os.environ.update(environment)
            sys.argv[:] = argv
            random.setstate(generators[0])
            np.random.set_state(generators[1])
            torch.set_num_threads(num_threads)
            torch.set_default_dtype(dtype)
            torch.use_deterministic_algorithms(False)


@contextlib.contextmanager
def modules_restored(folder: Path) -> Iterator[None]:
    """Forget modules of recipes and of this folder afterwards. Others stay, as not all can be imported twice."""
    before, path = set(sys.modules), list(sys.path)
    try:
        yield
    finally:
        locate._recipes._leave()
        locate._recipes = locate._Recipes()
        for name in set(sys.modules) - before:
            if name == MODULE or is_made_in(sys.modules[name], folder):
                del sys.modules[name]
        sys.path[:] = path


def is_made_in(module: types.ModuleType, folder: Path) -> bool:
    """Whether a module lies in the folder, or in a recipe by a name that other recipes have, too."""
    is_short = not module.__name__.startswith("recipes.")
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", [])]
    homes = (folder.resolve(), *[ROOT / "recipes"] * is_short)
    return any(
        Path(place).resolve().is_relative_to(home) for place in places if place for home in homes
    )
