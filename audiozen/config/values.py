"""Which TOML values fit which annotations, and how to say in words what an annotation wants."""

from __future__ import annotations

import operator
import os
import types
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from inspect import isfunction
from pathlib import Path
from typing import Annotated, Any, Literal, TypeGuard, Union, get_args, get_origin

_LISTS = (list, tuple, set, frozenset, Sequence, Iterable, Collection)
_TABLES = (dict, Mapping)
_SCALARS = {bool: "true or false", str: "a string", Path: "a path", os.PathLike: "a path"}
_LIMITS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
_IS_WITHIN = {"gt": operator.gt, "ge": operator.ge, "lt": operator.lt, "le": operator.le}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of a number: ``Annotated[int, Limits(gt=0)]``. The names are those that other packages use, too."""

    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None


def fits(value: object, annotation: Any) -> bool:
    """Whether a value read from TOML may be passed to a parameter with this annotation.

    As TOML means it: an integer is a number, true and false are not, a list is what a tuple is
    written as, and a string is what a path is written as. What cannot be judged fits.
    """
    base, limits = _unwrap(annotation)
    origin, arms = get_origin(base) or base, get_args(base)
    if origin in (Union, types.UnionType):
        return any(_fits_arm(value, arm) for arm in arms)
    if origin is Literal:
        return any(value == arm and type(value) is type(arm) for arm in arms)
    if origin in _LISTS:
        return isinstance(value, list) and all(fits(item, _item(arms)) for item in value)
    if origin in _TABLES:
        return isinstance(value, dict) and all(fits(v, _item(arms[1:])) for v in value.values())
    return _fits_scalar(value, origin) and _is_within(value, limits)


def refusal(value: object, annotation: Any) -> str | None:
    """What a function in ``Annotated[str, function]`` has against a value that fits; None: nothing."""
    metadata = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    sentences = (check(value) for check in metadata if isfunction(check))
    return next(filter(None, sentences), None)


def describe(annotation: Any) -> str:
    """What a value with this annotation is, in words: "a positive integer"."""
    base, limits = _unwrap(annotation)
    origin, arms = get_origin(base) or base, get_args(base)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(describe(arm) for arm in arms if arm is not type(None)))
    if origin is Literal:
        return "one of " + ", ".join(repr(arm) for arm in arms)
    if origin in (int, float):
        return _describe_number("an integer" if origin is int else "a number", limits)
    if origin in _LISTS:
        return "a list"
    if origin in _TABLES or is_dataclass(origin):
        return "a table"
    return _SCALARS.get(origin) or str(getattr(origin, "__name__", origin))


def show(value: object) -> str:
    """A value as an error message shows it: short, whatever it is."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _fits_arm(value: object, annotation: Any) -> bool:
    """As :func:`fits`, but among alternatives a class that TOML has not fits only its own objects."""
    known = (bool, int, float, *_SCALARS, *_LISTS, *_TABLES)
    if isinstance(annotation, type) and annotation not in known:
        return isinstance(value, annotation)
    return fits(value, annotation)


def _fits_scalar(value: object, expected: Any) -> bool:
    if expected is bool:
        return isinstance(value, bool)
    if expected is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if expected is float:
        return _is_number(value)
    if expected in (str, Path, os.PathLike):
        return isinstance(value, str)
    return expected is not type(None)  # TOML has no null


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_within(value: Any, limits: dict[str, float]) -> bool:
    return not _is_number(value) or all(
        _IS_WITHIN[name](value, limit) for name, limit in limits.items()
    )


def _item(arms: tuple[Any, ...]) -> Any:
    """Annotation of the items of a container, as far as it is the same for all of them."""
    kinds = {arm for arm in arms if arm is not Ellipsis}
    return kinds.pop() if len(kinds) == 1 else Any


def _unwrap(annotation: Any) -> tuple[Any, dict[str, float]]:
    """The bare annotation and its limits."""
    if get_origin(annotation) is Annotated:
        base, *metadata = get_args(annotation)
        return base, _limits(metadata)
    return annotation, {}


def _limits(metadata: Iterable[Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for item in metadata:  # anything: each package has its own
        inside = getattr(item, "metadata", None)  # pydantic.Field(gt=0) has them one by one
        for part in inside if isinstance(inside, list) else [item]:
            stated = {name: getattr(part, name, None) for name in _LIMITS}
            found |= {name: limit for name, limit in stated.items() if _is_number(limit)}
    return found


def _describe_number(noun: str, limits: dict[str, float]) -> str:
    if limits == {"gt": 0}:
        return f"a positive {noun.split()[1]}"
    words = [f"{word} {limits[name]}" for name, word in _LIMITS.items() if name in limits]
    return f"{noun}, {' and '.join(words)}" if words else noun
