"""From ``path`` and ``args`` to an object, with everything checked before anything is built.

>>> from audiozen.config.instantiate import instantiate
>>> instantiate("fractions.Fraction", {"numerator": 3, "denominator": 6})
Fraction(1, 2)
"""

from __future__ import annotations

import functools
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiozen.config.locate import explain, locate
from audiozen.config.signature import is_target, parameters_of, signature_problems
from audiozen.config.targets import Surroundings, locate_callable, target_problems
from audiozen.errors import AudioZENError, ConfigError, RequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["bind", "build_args", "call", "instantiate", "locate", "signature_problems"]


def instantiate(
    path: str,
    args: Mapping[str, Any] | None = None,
    *positional: Any,
    search_dirs: Sequence[str | Path] = (),
    offered: Mapping[str, Any] | None = None,
) -> Any:
    """Call a class or function by its dotted name.

    Tables with ``path`` (and ``args``) among the arguments are built first, also inside lists and tables.

    Args:
        path: dotted name, looked up in ``search_dirs`` first, then among the installed packages.
        args: keyword arguments.
        positional: objects that the call begins with, such as the parameters of an optimizer.
        search_dirs: folders that hold modules; they come before the installed packages.
        offered: values that are passed where the signature names them and ``args`` does not state them.

    Returns:
        What the class or function returns.

    Raises:
        ConfigError: the arguments do not fit the signature; all problems at once.
        RequestError: nothing is found by ``path``, or the call fails (with file and line, and the cause).
    """
    args, offered = dict(args or {}), dict(offered or {})
    table = {"path": path, "args": args}
    around = Surroundings(search_dirs, offered)
    target = locate_callable(path, search_dirs)
    problems = target_problems(table, (), around, num_positional=len(positional))
    if problems:
        raise ConfigError(path, [str(problem) for problem in problems])
    kwargs = build_args(target, args, search_dirs=search_dirs, offered=offered)
    return call(target, positional, kwargs, path=path, search_dirs=search_dirs)


def build_args(
    target: Callable[..., Any],
    args: Mapping[str, Any],
    *,
    search_dirs: Sequence[str | Path] = (),
    offered: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Keyword arguments for a call: nested targets built, and what is offered where it is named."""
    offered = dict(offered or {})
    built = {key: _build(value, search_dirs, offered) for key, value in args.items()}
    named = parameters_of(target)
    return {key: value for key, value in offered.items() if key in named} | built


def call(
    target: Callable[..., Any],
    positional: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    path: str,
    search_dirs: Sequence[str | Path] = (),
) -> Any:
    """Call somebody else's code; what it raises becomes one line that says where."""
    try:
        return target(*positional, **kwargs)
    except AudioZENError:
        raise
    except Exception as error:
        folders = [Path(folder).resolve() for folder in search_dirs]
        raise RequestError(f"{path} failed: {explain(error, folders)}") from error


def bind(
    target: Callable[..., Any],
    kwargs: Mapping[str, Any],
    *,
    path: str,
    search_dirs: Sequence[str | Path] = (),
) -> Any:
    """Build a class; bind arguments to a function, which is called later."""
    if inspect.isclass(target):
        return call(target, (), kwargs, path=path, search_dirs=search_dirs)
    return functools.partial(target, **kwargs) if kwargs else target


def _build(value: Any, search_dirs: Sequence[str | Path], offered: Mapping[str, Any]) -> Any:
    """An argument with the targets inside it built."""
    if is_target(value):
        return instantiate(
            value["path"], value.get("args"), search_dirs=search_dirs, offered=offered
        )
    if isinstance(value, dict):
        return {key: _build(item, search_dirs, offered) for key, item in value.items()}
    if isinstance(value, list):
        return [_build(item, search_dirs, offered) for item in value]
    return value
