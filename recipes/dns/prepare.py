"""Check a folder of the DNS Challenge (Interspeech 2020), and write its manifests.

    python prepare.py DIR [--out OUT]

DIR is the folder ``datasets`` of the challenge: it holds ``clean``, ``noise``, ``test_set/synthetic`` and, if wanted,
``impulse_responses``. OUT (DIR where left out) gets manifests of speech and noise for training and validation, the
mixtures of the validation, and for both halves of the test one of the noisy and one of the clean speech.
"""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from audiozen.acoustics.level import is_silent
from audiozen.data.audio import read_audio
from audiozen.data.corpus_folder import CorpusFolder, by_hash, run_prepare

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from audiozen.data.manifest import Entry

    Labels = dict[str, str]

SAMPLE_RATE = 16000
TEST_SETS = {"no_reverb": 150, "with_reverb": 150}
"""And how many pairs were published."""
READER = re.compile(r"reader_(\d+)")
SNR = re.compile(r"_snr(-?\d+)_")
PAIR = re.compile(r"fileid_(\d+)$")
"""Both clips of a pair end in its number."""
RECORDING = re.compile(r"(.*_Freesound_.*)_\d+$")
"""Clips of one recording differ in the number at the end."""
UNKNOWN = "unknown"

VALID_SHARE = 0.01
"""Of the readers, and of the recordings of noise."""
NUM_VALID_MIXTURES = 200
VALID_SNRS_DB = (0.0, 5.0, 10.0, 15.0)
VALID_SECONDS = 10
VALID_LEVEL_DBFS = -25.0


def prepare(folder: Path, out: Path) -> Mapping[str, list[Entry]]:
    """Write the manifests, and return the entries by the name of their manifest.

    Raises:
        ManifestError: everything that is missing or wrong, one line each. Nothing is written.
    """
    corpus = CorpusFolder(folder, SAMPLE_RATE)
    speech = corpus.entries(corpus.find("clean"), of_speech)
    noise = corpus.entries(corpus.find("noise"), of_noise)
    speech_train, speech_valid = divided(corpus, speech, "speaker")
    noise_train, noise_valid = divided(corpus, noise, "recording")
    manifests = {"speech_train": speech_train, "noise_train": noise_train}
    manifests |= {"speech_valid": speech_valid, "noise_valid": noise_valid}
    for name, published in TEST_SETS.items():
        manifests |= pairs_of(corpus, name, published)
    if (folder / "impulse_responses").is_dir():
        files = corpus.find("impulse_responses")
        manifests["impulse_responses"] = corpus.entries(files, mono=False)
    if not corpus.problems:
        manifests["mixtures_valid"] = planned(speech_valid, noise_valid)
    return corpus.write(out, manifests)


def of_speech(name: str) -> Labels:
    """Labels of a clip of speech: its reader."""
    return {"speaker": _first(READER, name), "language": UNKNOWN}


def of_noise(name: str) -> Labels:
    """Labels of a clip of noise. Clips of one recording are to be on the same side of a split."""
    return {"recording": _first(RECORDING, name, name), "noise_type": UNKNOWN}


def divided(
    corpus: CorpusFolder, entries: Sequence[Entry], label: str
) -> tuple[list[Entry], list[Entry]]:
    """Entries for training and for validation, which have nothing with the same value of a label."""
    values = by_hash({entry[label] for entry in entries} - {UNKNOWN})
    if entries and len(values) < 2:
        corpus.problems.append(f"nothing can be held out for validation: there is one {label} only")
    held_out = set(values[: max(1, round(VALID_SHARE * len(values)))])
    parts: tuple[list[Entry], list[Entry]] = ([], [])
    for entry in entries:
        parts[entry[label] in held_out].append(entry)
    return parts


def pairs_of(corpus: CorpusFolder, name: str, published: int) -> dict[str, list[Entry]]:
    """Noisy and clean clips of a half of the test, by the number at the end of their names."""
    place = f"test_set/synthetic/{name}"
    folders = {kind: f"{place}/{kind}" for kind in ("noisy", "clean")}
    pairs = corpus.aligned(folders, number_of)
    corpus.tell_number(f"pairs of {name}", [entry.id for entry in pairs["noisy"]], published)
    noisy = [replace(e, labels={"snr_db": _first(SNR, e.path.stem)}) for e in pairs["noisy"]]
    return {f"noisy_test_{name}": noisy, f"clean_test_{name}": pairs["clean"]}


def number_of(path: Path) -> str | None:
    """The number of a pair, by which its clips belong together."""
    return _first(PAIR, path.stem) if PAIR.search(path.stem) else None


def planned(speech: Sequence[Entry], noise: Sequence[Entry]) -> list[Entry]:
    """Mixtures for validation: which utterance meets which noise, always the same ones."""
    noises = some_heard(noise)
    return [
        mixture(utterance, noises[k % len(noises)], VALID_SNRS_DB[k % len(VALID_SNRS_DB)])
        for k, utterance in enumerate(some_heard(speech))
        if noises
    ]


def some_heard(entries: Sequence[Entry]) -> list[Entry]:
    """As many as there are mixtures, chosen by a hash of their ids; those that begin with silence are left out."""
    by_id = {entry.id: entry for entry in entries}
    heard = (by_id[name] for name in by_hash(by_id) if is_heard(by_id[name]))
    return list(islice(heard, NUM_VALID_MIXTURES))


def is_heard(entry: Entry) -> bool:
    """Whether the first second is not silent."""
    first = min(entry.num_samples, entry.sample_rate)
    return not bool(is_silent(read_audio(entry.path, num_samples=first)))


def mixture(utterance: Entry, noise: Entry, snr_db: float) -> Entry:
    """A line of the list of mixtures, as ``FrozenMixtures`` of ``debian_noisy_speech`` reads it."""
    labels = utterance.labels | {
        "speech_samples": min(utterance.num_samples, VALID_SECONDS * SAMPLE_RATE),
        "noise": noise.id,
        "noise_type": noise["noise_type"],
        "noise_offset": 0,
        "snr_db": snr_db,
        "level_dbfs": VALID_LEVEL_DBFS,
    }
    return replace(utterance, labels=labels)


def _first(pattern: re.Pattern[str], text: str, otherwise: str = UNKNOWN) -> str:
    found = pattern.search(text)
    return found[1] if found else otherwise


if __name__ == "__main__":
    sys.exit(run_prepare(prepare, "Write the manifests of the DNS Challenge 2020."))
