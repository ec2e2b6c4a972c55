"""Lists of sound files: one JSON object per line, with what must be known before reading them.

::

    entries = scan_audio("corpus/speech", lambda path: {"speaker": path.parts[0]})
    problems = manifest_problems(entries, sample_rate=16_000)
    write_manifest("corpus/speech.jsonl", entries)
    train = [e for e in read_manifest("corpus/speech.jsonl") if e["speaker"] != "p232"]

Where there are millions of them: :func:`audiozen.data.large_manifest.open_manifest`.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiozen.acoustics.level import is_silent
from audiozen.data.audio import audio_info, find_audio, read_audio
from audiozen.data.indexed_lines import BLANKS
from audiozen.data.packed import is_packed, name_of
from audiozen.durable_files import replaced
from audiozen.errors import AudioError, ManifestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = [
    "Entry",
    "manifest_problems",
    "overlap_problems",
    "read_manifest",
    "scan_audio",
    "write_manifest",
]

_REQUIRED: dict[str, type] = {"id": str, "path": str, "sample_rate": int, "num_samples": int}


@dataclass(frozen=True)
class Entry:
    """One sound file of a manifest. ``entry["speaker"]`` is a label of it."""

    id: str
    """Names the file in tables and errors; unique in its manifest."""
    path: Path
    """Where it is; a manifest on disk holds it relative to its own folder."""
    sample_rate: int
    """In Hz."""
    num_samples: int
    """Per channel, at ``sample_rate``."""
    labels: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Anything else that is known of it: speaker, split, noise_type, ..."""

    @property
    def duration(self) -> float:
        """In seconds."""
        return self.num_samples / self.sample_rate

    def __getitem__(self, label: str) -> Any:
        if label not in self.labels:
            there = ", ".join(sorted(self.labels)) or "none"
            raise ManifestError(f"entry {self.id!r} has no label {label!r}; there: {there}")
        return self.labels[label]


def read_manifest(path: str | Path) -> list[Entry]:
    """Read a manifest. Paths in it are taken relative to its folder; no sound file is opened.

    Raises:
        ManifestError: it cannot be read, is empty, or has wrong lines. The text names them all.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(path, error) from error
    entries, problems = [], []
    for number, line in enumerate(lines, start=1):
        if line.strip(BLANKS):
            try:
                entries.append(entry_of(line, path.parent))
            except ValueError as error:
                problems.append(f"line {number}: {error}")
    _refuse(path, problems + _duplicate_ids(entries))
    refuse_empty(path, entries)
    return entries


def write_manifest(path: str | Path, entries: Iterable[Entry]) -> None:
    """Write a manifest, sorted by id, complete or not at all. The same entries give the same bytes.

    Raises:
        ManifestError: two entries have one id, or a label cannot be written as JSON.
    """
    path = Path(path)
    entries = sorted(entries, key=lambda entry: entry.id)
    lines, problems = [], _duplicate_ids(entries)
    for entry in entries:
        try:
            lines.append(line_of(entry, path.parent))
        except (TypeError, ValueError) as error:
            problems.append(f"entry {entry.id!r}: {error}")
    _refuse(path, problems)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as partial:
        partial.write_text("".join(lines), encoding="utf-8", newline="\n")


def scan_audio(
    folder: str | Path, labels: Callable[[Path], Mapping[str, Any]] | None = None
) -> list[Entry]:
    """One entry for each wav and flac file in ``folder`` and below, sorted by path.

    The id is the path relative to ``folder``, without its ending.

    Args:
        folder: where to look.
        labels: gets the path relative to ``folder`` and returns the labels of that file.

    Raises:
        AudioError: there is no such folder.
        ManifestError: files that cannot be read, and files that would have one id. Names them all.
    """
    folder = Path(folder)
    entries, problems = [], []
    for path in find_audio(folder):
        relative = path.relative_to(folder)
        try:
            info = audio_info(path)
        except AudioError as error:
            problems.append(str(error))
            continue
        name = relative.with_suffix("").as_posix()
        found = labels(relative) if labels else {}
        entries.append(Entry(name, path, info.sample_rate, info.num_samples, found))
    _refuse(folder, problems + _duplicate_ids(entries))
    return entries


def manifest_problems(entries: Sequence[Entry], *, sample_rate: int | None = None) -> list[str]:
    """Everything that is wrong with the files of a manifest; reads all of them.

    Finds files that cannot be read or are truncated, that are silent or have NaN or infinite
    samples, that are not of the rate or length that the manifest states, and ids that come twice.

    Args:
        entries: of one manifest.
        sample_rate: the rate that all are to have, in Hz; None: any.

    Returns:
        One sentence each, starting with the id; empty where all is well.
    """
    problems = _duplicate_ids(entries)
    for entry in entries:
        problems += [f"{entry.id}: {problem}" for problem in _file_problems(entry, sample_rate)]
    return problems


def overlap_problems(
    train: Sequence[Entry], test: Sequence[Entry], keys: Sequence[str] = ("id", "path")
) -> list[str]:
    """What training and test data have in common and should not.

    Args:
        train: entries that are trained on.
        test: entries that are scored.
        keys: what must not be shared: ``"id"``, ``"path"`` (the file behind all links; of a packed
            signal its samples and the name of its file), or labels such as ``"speaker"``. A label
            that no entry of one side has is a problem as well, because nothing can then be said.

    Returns:
        One sentence for each value that both have, or label that one side lacks.
    """
    problems = []
    for key in keys:
        there = [_values(entries, key) for entries in (train, test)]
        for name, entries, values in zip(("training", "test"), (train, test), there):
            if entries and not values:
                problems.append(f"no {name} entry has the label {key!r}; is it spelt right?")
        shared = sorted(there[0] & there[1])
        problems += [f"{key} {value} is in training and in test data" for value in shared]
    return problems


def entry_of(line: str, folder: Path) -> Entry:
    """The entry that a line of a manifest in ``folder`` states. ValueError with what is wrong in it."""
    try:
        fields = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise ValueError(f"is not a JSON object but {line.strip()[:40]}")  # noqa: TRY004 - caught above
    wrong = [
        f"{key} must be {_EXPECTED[kind]}, got {json.dumps(fields[key]) if key in fields else 'none'}"
        for key, kind in _REQUIRED.items()
        if not _is_good(fields.get(key), kind)
    ]
    if wrong:
        raise ValueError("; ".join(wrong))
    labels = {key: value for key, value in fields.items() if key not in _REQUIRED}
    return Entry(
        fields["id"], folder / fields["path"], fields["sample_rate"], fields["num_samples"], labels
    )


_EXPECTED = {str: "a string that is not empty", int: "a whole number above 0"}


def _is_good(value: object, kind: type) -> bool:
    return type(value) is kind and bool(value) and (kind is str or value > 0)  # type: ignore[operator]


def line_of(entry: Entry, folder: Path) -> str:
    """The line that states an entry in a manifest in ``folder``. ValueError where that cannot be done."""
    taken = sorted(entry.labels.keys() & _REQUIRED)
    if taken:
        raise ValueError(f"a label cannot be called {', '.join(taken)}")
    fields = {
        "id": entry.id,
        "path": _path_from(folder, entry.path),
        "sample_rate": entry.sample_rate,
        "num_samples": entry.num_samples,
        **dict(sorted(entry.labels.items())),
    }
    return json.dumps(fields, ensure_ascii=False, allow_nan=False) + "\n"


def _path_from(folder: Path, path: Path) -> str:
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # it lies on another drive of Windows
        return path.absolute().as_posix()


def _duplicate_ids(entries: Sequence[Entry]) -> list[str]:
    counts = Counter(entry.id for entry in entries)
    return [f"id {name!r} comes {count} times" for name, count in counts.items() if count > 1]


def unreadable(path: Path, error: Exception) -> ManifestError:
    """What to raise where a manifest cannot be read."""
    return ManifestError(f"cannot read the manifest {path}: {error}")


def refuse_empty(path: Path, entries: Sequence[Entry]) -> None:
    """ManifestError where there is not one entry."""
    if not entries:
        raise ManifestError(f"the manifest {path} has no entries")


def faulty(source: Path, problems: Sequence[str]) -> ManifestError:
    """What to raise where something is wrong in a manifest or a folder."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return ManifestError("\n  ".join([f"{source} has {count}:", *problems]))


def _refuse(source: Path, problems: Sequence[str]) -> None:
    if problems:
        raise faulty(source, problems)


def _file_problems(entry: Entry, sample_rate: int | None) -> list[str]:
    try:
        info = audio_info(entry.path)
    except AudioError as error:
        return [str(error)]
    problems = []
    for name, stated, found in (
        ("sample_rate", entry.sample_rate, info.sample_rate),
        ("num_samples", entry.num_samples, info.num_samples),
    ):
        if stated != found:
            problems.append(f"{name} is {found} in {entry.path}, and {stated} in the manifest")
    if sample_rate is not None and info.sample_rate != sample_rate:
        problems.append(f"{entry.path} has {info.sample_rate} Hz; {sample_rate} Hz are wanted")
    return problems + _sound_problems(entry.path)


def _sound_problems(path: Path) -> list[str]:
    try:
        waveform = read_audio(path, channel="mean")
    except AudioError as error:
        return [str(error)]
    return [f"{path} is silent"] if bool(is_silent(waveform)) else []


def _values(entries: Sequence[Entry], key: str) -> set[str]:
    if key == "id":
        return {entry.id for entry in entries}
    if key == "path":
        return {_file_behind(entry.path) for entry in entries}
    return {str(entry.labels[key]) for entry in entries if key in entry.labels}


def _file_behind(path: Path) -> str:
    return name_of(path) if is_packed(path) else str(path.resolve())
