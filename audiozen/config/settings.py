"""Tables of settings as frozen dataclasses, which are checked when they are made.

::

    @dataclass(frozen=True, kw_only=True)
    class Window(Settings):
        length: Annotated[int, Limits(gt=0)] = 512

    Window(length=0)  # ConfigError: Window has 1 problem: length: expected a positive integer, got 0

A setting is what :func:`audiozen.config.values.fits` can judge, or a table of settings, or several:

- ``Window | None``: a table
- ``list[Window]``: tables; a single one is a list of one
- ``Window | dict[str, Window]``: a table, or named ones
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    NamedTuple,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

from audiozen.config.problems import Problem, suggestion, unknown_key
from audiozen.config.values import describe, fits, refusal, show
from audiozen.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from audiozen.config.problems import Place

S = TypeVar("S", bound="Settings")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A frozen table of settings that refuses unknown keys and values that do not fit.

    Raises:
        ConfigError: everything that is wrong.
    """

    is_file: ClassVar[bool] = False
    """Whether its keys are called tables."""

    def __post_init__(self) -> None:
        found: list[Problem] = []
        for name, kind in kinds_of(type(self)).items():
            value = _read(getattr(self, name), kind, _Spot((name,), f"{name}: "), found)
            object.__setattr__(self, name, value)
        problems = [problem.text for problem in found] or self.problems()
        if problems:
            raise ConfigError(type(self).__name__, problems)

    def problems(self) -> list[str]:
        """Settings that are right alone and wrong together: ``key: what is wrong`` each."""
        return []


def kinds_of(cls: type[Settings]) -> dict[str, Any]:
    """The annotations of all settings of a class, by name."""
    kinds = _KINDS.get(cls)
    if kinds is None:
        hints = get_type_hints(cls, include_extras=True)
        kinds = _KINDS[cls] = {field.name: hints[field.name] for field in fields(cls)}
    return kinds


_KINDS: dict[type[Settings], dict[str, Any]] = {}


def as_table(settings: Settings) -> dict[str, Any]:
    """Settings as TOML would have them: plain tables, without those that are None."""
    return asdict(settings, dict_factory=_without_none)


def _without_none(items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return {key: value for key, value in items if value is not None}


def build_settings(cls: type[S], table: Mapping[str, Any], *, source: str) -> S:
    """Make settings of a table, such as ``TrainerConfig`` of a dict.

    Args:
        cls: a class of :mod:`audiozen.config.schema`.
        table: its fields.
        source: what to call the table in the error.

    Raises:
        ConfigError: names every unknown, missing, mistyped or senseless key at once.
    """
    found: list[Problem] = []
    stated = dict(table) if isinstance(table, Mapping) else table
    settings = _read_table(cls, stated, _Spot((), ""), found)
    if found:
        raise ConfigError(source, [problem.text for problem in found])
    assert isinstance(settings, cls)
    return settings


def settings_problems(cls: type[Settings], table: Any, place: Place = ()) -> list[Problem]:
    """Everything that is wrong with a table of settings.

    Args:
        cls: a class of :mod:`audiozen.config.schema`.
        table: its fields.
        place: keys that lead to the table.
    """
    found: list[Problem] = []
    _read_table(cls, table, _Spot(place, f"{place[-1]}: " if place else ""), found)
    return found


def is_named(table: object) -> bool:
    """Whether a table such as ``[model]`` holds several named targets instead of being one."""
    if not isinstance(table, dict) or not table or table.keys() & {"path", "args"}:
        return False
    return all(isinstance(value, dict | Settings) for value in table.values())


def as_list(tables: object) -> object:
    """A single ``[test_dataset]`` is a list of one."""
    return [tables] if isinstance(tables, dict) else tables


# ---- reading -----------------------------------------------------------------------------------


class _Spot(NamedTuple):
    """Where a value stands, and how a sentence about it begins."""

    place: Place
    label: str

    def inside(self, key: str | int, label: str | None = None) -> _Spot:
        return _Spot((*self.place, key), f"{key}: " if label is None else label)

    def problem(self, sentence: str) -> Problem:
        return Problem(self.place, f"{self.label}{sentence}")

    def misfit(self, value: object, kind: Any) -> Problem:
        return self.problem(f"expected {describe(kind)}, got {show(value)}")


def _read(value: Any, kind: Any, spot: _Spot, found: list[Problem]) -> Any:
    """A value of this kind, with tables as settings; what is wrong with it is added to ``found``."""
    cls = _settings_in(kind)
    if cls is None:
        found += _problems_of_value(value, kind, spot)
        return value
    if isinstance(value, cls) or (value is None and type(None) in get_args(kind)):
        return value
    items = as_list(value)
    if get_origin(kind) is list and isinstance(items, list):
        return [_read(item, cls, spot.inside(i), found) for i, item in enumerate(items)]
    if any(get_origin(arm) is dict for arm in get_args(kind)) and is_named(value):
        return {name: _read(item, cls, spot.inside(name), found) for name, item in value.items()}
    return _read_table(cls, value, spot, found)


def _read_table(cls: type[S], table: Any, spot: _Spot, found: list[Problem]) -> S | None:
    """Settings of a table; None if something is wrong."""
    if not isinstance(table, dict):
        found.append(spot.misfit(table, cls))
        return None
    label = "" if cls.is_file else None
    problems: list[Problem] = []
    values = {
        name: _read(table[name], kind, spot.inside(name, label), problems)
        for name, kind in kinds_of(cls).items()
        if name in table
    }
    problems += [
        spot.inside(name, label).problem("missing, and it has no default")
        for name in _required(cls)
        if name not in table
    ]
    problems += [_unknown(key, cls, spot) for key in table if key not in kinds_of(cls)]
    settings = None
    if not problems:
        try:
            settings = cls(**values)
        except ConfigError as error:
            lines = error.problems
            problems = [Problem((*spot.place, line.partition(":")[0]), line) for line in lines]
    found += problems
    return settings


def _problems_of_value(value: Any, kind: Any, spot: _Spot) -> list[Problem]:
    if not fits(value, kind):
        return [spot.misfit(value, kind)]
    sentence = refusal(value, kind)
    return [spot.problem(sentence)] if sentence else []


def _unknown(key: str, cls: type[Settings], spot: _Spot) -> Problem:
    known = kinds_of(cls)
    text = f"unknown table; {suggestion(key, known, 'known tables')}"
    return Problem((*spot.place, key), text if cls.is_file else unknown_key(key, known))


def _required(cls: type[Settings]) -> list[str]:
    return [f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING]


def _settings_in(kind: Any) -> type[Settings] | None:
    """The class of settings inside an annotation such as ``list[DatasetConfig]``."""
    if isinstance(kind, type) and issubclass(kind, Settings):
        return kind
    found = (_settings_in(arm) for arm in get_args(kind) if get_origin(kind))
    return next((cls for cls in found if cls), None)
