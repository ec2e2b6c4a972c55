"""What is wrong with a configuration: one line for each problem, all of them at once."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from audiozen.config.values import describe, show
from audiozen.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Model = TypeVar("Model", bound=BaseModel)
Place = tuple[str | int, ...]

# Tags of the two forms of a table; pydantic puts them into the places of errors.
SINGLE, NAMED = "<single>", "<named>"


class Problem(NamedTuple):
    """One thing that is wrong.

    Args:
        place: keys that lead to it, from the outermost table to the key itself.
        text: the sentence that follows the name of the table.
    """

    place: Place
    text: str

    def __str__(self) -> str:
        table = self.place[:-1] or self.place
        return f"[{'.'.join(map(str, table))}] {self.text}" if table else self.text


def build_settings(cls: type[Model], table: Mapping[str, Any], *, source: str) -> Model:
    """Make settings of a table, such as ``TrainerConfig`` of a dict.

    Args:
        cls: a class of :mod:`audiozen.config.schema`.
        table: its fields.
        source: what to call the table in the error.

    Raises:
        ConfigError: names every unknown, missing, mistyped or senseless key at once.
    """
    problems = settings_problems(cls, table)
    if problems:
        raise ConfigError(source, [problem.text for problem in problems])
    return cls.model_validate(table)


def settings_problems(cls: type[BaseModel], table: Any, place: Place | None = ()) -> list[Problem]:
    """Everything that is wrong with a table of settings.

    Args:
        cls: a class of :mod:`audiozen.config.schema`.
        table: its fields.
        place: keys that lead to the table. None: it is a whole file, whose keys are tables.
    """
    try:
        cls.model_validate(table)
    except ValidationError as error:
        found = (_from_pydantic(cls, dict(item), place) for item in error.errors())
        return list(dict.fromkeys(problem for problems in found for problem in problems))
    return []


def unknown_key(key: str, known: Iterable[str]) -> str:
    """The sentence for a key that nobody knows."""
    return f"unknown key {key}; {suggestion(key, known)}"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant, or None if none is near."""
    near = get_close_matches(name, sorted(known), n=1)
    return near[0] if near else None


def suggestion(name: str, known: Iterable[str], what: str = "known keys") -> str:
    """What was meant: "did you mean 'x'?" where something is near, else all that is known."""
    names = sorted(known)
    if near := nearest(name, names):
        return f"did you mean {near!r}?"
    return f"{what}: {', '.join(names)}" if names else f"{what}: none"


def _from_pydantic(
    cls: type[BaseModel], error: dict[str, Any], place: Place | None
) -> list[Problem]:
    loc: Place = tuple(part for part in error["loc"] if part not in (SINGLE, NAMED))
    full = (place or ()) + loc
    if error["type"] == "value_error":
        return _from_validator(cls, loc, full, str(error["ctx"]["error"]))
    return [Problem(full, _sentence(cls, loc, error, is_table=place is None and len(loc) == 1))]


def _from_validator(cls: type[BaseModel], loc: Place, full: Place, message: str) -> list[Problem]:
    """Problems that a validator of ours states: one a line, each about a field or a table."""
    if loc and not _is_model(_annotation_at(cls, loc)):
        return [Problem(full, f"{loc[-1]}: {message}")]
    return [Problem((*full, line.partition(":")[0]), line) for line in message.splitlines()]


def _sentence(cls: type[BaseModel], loc: Place, error: dict[str, Any], *, is_table: bool) -> str:
    key = str(loc[-1]) if loc else ""
    name = "" if is_table else f"{key}: "
    if error["type"] == "missing":
        return f"{name}missing, and it has no default"
    if error["type"] == "extra_forbidden":
        return _unknown(key, _known(cls, loc[:-1]), is_table=is_table)
    return f"{name}expected {describe(_annotation_at(cls, loc))}, got {show(error['input'])}"


def _unknown(key: str, known: Iterable[str], *, is_table: bool) -> str:
    if is_table:
        return f"unknown table; {suggestion(key, known, 'known tables')}"
    return unknown_key(key, known)


def _known(cls: type[BaseModel], loc: Place) -> Iterable[str]:
    owner = _annotation_at(cls, loc)
    return owner.model_fields if _is_model(owner) else ()


def _annotation_at(cls: type[BaseModel], loc: Place) -> Any:
    """The annotation that a place leads to, through tables, lists and optional values."""
    current: Any = cls
    for part in loc:
        current = _step(current, part)
    return _model_among(current) or current


def _step(annotation: Any, part: str | int) -> Any:
    model = _model_among(annotation)
    if model is not None and isinstance(part, str):
        return model.model_fields.get(part, Any)
    return annotation  # an index or the name of a named table: the kind of table is the same


def _model_among(annotation: Any) -> type[BaseModel] | None:
    """The class of settings inside an annotation such as ``tuple[DatasetConfig, ...]``."""
    annotation = getattr(annotation, "annotation", annotation)
    if _is_model(annotation):
        return annotation  # type: ignore[no-any-return]  # what _is_model has just found out
    found = (_model_among(arm) for arm in get_args(annotation) if get_origin(annotation))
    return next((model for model in found if model), None)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
