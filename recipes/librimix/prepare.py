"""Check a folder of Libri2Mix or of MiniLibriMix, and write its manifests.

    python prepare.py DIR [--out OUT]

DIR is a folder that the authors' scripts make, such as ``Libri2Mix/wav8k/min``, or the unpacked MiniLibriMix. It holds
``train-100``, ``train-360``, ``dev`` and ``test``, or ``train`` and ``val``, those of them that were made, and each
holds ``s1``, ``s2``, and some of ``mix_clean``, ``mix_both`` and ``mix_single``. OUT (DIR where left out) gets a
manifest of each kind for each split.
"""

from __future__ import annotations

import csv
import re
import sys
from typing import TYPE_CHECKING

from audiozen.data.corpus_folder import CorpusFolder, run_prepare

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from audiozen.data.manifest import Entry

SPLITS = {
    "train-100": "train_100",
    "train-360": "train_360",
    "train": "train",
    "dev": "valid",
    "val": "valid",
    "test": "test",
}
"""How a folder is called here. ``train`` and ``val`` are those of MiniLibriMix."""
PUBLISHED = {"train-100": 13900, "train-360": 50800, "dev": 3000, "test": 3000}
NEEDED = {"training": ("train-100", "train-360", "train"), "validation": ("dev", "val")}
SOURCES = {"source_1": "s1", "source_2": "s2"}
MIXTURES = {
    "mixture_clean": "mix_clean",
    "mixture_both": "mix_both",
    "mixture_single": "mix_single",
}
"""Of two voices, of two voices and noise, and of the first voice and noise."""
NAME = re.compile(r"(\d+)-\d+-\d+_(\d+)-\d+-\d+")
"""Both utterances; an utterance begins with its speaker."""
UNKNOWN = "unknown"


def prepare(folder: Path, out: Path) -> Mapping[str, list[Entry]]:
    """Write the manifests, and return the entries by the name of their manifest.

    Raises:
        ManifestError: everything that is missing or wrong, one line each. Nothing is written.
    """
    corpus = CorpusFolder(folder)
    made = [name for name in SPLITS if (folder / name).is_dir()]
    for purpose, names in NEEDED.items():
        if not set(names) & set(made):
            corpus.problems.append(f"nothing for {purpose}: no folder {' or '.join(names)}")
    manifests = {}
    for name in made:
        for kind, entries in mixtures_of(corpus, name).items():
            manifests[f"{kind}_{SPLITS[name]}"] = entries
    return corpus.write(out, manifests)


def mixtures_of(corpus: CorpusFolder, name: str) -> dict[str, list[Entry]]:
    """The sources of a split, and the mixtures that were made of them."""
    made = {kind: mix for kind, mix in MIXTURES.items() if (corpus.root / name / mix).is_dir()}
    if not made:
        corpus.problems.append(f"{name}/: has none of {', '.join(MIXTURES.values())}")
    ratios = ratios_of(corpus.root, name)

    def labels_of(mixture: str) -> dict[str, str]:
        return {
            "speakers": "+".join(NAME.fullmatch(mixture).groups()),
            "ratio_db": ratios.get(mixture, UNKNOWN),
        }

    folders = {kind: f"{name}/{place}" for kind, place in (SOURCES | made).items()}
    found = corpus.aligned(folders, id_of, labels_of)
    listed = {row["mixture_ID"] for row in table(corpus.root, f"mixture_{name}_")}
    ids = [entry.id for entry in found["source_1"]]
    corpus.tell_number(f"mixtures of {name}", ids, PUBLISHED.get(name, len(listed or ids)), listed)
    return found


def id_of(path: Path) -> str | None:
    """The name of the file, if it is that of two utterances of LibriSpeech."""
    return path.stem if NAME.fullmatch(path.stem) else None


def ratios_of(root: Path, name: str) -> dict[str, str]:
    """Level of the first voice relative to the second in dB, by mixture; empty without the authors' table."""
    return {
        row["mixture_ID"]: str(round(float(row["source_1_SNR"])))
        for row in table(root, f"metrics_{name}_mix_clean")
    }


def table(root: Path, beginning: str) -> list[dict[str, str]]:
    """The first of the authors' tables whose name begins so; empty where there is none."""
    path = next(iter(sorted((root / "metadata").glob(f"{beginning}*.csv"))), None)
    if path is None:
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    sys.exit(run_prepare(prepare, "Write the manifests of Libri2Mix or of MiniLibriMix."))
