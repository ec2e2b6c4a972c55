"""Check a folder of WSJ0-2mix, and write its manifests.

    python prepare.py DIR [--out OUT]

DIR is a folder that the authors' scripts make, such as ``2speakers/wav8k/min``: it holds ``tr``, ``cv`` and ``tt``, and
each of these ``mix``, ``s1`` and ``s2``. OUT (DIR where left out) gets a manifest of the mixtures and one of each
source, for ``train`` (tr), ``valid`` (cv) and ``test`` (tt).
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from audiozen.data.corpus_folder import CorpusFolder, run_prepare

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from audiozen.data.manifest import Entry

SPLITS = {"train": ("tr", 20000), "valid": ("cv", 5000), "test": ("tt", 3000)}
"""The folder of each, and how many mixtures were published."""
KINDS = {"mixture": "mix", "source_1": "s1", "source_2": "s2"}
NAME = re.compile(
    r"([a-z\d]{3})[a-z\d]*_(-?[\d.]+(?:e-\d+)?)_([a-z\d]{3})[a-z\d]*_(-?[\d.]+(?:e-\d+)?)"
)
"""Utterance and level in dB of both sources; an utterance begins with its speaker."""


def prepare(folder: Path, out: Path) -> Mapping[str, list[Entry]]:
    """Write the manifests, and return the entries by the name of their manifest.

    Raises:
        ManifestError: everything that is missing or wrong, one line each. Nothing is written.
    """
    corpus = CorpusFolder(folder)
    manifests = {}
    for split, (place, published) in SPLITS.items():
        folders = {kind: f"{place}/{name}" for kind, name in KINDS.items()}
        found = corpus.aligned(folders, id_of, labels_of)
        mixtures = [entry.id for entry in found["mixture"]]
        corpus.tell_number(f"mixtures for {split} ({place})", mixtures, published)
        manifests |= {f"{kind}_{split}": entries for kind, entries in found.items()}
    return corpus.write(out, manifests)


def id_of(path: Path) -> str | None:
    """The name of the file, if it is one of WSJ0-2mix."""
    return path.stem if NAME.fullmatch(path.stem) else None


def labels_of(name: str) -> dict[str, str]:
    """Who speaks, and the level of the first relative to the second.

    >>> labels_of("019o031a_0.27588_01vo030q_-0.27588")
    {'speakers': '019+01v', 'ratio_db': '1'}
    """
    first, level, second, other_level = NAME.fullmatch(name).groups()
    return {
        "speakers": f"{first}+{second}",
        "ratio_db": str(round(float(level) - float(other_level))),  # a table has a row for each
    }


if __name__ == "__main__":
    sys.exit(run_prepare(prepare, "Write the manifests of WSJ0-2mix."))
