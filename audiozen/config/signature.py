"""Whether arguments read from TOML fit the signature of a class or function."""

from __future__ import annotations

import inspect
import typing
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from audiozen.config.problems import nearest, unknown_key
from audiozen.config.values import describe, fits, show

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

Parameters = dict[str, inspect.Parameter]

_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def signature_problems(
    target: Callable[..., Any],
    args: Mapping[str, Any],
    offered: Collection[str] = (),
    *,
    num_positional: int = 0,
    allow_missing: bool = False,
) -> list[str]:
    """What is wrong with the arguments of a call, before it is made.

    Args:
        target: class or function.
        args: keyword arguments as read from TOML. Values are compared with annotations where these are simple
            (numbers, strings, lists, tables, choices, and unions of them); all others fit.
        offered: names of values that are passed besides where the signature names them.
        num_positional: how many arguments the call begins with.
        allow_missing: the call is made later, with more arguments.

    Returns:
        One sentence for each unknown, missing or mistyped argument. None for a target that tells nothing about its
        arguments.

    >>> def scale(gain: float, *, unit: str = "dB"): ...
    >>> signature_problems(scale, {"unti": "dB", "gain": "loud"})
    ["unknown key unti; did you mean 'unit'?", "gain: expected a number, got 'loud'"]
    """
    signature = _signature(target)
    if signature is None:
        return []
    named = _by_name(signature, num_positional)
    unknown = [] if _is_open(signature) else [key for key in args if key not in named]
    problems = [unknown_key(key, named) for key in unknown]
    problems += mistyped(target, {key: args[key] for key in args if key in named})
    # A misspelt argument is one mistake, so the one that was meant does not count as missing.
    meant = {near for key in unknown if (near := nearest(key, named))}
    return problems if allow_missing else problems + missing(named, {*args, *offered, *meant})


def mistyped(target: Callable[..., Any], args: Mapping[str, Any]) -> list[str]:
    """One sentence for each argument that is not what its annotation says."""
    hints = _annotations(target)
    return [
        f"{key}: expected {describe(hints[key])}, got {show(value)}"
        for key, value in args.items()
        if key in hints and not is_target(value) and not fits(value, hints[key])
    ]


def missing(parameters: Parameters, given: Collection[str]) -> list[str]:
    """One sentence for each parameter without default that is not given."""
    return [
        f"{name}: missing, and it has no default"
        for name, parameter in parameters.items()
        if parameter.default is inspect.Parameter.empty and name not in given
    ]


def parameters_of(target: Callable[..., Any]) -> Parameters:
    """Parameters that a call can pass by name. Empty for a target that tells nothing about them."""
    signature = _signature(target)
    return _by_name(signature) if signature else {}


def parameters_through_bases(cls: type) -> tuple[Parameters, bool]:
    """Parameters of a constructor, and of those to which it leaves the rest by ``**kwargs``.

    Returns:
        The parameters, and whether the last constructor takes names that nobody states.
    """
    found: Parameters = {}
    for base in cls.__mro__:
        signature = _signature(base) if "__init__" in vars(base) else None
        if signature is not None:
            found = _by_name(signature) | found
            if not _is_open(signature):
                return found, False
    return found, True


def is_target(value: object) -> bool:
    """Whether an argument is a table that says what to build."""
    return isinstance(value, dict) and "path" in value


def _signature(target: Callable[..., Any]) -> inspect.Signature | None:
    """None where the target is written in C and says nothing about its arguments."""
    try:
        return inspect.signature(target)
    except (ValueError, TypeError):
        return None


def _by_name(signature: inspect.Signature, num_positional: int = 0) -> Parameters:
    """Parameters that can be passed by name after the first ones went by position."""
    parameters = list(signature.parameters.values())
    taken = [item.name for item in parameters if item.kind in _BY_POSITION][:num_positional]
    return {p.name: p for p in parameters if p.kind in _BY_NAME and p.name not in taken}


def _is_open(signature: inspect.Signature) -> bool:
    kinds = [parameter.kind for parameter in signature.parameters.values()]
    return inspect.Parameter.VAR_KEYWORD in kinds


def _annotations(target: Callable[..., Any]) -> dict[str, Any]:
    """Annotations of the parameters, those that can be evaluated."""
    function = inspect.unwrap(target.__init__ if inspect.isclass(target) else target)
    scope = getattr(function, "__globals__", {})
    hints: dict[str, Any] = {}
    for name, annotation in inspect.get_annotations(function).items():
        one = SimpleNamespace(__annotations__={name: annotation})
        try:
            hints |= typing.get_type_hints(one, globalns=dict(scope), include_extras=True)
        except Exception:  # noqa: BLE001, S112  # an annotation may be any code; without it nothing is checked
            continue
    return hints
