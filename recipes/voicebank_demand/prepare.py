"""Check a folder of VoiceBank+DEMAND, and write its manifests.

    python prepare.py DIR [--out OUT]

DIR holds the unpacked archives of the version with 28 training speakers: ``clean_trainset_28spk_wav``,
``noisy_trainset_28spk_wav``, ``clean_testset_wav`` and ``noisy_testset_wav``. OUT (DIR where left out) gets a manifest
of the noisy and one of the clean speech for each of ``train``, ``valid`` and ``test``.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from audiozen.data.corpus_folder import CorpusFolder, run_prepare

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from audiozen.data.manifest import Entry

VALID_SPEAKERS = ("p226", "p287")
"""Of the 28 training speakers, those that many have held out."""
SETS = {"trainset_28spk": 11572, "testset": 824}
"""And how many pairs were published."""
UNKNOWN = "unknown"


def prepare(folder: Path, out: Path) -> Mapping[str, list[Entry]]:
    """Write the manifests, and return the entries by the name of their manifest.

    Raises:
        ManifestError: everything that is missing or wrong, one line each. Nothing is written.
    """
    corpus = CorpusFolder(folder)
    train, test = (pairs_of(corpus, name) for name in SETS)
    is_valid = {entry.id: entry["speaker"] in VALID_SPEAKERS for entry in train["noisy"]}
    if is_valid and len(set(is_valid.values())) < 2:
        held_out = " and ".join(VALID_SPEAKERS)
        there = sorted({entry["speaker"] for entry in train["noisy"]})
        corpus.problems.append(
            f"training needs other speakers than {held_out}, and validation these; there: {', '.join(there)}"
        )
    manifests = {}
    for kind in ("noisy", "clean"):
        manifests[f"{kind}_train"] = [e for e in train[kind] if not is_valid[e.id]]
        manifests[f"{kind}_valid"] = [e for e in train[kind] if is_valid[e.id]]
        manifests[f"{kind}_test"] = test[kind]
    return corpus.write(out, manifests)


def pairs_of(corpus: CorpusFolder, name: str) -> dict[str, list[Entry]]:
    """The noisy and the clean signals of a set."""
    conditions = logged(corpus, f"log_{name}.txt")

    def labels_of(utterance: str) -> dict[str, str]:
        noise_type, snr_db = conditions.get(utterance, (UNKNOWN, UNKNOWN))
        speaker = utterance.partition("_")[0]
        return {"speaker": speaker, "noise_type": noise_type, "snr_db": snr_db}

    folders = {"noisy": f"noisy_{name}_wav", "clean": f"clean_{name}_wav"}
    pairs = corpus.aligned(folders, labels_of=labels_of)
    found = [entry.id for entry in pairs["noisy"]]
    corpus.tell_number(f"pairs of {name}", found, SETS[name], conditions)
    return pairs


def logged(corpus: CorpusFolder, name: str) -> dict[str, tuple[str, str]]:
    """Type of noise and ratio in dB of each utterance; empty where the log was not unpacked."""
    places = [corpus.root / name, *sorted(corpus.root.glob(f"*/{name}"))]
    log = next((place for place in places if place.is_file()), None)
    if log is None:
        return {}
    lines = [line.split() for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
    wrong = [" ".join(fields) for fields in lines if len(fields) != 3]
    if wrong:
        corpus.problems.append(f"{name}: expected utterance, noise and ratio, got {wrong[0]!r}")
    return {fields[0]: (fields[1], fields[2]) for fields in lines if len(fields) == 3}


if __name__ == "__main__":
    sys.exit(run_prepare(prepare, "Write the manifests of VoiceBank+DEMAND."))
