"""Where and how a run was started, and how to do it again."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def facts_of(environment: Mapping[str, Any]) -> dict[str, str]:
    """Circumstances by name, in the order in which they are shown."""
    git = environment.get("git") or {}
    gpus = Counter(environment.get("gpus") or [])
    packages = environment.get("packages") or {}
    facts = {
        "started": environment.get("time"),
        "host": environment.get("host"),
        "platform": environment.get("platform"),
        "GPU": ", ".join(f"{num} x {gpu}" for gpu, num in gpus.items())
        or ("none" if environment else None),
        "processes": environment.get("num_processes"),
        "seed": environment.get("seed"),
        "commit": (git.get("commit") or "")
        + (", with changes that were not committed" if git.get("is_changed") else ""),
        "folder": environment.get("cwd"),
        "Python": environment.get("python"),
    } | {name: version or "not installed" for name, version in packages.items()}
    return {name: str(value) for name, value in facts.items() if value not in (None, "")}


def commands_of(environment: Mapping[str, Any]) -> list[str]:
    """What to type to do a run again, a line each: folder, commit, command."""
    commit = (environment.get("git") or {}).get("commit")
    folder = environment.get("cwd")
    command = rerun(environment)
    return [
        *([f"cd {shlex.quote(folder)}"] if folder and command else []),
        *([f"git checkout {commit}"] if commit else []),
        *([command] if command else []),
    ]


def rerun(environment: Mapping[str, Any], command: str = "", *options: str) -> str:
    """The command line of a run, or one of another command with the same experiment file and settings.

    Args:
        environment: as in ``environment.json``.
        command: such as ``test``; empty: as it was started, on as many processes.
        options: to be added.

    Returns:
        For a shell; empty where it is not known.
    """
    program, *words = environment.get("argv") or [""]
    words = [word for word in words if word != "--resume"]
    name = Path(program).name
    if name not in ("audiozen", "__main__.py"):
        return "" if command or not program else shlex.join(["python", program, *words])
    if command and (not words or words[0] not in ("train", "validate", "test")):
        return ""
    if command:
        words = [command, *(word for word in words[1:] if _is_of_experiment(word))]
    num_processes = environment.get("num_processes") or 1
    several = ["torchrun", "--nproc-per-node", str(num_processes), "-m"]
    return shlex.join([*(several if num_processes > 1 else []), "audiozen", *words, *options])


def _is_of_experiment(word: str) -> bool:
    """Whether a word of a command line names the experiment file or a setting, and not an option."""
    return not word.startswith("-") and (word.endswith(".toml") or "=" in word)
