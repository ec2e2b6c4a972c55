"""What a run notes about itself: the settings it ran with, and where it ran."""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from audiozen.durable_files import replace_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

# The packages that numbers depend on.
PACKAGES = (
    "audiozen",
    "torch",
    "numpy",
    "safetensors",
    "soundfile",
    "soxr",
    "pesq",
    "onnxruntime",
    "speechmos",
)


def environment(folder: Path) -> dict[str, Any]:
    """Facts about this process and machine.

    Args:
        folder: whose git commit is told.

    Returns:
        ``time`` (UTC), ``host``, ``platform``, ``python``, ``packages`` (versions, None where not installed), ``gpus``,
        ``num_processes``, ``git`` (commit and whether files differ from it; None outside a repository), ``argv`` and
        ``cwd``.
    """
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        **machine(PACKAGES),
        "num_processes": int(os.environ.get("WORLD_SIZE", "1")),
        "git": git_state(folder),
        "argv": sys.argv,
        "cwd": os.getcwd(),  # noqa: PTH109  # a string is what is written
    }


def machine(packages: Iterable[str]) -> dict[str, Any]:
    """Facts that tell nothing about people: ``platform``, ``python``, ``packages`` and ``gpus``.

    Args:
        packages: whose versions are told, None where not installed.
    """
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in packages},
        "gpus": _gpus(),
    }


def git_state(folder: Path) -> dict[str, Any] | None:
    """``commit``, and ``is_changed``: whether files differ from it. None outside a repository."""
    commit = run_git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    changes = run_git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "is_changed": bool(changes)}


def run_git(folder: Path, *args: str) -> str | None:
    """What git prints; None where it is not installed, fails or hangs."""
    command = ["git", "-C", str(folder), *args]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603  # our words
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip()


def write_toml(path: Path, tables: Mapping[str, Any]) -> None:
    """Write a TOML file at once: a reader sees the old one or the new one."""
    import tomli_w

    replace_file(path, tomli_w.dumps(tables).encode())


def write_json(path: Path, facts: Mapping[str, Any]) -> None:
    """Write a JSON file at once: a reader sees the old one or the new one."""
    replace_file(path, f"{json.dumps(facts, indent=2)}\n".encode())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _gpus() -> list[str]:
    import torch

    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
