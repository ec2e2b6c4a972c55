"""From experiment files and overrides to one resolved configuration.

1. The file is read, and those that it ``extends``. Tables are merged, lists are replaced. Where ``path`` changes, the
   args of the old target are dropped (of ``[trainer]``: those that are no settings).
2. Overrides are applied: ``trainer.args.max_epochs=2``.
3. ``${NAME}`` in strings becomes the environment variable; ``${NAME:-default}`` has a default; ``${CONFIG_DIR}`` is the
   folder of the file in which it stands; ``$${`` is a plain ``${``.
4. Everything is checked.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from audiozen.config import toml
from audiozen.config.check import all_problems
from audiozen.config.environment import expand
from audiozen.config.merge import Tables, apply_overrides, lists_of_datasets, merge
from audiozen.config.problems import Problem
from audiozen.config.schema import ExperimentConfig
from audiozen.config.settings import build_settings
from audiozen.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from audiozen.config.problems import Place

__all__ = ["ResolvedConfig", "read_config"]


@dataclass(frozen=True)
class ResolvedConfig:
    """An experiment file with everything in it.

    Args:
        source: the file.
        config: its settings, checked.
        tables: the same as plain tables, as they were merged.
        search_dirs: folders in which paths are looked up before the installed packages.
    """

    source: Path
    config: ExperimentConfig
    tables: Tables
    search_dirs: tuple[Path, ...]


def read_config(
    path: str | Path, overrides: Sequence[str] = (), *, check_code: bool = True
) -> ResolvedConfig:
    """Read an experiment file.

    Args:
        path: the TOML file.
        overrides: ``key=value`` each, with the value in TOML; bare words are strings.
        check_code: also import what the paths name, and compare args with signatures.

    Raises:
        RequestError: there is no such file.
        ConfigError: everything that is wrong with it, one line each.
    """
    source = Path(path)
    files = toml.read_chain(source)
    find = partial(toml.position, files=files, overrides=overrides)
    tables, problems = _merge_all(files, overrides)
    _refuse(source, problems, tables, find)
    tables, problems = expand(tables, {"CONFIG_DIR": str(files[0].path.parent), **os.environ})
    search_dirs = _search_dirs(tables, files)
    known = {problem.place for problem in problems}
    found = all_problems(tables, search_dirs, check_code=check_code)
    problems += [problem for problem in found if problem.place not in known]
    _refuse(source, problems, tables, find)
    config = build_settings(ExperimentConfig, tables, source=str(source))
    return ResolvedConfig(source, config, tables, search_dirs)


def _refuse(
    source: Path,
    problems: list[Problem],
    tables: Tables,
    find: Callable[[Place], toml.Position],
) -> None:
    """Raise a ConfigError if there are problems: in the order of the file, each with its line."""
    if problems:
        spots = {problem: find(problem.place) for problem in problems}
        ordered = sorted(spots, key=lambda problem: spots[problem].order)
        lines = [f"{_in_words(problem, tables)}{spots[problem].words}" for problem in ordered]
        raise ConfigError(str(source), lines)


def _merge_all(files: list[toml.File], overrides: Sequence[str]) -> tuple[Tables, list[Problem]]:
    tables: Tables = {}
    for file in reversed(files):
        tables = merge(tables, file.tables)
    tables, problems = apply_overrides(lists_of_datasets(tables), overrides)
    tables.pop("extends", None)
    return lists_of_datasets(tables), problems + toml.size_problems(tables)


def _search_dirs(tables: Tables, files: list[toml.File]) -> tuple[Path, ...]:
    meta = tables.get("meta")
    stated = meta.get("code_dirs") if isinstance(meta, dict) else None
    if isinstance(stated, list):
        return tuple(Path(item).absolute() for item in stated if isinstance(item, str))
    folders = [folder for file in files for folder in (file.path.parent, file.path.parent.parent)]
    return tuple(dict.fromkeys(folders))


def _in_words(problem: Problem, tables: Tables) -> str:
    """``[test_dataset]`` where there is one, ``[test_dataset.1]`` where there are several."""
    match problem.place:
        case (str(name), 0, *rest) if len(tables.get(name, [])) == 1:
            return str(Problem((name, *rest), problem.text))
    return str(problem)
