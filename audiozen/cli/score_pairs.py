"""Which files of two or three folders belong together: by their names, never by their order."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from audiozen.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

NUM_NAMES = 3
"""Files that one line names."""
BY_FILE_NAME = "([^/]+)$"
"""The ``--pair-by`` for folders of different shape."""


class Signal(NamedTuple):
    """The files of one signal."""

    id: str
    files: Mapping[str, Path]
    """By role: ``reference``, ``estimate`` and ``noisy``, as far as they are there."""


class Pairing(NamedTuple):
    """What belongs together, and what has no partner."""

    signals: list[Signal]
    notes: list[str]
    """One sentence for each kind of file that was left out."""
    num_without_estimate: int = 0
    """References that nothing was made of: they are no failures, but no successes either."""


def pair_files(places: Mapping[str, Path], pair_by: str | None = None) -> Pairing:
    """Find the files of each signal.

    Args:
        places: by role, with an ``estimate``: all of them folders, or all of them files of one signal.
        pair_by: a regular expression, searched for in the path below the folder without its ending;
            its first group is the id. None: that path is the id.

    Returns:
        Signals in the order of the first folder. One without a noisy file is kept.

    Raises:
        RequestError: a place does not exist, two files have the same id, or nothing belongs together.
    """
    for role, place in places.items():
        if not place.exists():
            raise RequestError(f"--{role} {place}: no such folder")
    if all(place.is_file() for place in places.values()):
        return Pairing([Signal(places["estimate"].stem, places)], [])
    for role, place in places.items():
        if not place.is_dir():
            raise RequestError(f"--{role} {place} is a file; give only folders, or only files")
    return _pair_folders(places, None if pair_by is None else _pattern(pair_by))


def names(paths: Sequence[Path | str]) -> str:
    """The first few of many names."""
    shown = ", ".join(str(path) for path in paths[:NUM_NAMES])
    return f"{shown}, …" if len(paths) > NUM_NAMES else shown


def _pair_folders(places: Mapping[str, Path], pattern: re.Pattern[str] | None) -> Pairing:
    notes: list[str] = []
    found = {role: _by_id(place, pattern, notes) for role, place in places.items()}
    required = [role for role in found if role != "noisy"]
    ids = [key for key in found[required[0]] if all(key in found[role] for role in required)]
    if not ids:
        ids_of = {places[role]: list(found[role]) for role in required}
        raise RequestError("\n  ".join([*_nothing_found(ids_of, pattern), *notes]))
    paired = set(ids)
    for role, files in found.items():
        alone = [path.relative_to(places[role]) for key, path in files.items() if key not in paired]
        if alone:
            notes.append(
                f"{len(alone)} of {len(files)} files in {places[role]} left out, without a partner: "
                f"{names(alone)}"
            )
    without = [key for key in ids if "noisy" in found and key not in found["noisy"]]
    if without:
        notes.append(
            f"{len(without)} of {len(ids)} signals without a file in {places['noisy']}: {names(without)}"
        )
    num_references = len(found.get("reference", ids))
    return Pairing([_signal(key, found) for key in ids], notes, num_references - len(ids))


def _signal(key: str, found: Mapping[str, Mapping[str, Path]]) -> Signal:
    return Signal(key, {role: files[key] for role, files in found.items() if key in files})


def _by_id(folder: Path, pattern: re.Pattern[str] | None, notes: list[str]) -> dict[str, Path]:
    """The sound files of a folder by id; those that have none are noted."""
    from audiozen.data.audio import find_audio

    found: dict[str, Path] = {}
    without = []
    for path in find_audio(folder):
        key = _id(path.relative_to(folder), pattern)
        if key is None:
            without.append(path.relative_to(folder))
        elif key in found:
            raise RequestError(
                f"{found[key]} and {path} both have the id {key!r}; rename or remove one, or tell "
                "them apart with --pair-by"
            )
        else:
            found[key] = path
    if without:
        notes.append(
            f"{len(without)} files in {folder} left out, as --pair-by does not match: {names(without)}"
        )
    return found


def _id(path: Path, pattern: re.Pattern[str] | None) -> str | None:
    key = path.with_suffix("").as_posix()
    if pattern is not None:
        match = pattern.search(key)
        if match is None or not match[1]:
            return None
        key = match[1]
    return os.fsencode(key).decode(errors="backslashreplace")  # names need not be text; tables are


def _pattern(pair_by: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(pair_by)
    except re.error as error:
        raise RequestError(f"--pair-by '{pair_by}' is no regular expression: {error}") from error
    if not pattern.groups:
        raise RequestError(
            f"--pair-by '{pair_by}' has no group; put ( ) around the part that is the id, such as "
            r"'fileid_(\d+)'"
        )
    return pattern


def _nothing_found(
    ids_of: Mapping[Path, Sequence[str]], pattern: re.Pattern[str] | None
) -> Iterator[str]:
    """Why no signal has all its files, and what may help."""
    empty = [str(place) for place, ids in ids_of.items() if not ids]
    if empty:
        kind = (
            "wav or flac files" if pattern is None else "wav or flac files that --pair-by matches"
        )
        yield f"nothing to score: no {kind} in {' and '.join(empty)}"
        return
    yield "nothing to score: no file has a partner, as no id is in all folders"
    for place, ids in ids_of.items():
        yield f"ids in {place}: {names(ids)}"
    if pattern is None:
        yield "An id is the path below the folder, but for the ending. Say otherwise with --pair-by:"
        file_names = [{PurePosixPath(key).name for key in ids} for ids in ids_of.values()]
        if set.intersection(*file_names):
            yield f"--pair-by '{BY_FILE_NAME}' looks at the name of the file alone"
        else:
            yield r"--pair-by 'fileid_(\d+)' looks at a number behind such a word, and so on"
