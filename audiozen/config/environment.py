"""``${NAME}`` in the strings of a configuration."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from audiozen.config.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from audiozen.config.problems import Place

_REFERENCE = re.compile(r"(?P<escape>\$?)\$\{(?P<inner>[^}]*)\}")
_INNER = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(:-(?P<default>.*))?", re.DOTALL)


def expand(
    tables: dict[str, Any], environment: Mapping[str, str]
) -> tuple[dict[str, Any], list[Problem]]:
    """Replace what strings refer to.

    Returns:
        New tables, and a problem for each reference that leads nowhere.
    """
    problems: list[Problem] = []
    return _expand(tables, (), environment, problems), problems


def set_folder(value: Any, folder: str) -> Any:
    """Replace ``${CONFIG_DIR}`` alone: it means the folder of the file in which it stands."""
    if isinstance(value, dict):
        return {key: set_folder(item, folder) for key, item in value.items()}
    if isinstance(value, list):
        return [set_folder(item, folder) for item in value]
    if isinstance(value, str):
        text = folder.replace("${", "$${")
        return re.sub(r"(?<!\$)\$\{CONFIG_DIR\}", lambda _: text, value)
    return value


def _expand(
    value: Any, place: Place, environment: Mapping[str, str], problems: list[Problem]
) -> Any:
    if isinstance(value, dict):
        return {k: _expand(v, (*place, k), environment, problems) for k, v in value.items()}
    if isinstance(value, list):
        return [_expand(v, (*place, i), environment, problems) for i, v in enumerate(value)]
    if isinstance(value, str):
        return _expand_text(value, place, environment, problems)
    return value


def _expand_text(
    text: str, place: Place, environment: Mapping[str, str], problems: list[Problem]
) -> str:
    def replace(match: re.Match[str]) -> str:
        if match["escape"]:
            return match[0][1:]
        found = _look_up(match["inner"], environment)
        if found is None:
            problems.append(Problem(place, f"{place[-1]}: {_complaint(match['inner'])}"))
        return found or ""

    expanded = _REFERENCE.sub(replace, text)
    if not _is_text(expanded):
        problems.append(Problem(place, f"{place[-1]}: not valid UTF-8"))
    return expanded


def _look_up(inner: str, environment: Mapping[str, str]) -> str | None:
    match = _INNER.fullmatch(inner)
    return environment.get(match["name"], match["default"]) if match else None


def _complaint(inner: str) -> str:
    if _INNER.fullmatch(inner):
        return (
            f"the environment variable {inner} is not set; set it, or write ${{{inner}:-default}}"
        )
    return f"${{{inner}}} is not the name of an environment variable; write $${{ for a plain ${{"


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
