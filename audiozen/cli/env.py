"""``audiozen env``: versions and machine, for a bug report."""

from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import audiozen
from audiozen.processes.cores import num_cores
from audiozen.record import PACKAGES, git_state, machine, run_git

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(.*extra == ['\"](?P<extra>[\w-]+)['\"])?")
_FOR_DEVELOPERS = ("test", "lint", "docs")


def env(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")] = False,
) -> None:
    """Tell versions and machine for a bug report, and nothing private."""
    facts = installation()
    typer.echo(json.dumps(facts, indent=2) if as_json else "\n".join(_lines(facts)))


def installation() -> dict[str, Any]:
    """What a bug report needs.

    Returns:
        ``audiozen`` (version), ``git`` (``commit`` and ``is_changed`` of the checkout that is in use; None for an
        installed package), ``platform``, ``python``, ``packages`` (versions, None where not installed), ``gpus``,
        ``missing`` (packages by extra), ``cpu``, ``num_cores``, ``num_threads`` (of PyTorch) and ``cuda`` (of PyTorch).
        No name of a person, a host or a folder.
    """
    import torch

    from audiozen.complexity import cpu_name

    extras = _packages_of_extras()
    facts = machine([name for names in extras.values() for name in names])
    versions = facts["packages"]
    missing = {
        extra: absent
        for extra, names in extras.items()
        if extra and (absent := [name for name in names if versions[name] is None])
    }
    return {
        "audiozen": audiozen.__version__,
        "git": _checkout(),
        **facts,
        "missing": missing,
        "cpu": cpu_name(),
        "num_cores": num_cores(),
        "num_threads": torch.get_num_threads(),
        "cuda": torch.version.cuda,
    }


def _packages_of_extras() -> dict[str, list[str]]:
    """Packages that AudioZEN asks for, by extra; under ``""`` those that every installation has."""
    found: dict[str, list[str]] = {"": []}
    try:
        stated = metadata.requires("audiozen") or []
    except metadata.PackageNotFoundError:  # a folder on the path, which states nothing
        return {"": [name for name in PACKAGES if name != "audiozen"]}
    for requirement in stated:
        match = _REQUIREMENT.match(requirement)
        assert match
        extra = match["extra"] or ""
        if extra not in _FOR_DEVELOPERS:
            found.setdefault(extra, []).append(match["name"])
    return found


def _checkout() -> dict[str, Any] | None:
    """The commit of the checkout that the package is part of; a package beside somebody's own code is part of none."""
    package = Path(audiozen.__file__).parent
    is_tracked = run_git(package, "ls-files", "--error-unmatch", "__init__.py") is not None
    return git_state(package) if is_tracked else None


def _lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """The facts as a person reads them: a name and a value per line."""
    gpus = ", ".join(facts["gpus"]) or "none"
    threads = f"{facts['num_cores']} cores, {facts['num_threads']} threads of PyTorch"
    rows = {
        "audiozen": facts["audiozen"] + _commit_text(facts["git"]),
        "python": facts["python"],
        "platform": facts["platform"],
        "cpu": f"{facts['cpu']}, {threads}",
        "gpu": f"{gpus}; PyTorch was built {_cuda_text(facts['cuda'])}",
        **{name: version for name, version in facts["packages"].items() if version},
        "missing": "; ".join(_missing_texts(facts["missing"])) or "none",
    }
    width = max(map(len, rows))
    yield from (f"{name:{width}}  {value}" for name, value in rows.items())


def _commit_text(git: Mapping[str, Any] | None) -> str:
    if git is None:
        return ""
    return f", commit {git['commit']}" + (", with changes" if git["is_changed"] else "")


def _cuda_text(version: str | None) -> str:
    return f"with CUDA {version}" if version else "without CUDA"


def _missing_texts(missing: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """One text per extra that is not whole, with what installs the rest."""
    for extra, names in missing.items():
        yield f"{', '.join(names)} (pip install 'audiozen[{extra}]')"
