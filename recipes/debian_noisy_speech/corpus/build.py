"""The corpus, stage by stage: packages, speech, noise, mixtures.

Each stage leaves a file in ``OUT/stages`` when it is done, and is skipped by a later run that finds it.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from audiozen.data.manifest import Entry, read_manifest, write_manifest
from corpus import noise, sources, speech
from corpus.mixtures import plan_mixtures
from corpus.packages import describe, fetch, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

logger = logging.getLogger("prepare")

SPLITS: tuple[sources.Split, ...] = ("train", "valid", "test")


def build_corpus(out: Path, profile: sources.Profile, downloads: Path) -> None:
    """Build all of it.

    Args:
        out: folder of the corpus.
        profile: ``small``: 127 MB of packages; ``full``: 630 MB, with three times the voices.
        downloads: folder of the packages.
    """
    packages = sources.packages_of(profile)
    files = fetch(packages, downloads)
    unpacked = {name: unpack(name, file, out / "unpacked") for name, file in files.items()}
    taken = [describe(package, files[package.name]) for package in packages]
    _write_json(out / "sources.json", taken)

    utterances = _build_speech(out, unpacked)
    recordings = _build_noise(out, unpacked)
    for split in SPLITS:
        _write_split(out / f"speech_{split}.jsonl", utterances, split)
        _write_split(out / f"noise_{split}.jsonl", recordings, split)
    for split in ("valid", "test"):
        plan = plan_mixtures(split, utterances, recordings)
        write_manifest(out / f"mixtures_{split}.jsonl", plan)
        logger.info("%-5s %d mixtures", split, len(plan))


def _build_speech(out: Path, unpacked: dict[str, Path]) -> list[Entry]:
    utterances: list[Entry] = []
    heard: set[str] = set()  # files come twice, also in different packages
    for voice in sources.VOICES:
        if voice.package not in unpacked:
            continue
        folder = unpacked[voice.package]
        stage = out / "stages" / f"speech_{voice.speaker}_{voice.language}"
        made = _stage(stage, lambda: speech.build_voice(voice, folder, out, heard))  # noqa: B023 - called at once
        heard |= set(json.loads(_hashes_of(stage).read_text(encoding="utf-8")))
        utterances += made
        _tell(made, f"{voice.split:5} speech {voice.speaker} {voice.language}")
    return utterances
