"""What a sweep tries: for some settings of an experiment, a range or a list of choices.

::

    "optimizer.args.lr" = {low = 1e-4, high = 1e-2, log = true}
    "model.args.num_layers" = {low = 1, high = 4}
    "model.args.hidden_size" = [32, 64, 128]

Keys are those of overrides. Where both ends of a range are integers, so are the values.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias

from audiozen.config import toml
from audiozen.config.problems import Problem
from audiozen.config.settings import Settings, as_table, build_settings, kinds_of, settings_problems
from audiozen.config.values import Limits, show
from audiozen.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from audiozen.config.problems import Place

DECIDED: Mapping[Place, str] = {
    ("meta", "save_dir"): "each trial has a folder of its own in that of the sweep",
    ("meta", "exp_id"): "each trial has a folder of its own in that of the sweep",
    ("trainer", "args", "best_metric"): "scores of different metrics cannot be compared",
    ("trainer", "args", "higher_is_better"): "scores are compared in one direction",
}
"""Settings that a sweep cannot vary, and why."""
EXPECTED = "a list of choices, or a range such as {low = 1e-4, high = 1e-2, log = true}"


@dataclass(frozen=True, kw_only=True)
class Range(Settings):
    """All numbers from ``low`` to ``high``, both included."""

    low: float
    high: float
    log: bool = False
    """Every order of magnitude gets the same share."""
    step: Annotated[float, Limits(gt=0)] | None = None
    """Only ``low``, ``low + step``, and so on."""

    @property
    def is_whole(self) -> bool:
        """Whether its values are integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def ends(self) -> list[float]:
        """Values to try a range with."""
        return [self.low, self.high]

    def problems(self) -> list[str]:
        """Settings that are right alone and wrong together."""
        if not all(math.isfinite(end) for end in (self.low, self.high, self.step or 0)):
            return ["low: a range has ends that are finite"]
        if self.low >= self.high:
            return [f"low: must be less than high, and {self.low} is not less than {self.high}"]
        if self.log and self.low <= 0:
            return [f"low: must be above 0 where log = true, and is {self.low}"]
        return self._problems_of_step()

    def _problems_of_step(self) -> list[str]:
        if self.step is None:
            return []
        if self.log:
            return ["step: goes with log = false only; leave one of them out"]
        if self.is_whole and not isinstance(self.step, int):
            return [f"step: must be an integer as low and high are, and is {self.step}"]
        low, high, step = (Decimal(str(number)) for number in (self.low, self.high, self.step))
        if (high - low) % step:
            return [f"step: {self.step} does not lead from {self.low} to {self.high}"]
        return []


class Choices(NamedTuple):
    """Some values, in no order."""

    values: list[Any]

    @property
    def ends(self) -> list[Any]:
        """Values to try the choices with."""
        return self.values


Space: TypeAlias = dict[str, "Range | Choices"]
"""What is tried, by key."""


class Statement(NamedTuple):
    """What the file says about one setting."""

    place: Place
    stated: Any

    @property
    def key(self) -> str:
        """As in an override."""
        return ".".join(map(str, self.place))


def read_space(path: Path) -> Space:
    """Read a space.

    Raises:
        RequestError: there is no such file.
        ConfigError: everything that is wrong with it, one line each.
    """
    file = toml.read_chain(path)[0]
    statements = list(_statements(file.tables))
    problems = [problem for statement in statements for problem in _problems(statement)]
    problems += [
        Problem(one.place, f"{one.place[-1]}: stated twice; dots in quotes mean the same as others")
        for one in statements
        if [other.place for other in statements].count(one.place) > 1
    ][:1]
    if not statements:
        problems = [Problem((), f"empty; expected settings, each with {EXPECTED}")]
    find = partial(toml.position, files=[file])
    if problems:
        raise ConfigError(str(path), [f"{one}{find(one.place).words}" for one in problems])
    return space_of({statement.key: statement.stated for statement in statements})


def space_of(tables: Mapping[str, Any]) -> Space:
    """The space that tables state, with a list or a table for each key."""
    return {
        key: Choices(stated)
        if isinstance(stated, list)
        else build_settings(Range, stated, source=key)
        for key, stated in tables.items()
    }


def tables_of(space: Space) -> dict[str, Any]:
    """The opposite of :func:`space_of`."""
    return {
        key: kind.values if isinstance(kind, Choices) else as_table(kind)
        for key, kind in space.items()
    }


def as_overrides(values: Mapping[str, Any]) -> list[str]:
    """Values of settings as a command line states them.

    >>> as_overrides({"optimizer": {"path": "torch.optim.Adam", "args": {"lr": 1e-3}}})
    ['optimizer={"path" = "torch.optim.Adam", "args" = {"lr" = 0.001}}']
    """
    return [f"{key}={in_toml(value)}" for key, value in values.items()]


def in_toml(value: Any) -> str:
    """A value as TOML, on one line."""
    if isinstance(value, dict):
        return (
            f"{{{', '.join(f'{in_toml(key)} = {in_toml(item)}' for key, item in value.items())}}}"
        )
    if isinstance(value, list):
        return f"[{', '.join(map(in_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)


def in_words(values: Mapping[str, Any]) -> str:
    """Settings and their values, short.

    >>> in_words({"optimizer.args.lr": 0.00123456, "model.args.num_layers": 2})
    'optimizer.args.lr = 0.001235, model.args.num_layers = 2'
    """
    return ", ".join(f"{key} = {short(value)}" for key, value in values.items())


def short(value: Any) -> str:
    """A value for people."""
    return f"{value:.4g}" if isinstance(value, float) else in_toml(value)


def trials_of(space: Space) -> Iterator[dict[str, Any]]:
    """Assignments in which each end of each range and each choice is there at least once."""
    first = {key: kind.ends[0] for key, kind in space.items()}
    yield first
    for key, kind in space.items():
        yield from (first | {key: value} for value in kind.ends[1:])


def _statements(table: Mapping[str, Any], outside: Place = ()) -> Iterator[Statement]:
    """Settings of a table, and of the tables in it: keys may be dotted, quoted or not."""
    for key, value in table.items():
        place = (*outside, *(part.strip() for part in key.split(".")))
        if isinstance(value, dict) and not _is_range(value):
            yield from _statements(value, place)
        else:
            yield Statement(place, value)


def _is_range(table: Mapping[str, Any]) -> bool:
    """Whether a table is meant as a range, right or wrong, and does not hold settings."""
    is_flat = not any(isinstance(value, (dict, list)) for value in table.values())
    return is_flat and (not table or bool(table.keys() & kinds_of(Range).keys()))


def _problems(statement: Statement) -> list[Problem]:
    place, stated = statement
    if place in DECIDED:
        return [Problem(place, f"{place[-1]}: cannot be varied, as {DECIDED[place]}")]
    if isinstance(stated, list):
        return [Problem(place, f"{place[-1]}: {text}") for text in _problems_of_choices(stated)]
    if not isinstance(stated, dict):
        return [Problem(place, f"{place[-1]}: expected {EXPECTED}, got {show(stated)}")]
    return settings_problems(Range, stated, place)


def _problems_of_choices(choices: Sequence[Any]) -> list[str]:
    if not choices:
        return ["an empty list; there is nothing to choose from"]
    try:
        words = [in_toml(choice) for choice in choices]
    except TypeError:
        return ["a choice is a number, a string, true, false, a list or a table"]
    if unusable := [word for word in words if word in ("NaN", "Infinity", "-Infinity")]:
        return [f"{unusable[0]} cannot be chosen"]
    twice = [word for word, choice in zip(words, choices) if choices.count(choice) > 1]
    return [f"{twice[0]} is listed twice"] if twice else []
