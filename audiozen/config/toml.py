"""Reading TOML files: whatever their bytes are, the answer is tables or an error that says where."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any, NamedTuple

from audiozen.config.environment import set_folder
from audiozen.config.problems import Problem
from audiozen.errors import ConfigError, RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from audiozen.config.problems import Place

MAX_DEPTH = 32

_HEADER = re.compile(r"\s*(\[\[?)\s*([^\[\]#]+?)\s*\]\]?\s*(#.*)?")
_KEY = re.compile(r"""\s*([A-Za-z0-9_."' -]+?)\s*=""")


class File(NamedTuple):
    """One TOML file: where it is, its text, and its tables."""

    path: Path
    text: str
    tables: dict[str, Any]


class Position(NamedTuple):
    """Where something is stated.

    Args:
        order: number of the file, and line; what is stated in no file comes after all of them.
        words: the same as the end of a sentence.
    """

    order: tuple[int, int]
    words: str


def read_chain(path: Path) -> list[File]:
    """A file, the file that it extends, and so on.

    Raises:
        RequestError: there is no such file.
        ConfigError: a file cannot be read, or extends itself in the end.
    """
    files = [_read(path)]
    while "extends" in files[-1].tables:
        base = _base_of(files[-1])
        if base in [file.path for file in files]:
            chain = " extends ".join(str(file) for file in [*(f.path for f in files), base])
            raise ConfigError(str(path), [f"extends: goes round in a circle: {chain}"])
        files.append(_read(base, extended_by=files[-1].path))
    return files


def size_problems(tables: dict[str, Any]) -> list[Problem]:
    """Tables that are nested too deeply, and numbers that are too long, to work with."""
    stack: list[tuple[Place, Any]] = [((), tables)]
    while stack:
        place, value = stack.pop()
        if len(place) > MAX_DEPTH:
            return [Problem(place[:1], f"nested more than {MAX_DEPTH} levels deep")]
        if isinstance(value, dict):
            stack += [((*place, key), item) for key, item in value.items()]
        elif isinstance(value, list):
            stack += [((*place, index), item) for index, item in enumerate(value)]
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            return [Problem(place, f"{place[-1]}: an integer of more than 64 bits")]
    return []


def position(place: Place, files: list[File], overrides: Sequence[str] = ()) -> Position:
    """Where a key is stated: by an override, in the file, or in one that it extends."""
    if any(_is_about(text, place) for text in overrides):
        return Position((len(files), 0), " (override)")
    for order, file in enumerate(files):
        line = _line_of(place, file.text) if place else None
        if line is not None:
            name = f"{file.path.name}, " if order else ""
            return Position((order, line), f" ({name}line {line})")
    return Position((len(files), 0), "")


def _is_about(override: str, place: Place) -> bool:
    """Whether an override states the key at a place, or a table around it."""
    stated = [part.strip() for part in override.partition("=")[0].split(".")]
    stated = [part for part in stated if not part.isdecimal()]
    return [part for part in place if isinstance(part, str)][: len(stated)] == stated


def _read(path: Path, extended_by: Path | None = None) -> File:
    try:
        path = path.resolve()
        if not path.is_file():
            raise RequestError(_missing(path, extended_by))
        text = path.read_bytes().decode("utf-8-sig")
        tables = tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(str(path), [f"not UTF-8 text (line {line})"]) from error
    except RecursionError as error:
        problem = f"values nested more than {MAX_DEPTH} levels deep"
        raise ConfigError(str(path), [problem]) from error
    except (OSError, ValueError) as error:  # tomllib's errors are ValueErrors, with the line
        raise ConfigError(str(path), [f"cannot be read: {str(error)[:300]}"]) from error
    problems = size_problems(tables)
    if problems:
        raise ConfigError(str(path), [str(problem) for problem in problems])
    return File(path, text, set_folder(tables, str(path.parent)))


def _base_of(file: File) -> Path:
    stated = file.tables["extends"]
    if not isinstance(stated, str) or "\0" in stated:
        raise ConfigError(str(file.path), ["extends: expected the path of a TOML file"])
    try:
        return (file.path.parent / stated).resolve()
    except (OSError, RuntimeError) as error:
        raise ConfigError(str(file.path), [f"extends: {error}"]) from error


def _missing(path: Path, extended_by: Path | None) -> str:
    why = f", which {extended_by} extends" if extended_by else ""
    what = "is a folder, not a TOML file" if path.is_dir() else "does not exist or is no plain file"
    folder = path if path.is_dir() else path.parent
    near = sorted(item.name for item in folder.glob("*.toml"))[:10] if folder.is_dir() else []
    hint = f"; in {folder} there are: {', '.join(near)}" if near else ""
    return f"{path}{why}, {what}{hint}" if why else f"{path} {what}{hint}"


def _line_of(place: Place, text: str) -> int | None:
    """Line on which a key is stated. Dotted keys and inline tables count as stating what is in them."""
    wanted = tuple(str(part) for part in place)
    found = None
    for number, stated in _statements(text):
        if wanted == stated:
            return number
        if wanted[: len(stated)] == stated:
            found = number
    return found


def _statements(text: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Line and full place of each header and key. A guess by lines: good for messages only."""
    header: tuple[str, ...] = ()
    counts: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if match := _HEADER.fullmatch(line):
            keys = _split(match[2])
            if match[1] == "[[":
                counts[keys[0]] = counts.get(keys[0], -1) + 1
            header = (keys[0], *_index(keys[0], counts), *keys[1:])
            yield number, header
        elif match := _KEY.match(line):
            yield number, (*header, *_split(match[1]))


def _index(name: str, counts: dict[str, int]) -> tuple[str, ...]:
    single = "0" if name in ("validate_dataset", "test_dataset") else None
    found = counts.get(name, single)
    return () if found is None else (str(found),)


def _split(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))
