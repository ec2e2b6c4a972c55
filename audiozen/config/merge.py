"""How tables that extend or override others are put together."""

from __future__ import annotations

import tomllib
from typing import Any

from audiozen.config.problems import Problem
from audiozen.config.schema import TrainerConfig
from audiozen.config.settings import as_list, is_named, kinds_of

Tables = dict[str, Any]

_EVALUATION = ("validate_dataset", "test_dataset")
_NAMEABLE = ("model", "optimizer", "lr_scheduler")


class _OverrideError(Exception):
    """An override that leads nowhere."""


def merge(base: Tables, changes: Tables, table: str | None = "") -> Tables:
    """``base`` with ``changes``: tables are merged, everything else is replaced.

    Args:
        base: tables.
        changes: tables that come after them.
        table: name of the table, "" for a whole file, None for a table inside a table.
    """
    if table in _NAMEABLE and _changes_form(base, changes):
        return changes
    merged = _without_old_args(base, changes, table)
    for key, value in changes.items():
        inner = merged.get(key)
        if isinstance(inner, dict) and isinstance(value, dict):
            merged[key] = merge(inner, value, key if table == "" else None)
        else:
            merged[key] = value
    return merged


def apply_overrides(tables: Tables, overrides: Any) -> tuple[Tables, list[Problem]]:
    """Tables with overrides such as ``trainer.args.max_epochs=2``, and those that are wrong.

    A number leads to a table of a list (``test_dataset.0.args.x=1``); without one, all tables of the list are changed.
    Overrides of ``path`` come first, as they drop args.
    """
    problems: list[Problem] = []
    for text in sorted(overrides, key=lambda text: not text.partition("=")[0].endswith("path")):
        try:
            keys, value = _parse(text)
            tables = merge(tables, _change(tables, keys, value))
        except _OverrideError as error:
            problems.append(Problem((), f"override {text!r}: {error}"))
    return tables, problems


def lists_of_datasets(tables: Tables) -> Tables:
    """A single ``[test_dataset]`` is a list of one."""
    return tables | {name: as_list(tables[name]) for name in _EVALUATION if name in tables}


def _changes_form(base: Tables, changes: Tables) -> bool:
    """Whether named targets take the place of one, or one that of named ones."""
    if is_named(base):
        return "path" in changes
    return bool(base) and is_named(changes) and any("path" in item for item in changes.values())


def _without_old_args(base: Tables, changes: Tables, table: str | None) -> Tables:
    """Another path is another target, which does not take the args of the old one."""
    old, new = base.get("path"), changes.get("path")
    if old is None or new is None or old == new or not isinstance(base.get("args"), dict):
        return dict(base)
    kept = kinds_of(TrainerConfig) if table == "trainer" else {}
    return base | {"args": {key: value for key, value in base["args"].items() if key in kept}}


def _parse(text: str) -> tuple[list[str], Any]:
    key, equals, value = text.partition("=")
    keys = [part.strip() for part in key.split(".")]
    if not equals or not all(keys):
        raise _OverrideError("expected key=value, such as trainer.args.max_epochs=2")
    if keys == ["extends"]:
        raise _OverrideError("extends can only be stated in a file")
    return keys, _parse_value(value.strip())


def _parse_value(text: str) -> Any:
    """A value in TOML; what is no TOML is a string."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError) as error:
        if text[:1] in tuple("[{\"'"):
            raise _OverrideError(f"{text[:60]} is not a TOML value ({str(error)[:100]})") from error
        return text
    return parsed["value"] if len(parsed) == 1 else text


def _change(node: Any, keys: list[str], value: Any) -> Any:
    """Tables that hold nothing but the change (lists are whole)."""
    if not keys:
        return value
    if isinstance(node, list):
        return _change_list(node, keys, value)
    inner = node.get(keys[0]) if isinstance(node, dict) else None
    return {keys[0]: _change(inner, keys[1:], value)}


def _change_list(items: list[Any], keys: list[str], value: Any) -> list[Any]:
    if keys[0].isdecimal():
        chosen, rest = [int(keys[0])], keys[1:]
    else:
        chosen, rest = list(range(len(items))), keys
    if not items or chosen[-1] >= len(items):
        there = f"there are {len(items)}, counted from 0" if items else "the list is empty"
        raise _OverrideError(f"no table {keys[0]}; {there}")
    return [
        _change_item(item, rest, value) if i in chosen else item for i, item in enumerate(items)
    ]


def _change_item(item: Any, keys: list[str], value: Any) -> Any:
    changed = _change(item, keys, value)
    both = isinstance(item, dict) and isinstance(changed, dict)
    return merge(item, changed, None) if both else changed
