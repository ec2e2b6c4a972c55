"""A small recipe, as ``audiozen new`` writes it, and the ways to call the command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from audiozen.cli.main import main

QUICK = [
    "trainer.args.max_steps=2",
    "trainer.args.num_threads=1",
    "train_dataset.args.num_signals=16",
    "validate_dataset.0.args.num_signals=4",
    "test_dataset.0.args.num_signals=4",
]


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh recipe; the current folder is beside it."""
    monkeypatch.chdir(tmp_path)
    assert main(["new", "recipe"]) == 0
    return tmp_path / "recipe" / "baseline.toml"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A recipe that was trained for a moment; the current folder is beside it."""
    folder = tmp_path_factory.mktemp("trained")
    before = Path.cwd()
    os.chdir(folder)
    assert main(["new", "recipe"]) == 0
    config = folder / "recipe" / "baseline.toml"
    assert main(["train", str(config), *QUICK]) == 0
    yield config
    os.chdir(before)


@pytest.fixture
def quick() -> list[str]:
    """Settings that make training a matter of a second."""
    return list(QUICK)


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def audiozen() -> Run:
    """Run the command in a process of its own."""

    def run(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "audiozen", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, **options)

    return run
