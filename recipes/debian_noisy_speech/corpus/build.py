"""The corpus, stage by stage: packages, speech, noise, mixtures.

Each stage leaves a file in ``OUT/stages`` when it is done, and is skipped by a later run that finds it.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from mixture_plan import plan_balanced

from audiozen.data.manifest import Entry, write_manifest
from audiozen.durable_files import replace_file
from corpus.cleaning import SAMPLE_RATE
from corpus.mixtures import TEST_SNRS_DB, plan_mixtures
from corpus.noise import make_babble, make_noise, make_typing
from corpus.packages import describe, fetch, unpack
from corpus.sources import BABBLE, NOISES, TYPING, VOICES, packages_of
from corpus.speech import make_speech

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from corpus.sources import Profile

    Record = dict[str, Any]

logger = logging.getLogger("prepare")


def build_corpus(out: Path, profile: Profile, downloads: Path) -> None:
    """Build all of it.

    Args:
        out: folder of the corpus. Another profile needs another folder.
        profile: ``small``: 127 MB of packages; ``full``: 630 MB, with three times the voices.
        downloads: folder of the packages.
    """
    packages = packages_of(profile)
    files = fetch(packages, downloads)
    folders = {name: unpack(name, file, out / "unpacked") for name, file in files.items()}
    _write_json(out / "sources.json", [describe(item, files[item.name]) for item in packages])

    speech = [_entry(record, out) for record in _build_speech(out, folders)]
    noise = _last_of_each_name([_entry(record, out) for record in _build_noise(out, folders)])
    for split in BABBLE:
        write_manifest(out / f"speech_{split}.jsonl", _of_split(speech, split))
        write_manifest(out / f"noise_{split}.jsonl", _without_doubles(_of_split(noise, split)))
    plans = {
        split: plan_mixtures(split, _of_split(speech, split), _of_split(noise, split))
        for split in ("valid", "test")
    }
    # Noise is shared out by types, so what training has heard can only be its very recordings.
    heard = _without_doubles(_of_split(noise, "train"))
    plans["test_seen"] = plan_balanced("test_seen", _of_split(speech, "test"), heard, TEST_SNRS_DB)
    for name, plan in plans.items():
        write_manifest(out / f"mixtures_{name}.jsonl", plan)
        logger.info("%-9s %d mixtures", name, len(plan))


def _build_speech(out: Path, folders: dict[str, Path]) -> list[Record]:
    records: list[Record] = []
    heard: set[str] = set()
    for voice in VOICES:
        if voice.package in folders:
            name = f"speech_{voice.speaker}_{voice.language}"
            made = _stage(out, name, make_speech, voice, folders[voice.package], out, heard)
            heard |= set(made["hashes"])
            records += made["records"]
            _tell(name, made)
    return records


def _build_noise(out: Path, folders: dict[str, Path]) -> list[Record]:
    records: list[Record] = []
    for source in NOISES:
        if source.package in folders:
            name = f"noise_{source.noise_type}_{source.package}"
            made = _stage(out, name, make_noise, source, folders[source.package], out)
            records += made["records"]
            _tell(name, made)
    composed: list[tuple[Any, ...]] = [("noise_typing", make_typing, folders[TYPING], out)]
    composed += [(f"noise_babble_{split}", make_babble, split, folders, out) for split in BABBLE]
    for name, make, *arguments in composed:
        made = _stage(out, name, make, *arguments)
        records += made["records"]
        _tell(name, made)
    return records


def _last_of_each_name(entries: Sequence[Entry]) -> list[Entry]:
    """In the place of each entry, the last one of the same name, whose sound is the one on the disk.

    Helicopters of two types have sounds of the same names. The later ones are drawn twice as often: so it was in the
    test list of which the published figures of this corpus are.
    """
    last = {entry.id: entry for entry in entries}
    return [last[entry.id] for entry in entries]


def _without_doubles(entries: Sequence[Entry]) -> list[Entry]:
    return list({entry.id: entry for entry in entries}.values())


def _stage(out: Path, name: str, make: Callable[..., Record], *arguments: Any) -> Record:
    """What ``make`` returns, from its file if an earlier run got so far."""
    path = out / "stages" / f"{name}.json"
    if not path.exists():
        _write_json(path, make(*arguments))
    made: Record = json.loads(path.read_text(encoding="utf-8"))
    return made


def _write_json(path: Path, value: Any) -> None:
    replace_file(path, json.dumps(value, indent=1, ensure_ascii=False).encode())


def _entry(record: Record, out: Path) -> Entry:
    labels = dict(record)
    entry_id, path, num_samples = (labels.pop(key) for key in ("id", "path", "num_samples"))
    return Entry(entry_id, out / path, SAMPLE_RATE, num_samples, labels)


def _of_split(entries: Sequence[Entry], split: str) -> list[Entry]:
    return [entry for entry in entries if entry["split"] == split]


def _tell(name: str, made: Record) -> None:
    minutes = sum(record["num_samples"] for record in made["records"]) / SAMPLE_RATE / 60
    dropped = ", ".join(f"{count} {why}" for why, count in made.get("dropped", {}).items())
    note = f", left out: {dropped}" if dropped else ""
    logger.info("%-40s %4d files %6.1f min%s", name, len(made["records"]), minutes, note)
