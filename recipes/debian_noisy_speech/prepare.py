"""Prepare the audio of this corpus.

    python prepare.py pack                                       # manifests of the sound files in audio/
    python prepare.py corpus --out DIR --profile small|full      # the larger corpus, from Debian packages

Both give the same kind of folder: ``speech_<split>.jsonl``, ``noise_<split>.jsonl``,
``mixtures_<set>.jsonl`` and sound files.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixture_plan import plan_balanced

from audiozen.data.audio import audio_info
from audiozen.data.manifest import Entry, write_manifest
from audiozen.errors import AudioZENError

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = logging.getLogger("prepare")

PACK = Path(__file__).resolve().parent / "audio"

LONG_SECONDS = 8.0
"""A noise recording of a training type that is longer than this is shared out in time, a shorter one is not divided."""
TRAIN_SHARE, VALID_SHARE = 0.6, 0.15
"""Parts of a long recording that training and validation hear; test hears the rest."""
SHORT_SPLITS = ("train", "train", "test_seen", "train", "valid")
"""Where short recordings go, in turn, if their type has so many."""

VALID_SNRS_DB = (0.0, 5.0, 10.0)
TEST_SNRS_DB = (0.0, 5.0, 10.0, 15.0)


def prepare_pack(folder: Path = PACK) -> None:
    """Write the manifests of the pack: speech and noise by split, and the frozen mixtures."""
    files = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    manifests = _pack_speech(folder, files) | _pack_noise(folder, files)
    manifests |= {
        f"mixtures_{name}": plan_balanced(
            name, manifests[speech], manifests[f"noise_{name}"], snrs_db
        )
        for name, speech, snrs_db in (
            ("valid", "speech_valid", VALID_SNRS_DB),
            ("test_seen", "speech_test", TEST_SNRS_DB),
            ("test_unseen", "speech_test", TEST_SNRS_DB),
        )
    }
    for name, entries in manifests.items():
        write_manifest(folder / f"{name}.jsonl", entries)
        logger.info("%-24s %4d entries", name, len(entries))


def _pack_speech(folder: Path, files: Sequence[dict[str, Any]]) -> dict[str, list[Entry]]:
    manifests: dict[str, list[Entry]] = {}
    for file in files:
        if file["kind"] == "speech":
            labels = {"speaker": file["speaker"], "language": file["lang"], "sex": file["sex"]}
            manifests.setdefault(f"speech_{file['split']}", []).append(
                _entry(folder, file["path"], labels)
            )
    return manifests


def _pack_noise(folder: Path, files: Sequence[dict[str, Any]]) -> dict[str, list[Entry]]:
    manifests: dict[str, list[Entry]] = {
        name: [] for name in ("noise_train", "noise_valid", "noise_test_seen", "noise_test_unseen")
    }
    num_short: dict[str, int] = {}
    for file in sorted(files, key=lambda file: file["path"]):
        if file["kind"] != "noise":
            continue
        entry = _entry(folder, file["path"], {"noise_type": file["type"]})
        if file["split"] != "train":
            name = "noise_valid" if file["split"] == "valid" else "noise_test_unseen"
            manifests[name].append(entry)
        elif entry.duration > LONG_SECONDS:
            for split, part in _shares(entry).items():
                manifests[f"noise_{split}"].append(part)
        else:
            number = num_short.setdefault(file["type"], 0)
            num_short[file["type"]] += 1
            manifests[f"noise_{SHORT_SPLITS[number % len(SHORT_SPLITS)]}"].append(entry)
    return manifests


def _shares(entry: Entry) -> dict[str, Entry]:
    """Consecutive parts of one recording."""
    first = round(entry.num_samples * TRAIN_SHARE)
    second = round(entry.num_samples * (TRAIN_SHARE + VALID_SHARE))
    bounds = {"train": (0, first), "valid": (first, second)}
    bounds["test_seen"] = (second, entry.num_samples)
    return {
        split: Entry(
            f"{entry.id}_{start}",
            entry.path,
            entry.sample_rate,
            entry.num_samples,
            {**entry.labels, "start": start, "stop": stop},
        )
        for split, (start, stop) in bounds.items()
    }


def _entry(folder: Path, path: str, labels: dict[str, Any]) -> Entry:
    info = audio_info(folder / path)
    return Entry(Path(path).stem, folder / path, info.sample_rate, info.num_samples, labels)


def prepare_corpus(arguments: argparse.Namespace) -> None:
    """Build the larger corpus. What an earlier, interrupted run has finished is kept."""
    from corpus.build import build_corpus

    downloads = arguments.downloads or arguments.out / "packages"
    build_corpus(arguments.out, arguments.profile, downloads)


def main() -> int:
    parser = argparse.ArgumentParser(description="Prepare the audio of this corpus.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("pack", help="write the manifests of the sound files in audio/")
    corpus = commands.add_parser("corpus", help="build the larger corpus from Debian packages")
    corpus.add_argument("--out", type=Path, required=True, help="folder of the corpus")
    corpus.add_argument("--profile", choices=("small", "full"), default="small")
    corpus.add_argument("--downloads", type=Path, help="folder of the packages (OUT/packages)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        prepare_pack() if arguments.command == "pack" else prepare_corpus(arguments)
    except AudioZENError as error:
        logger.error("%s", error)  # noqa: TRY400 - the text is for people, without traceback
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
