"""What is wrong with tables of ``path`` and ``args``, found without building anything."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from audiozen.config.locate import locate
from audiozen.config.problems import Problem
from audiozen.config.schema import TargetConfig
from audiozen.config.settings import settings_problems
from audiozen.config.signature import is_target, signature_problems
from audiozen.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from audiozen.config.problems import Place


class Surroundings(NamedTuple):
    """What all targets of one experiment share.

    Args:
        search_dirs: folders that hold modules.
        offered: names of values that are passed where a signature names them.
    """

    search_dirs: Sequence[str | Path] = ()
    offered: Collection[str] = ()


def target_problems(
    table: Mapping[str, Any],
    place: Place,
    around: Surroundings,
    *,
    num_positional: int = 0,
    is_bound: bool = False,
) -> list[Problem]:
    """What is wrong with a table of ``path`` and ``args``, and with those among its arguments.

    Args:
        table: the table, as read from TOML. What the schema refuses is passed over here.
        place: keys that lead to it.
        around: what all targets share.
        num_positional: how many arguments the call begins with.
        is_bound: a function is not called now, but bound to its arguments, and that call comes later. A class is built
            now, with these arguments alone.
    """
    path, args = table.get("path"), table.get("args", {})
    if not isinstance(path, str) or not isinstance(args, dict):
        return []
    nested = nested_problems(args, (*place, "args"), around)
    try:
        target = locate_callable(path, around.search_dirs)
    except RequestError as error:
        return [Problem((*place, "path"), f"path: {error}"), *nested]
    sentences = signature_problems(
        target,
        args,
        around.offered,
        num_positional=0 if is_bound and inspect.isclass(target) else num_positional,
        allow_missing=is_bound and not inspect.isclass(target),
    )
    return [problem_of((*place, "args"), sentence) for sentence in sentences] + nested


def nested_problems(value: Any, place: Place, around: Surroundings) -> list[Problem]:
    """What is wrong with the targets among arguments, however deep."""
    if is_target(value):
        own = settings_problems(TargetConfig, value, place)
        return own + target_problems(value, place, around)
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return [
        problem
        for key, item in items
        if isinstance(item, dict | list)
        for problem in nested_problems(item, (*place, key), around)
    ]


def locate_callable(path: str, search_dirs: Sequence[str | Path] = ()) -> Callable[..., Any]:
    """The class or function with a dotted name.

    Raises:
        RequestError: as :func:`locate`, or the object cannot be called.
    """
    target = locate(path, search_dirs)
    if not callable(target):
        raise RequestError(f"{path!r} is of type {type(target).__name__}, not a class or function")
    return cast("Callable[..., Any]", target)


def problem_of(place: Place, sentence: str) -> Problem:
    """The problem with an argument, of a sentence that starts with its key."""
    key = sentence.removeprefix("unknown key ").partition(";")[0].partition(":")[0]
    return Problem((*place, key), sentence)
