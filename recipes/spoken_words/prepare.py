"""Check a folder of Speech Commands, and write the manifests of the 12-class task.

    python prepare.py DIR [--out OUT]

DIR is the unpacked archive, version 1 or 2: a folder of wav files per word, ``_background_noise_``,
``validation_list.txt`` and ``testing_list.txt``. OUT (DIR where left out) gets ``train.jsonl``, ``valid.jsonl``,
``test.jsonl`` and ``noise_train.jsonl``.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from audiozen.data.corpus_folder import by_hash, run_prepare, some
from audiozen.data.manifest import Entry, faulty, scan_audio, write_manifest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SAMPLE_RATE = 16000
KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
UNKNOWN, SILENCE = "unknown", "silence"
CLASSES = (*KEYWORDS, UNKNOWN, SILENCE)

NOISE = "_background_noise_"
LISTS = {"valid": "validation_list.txt", "test": "testing_list.txt"}
NOISE_PARTS = {"train": (0, 80), "valid": (80, 90), "test": (90, 100)}
"""What each split hears of each recording of noise, in per cent, so that no moment is in two of them."""
MIN_NOISE_SECONDS = 10
"""Of which the shortest part is a second."""
NUM_NAMED = 3


def prepare(folder: Path, out: Path) -> dict[str, list[Entry]]:
    """Write the manifests.

    Args:
        folder: of Speech Commands.
        out: where the manifests go.

    Returns:
        The entries by the name of their manifest.

    Raises:
        ManifestError: everything that is missing or wrong, one line each. Nothing is written.
    """
    _refuse(folder, missing_parts(folder))
    clips = scan_audio(folder, _labels)
    _refuse(folder, wrong_clips(clips))
    split_of = {name: split for split in LISTS for name in listed(folder, split)}
    noises = [clip for clip in clips if clip["word"] == NOISE]
    manifests = {
        split: twelve_classes(
            split,
            [c for c in clips if c["word"] != NOISE and split_of.get(c.id, "train") == split],
            noises,
        )
        for split in NOISE_PARTS
    }
    manifests["noise_train"] = [_part(noise, "train") for noise in noises]
    for name, entries in manifests.items():
        write_manifest(out / f"{name}.jsonl", entries)
    return manifests


def missing_parts(folder: Path) -> list[str]:
    """What a folder of Speech Commands has and this one has not; no sound is opened."""
    if not folder.is_dir():
        return ["there is no such folder; unpack the archive there"]
    words = {path.parent.name for path in folder.glob("*/*.wav")}
    problems = [
        f"{name}/: {'has no wav file' if (folder / name).is_dir() else 'no such folder'}"
        for name in (*KEYWORDS, NOISE)
        if name not in words
    ]
    if not words - {*KEYWORDS, NOISE}:
        problems.append(f"no folder of another word, of which the class {UNKNOWN!r} is made")
    there = {split: name for split, name in LISTS.items() if (folder / name).is_file()}
    problems += [f"{name}: no such file" for split, name in LISTS.items() if split not in there]
    for split, name in there.items():
        lost = [clip for clip in listed(folder, split) if not (folder / f"{clip}.wav").is_file()]
        if lost:
            problems.append(f"{name} names files that are not there: {some(lost, NUM_NAMED)}")
    if len(there) == len(LISTS):
        shared = sorted(set(listed(folder, "valid")) & set(listed(folder, "test")))
        if shared:
            problems.append(f"{' and '.join(LISTS.values())} both name {some(shared, NUM_NAMED)}")
    return problems


def wrong_clips(clips: Sequence[Entry]) -> list[str]:
    """Files of another sample rate, and noises too short to be shared out."""
    problems = [
        f"{clip.path}: {clip.sample_rate} Hz; {SAMPLE_RATE} Hz are wanted"
        for clip in clips
        if clip.sample_rate != SAMPLE_RATE
    ]
    return problems + [
        f"{clip.path}: {clip.duration:.2f} s; noise of at least {MIN_NOISE_SECONDS} s is wanted"
        for clip in clips
        if clip["word"] == NOISE and clip.duration < MIN_NOISE_SECONDS
    ]


def listed(folder: Path, split: str) -> list[str]:
    """Ids of the clips that a list of Speech Commands names: ``word/file``."""
    lines = (folder / LISTS[split]).read_text(encoding="utf-8").split()
    return [line.removesuffix(".wav") for line in lines]


def twelve_classes(split: str, clips: Sequence[Entry], noises: Sequence[Entry]) -> list[Entry]:
    """All clips of the keywords, and as many unknown words and silences as a keyword has on average.

    Which of the unknown words is decided by a hash of their ids, so that it is always the same ones.
    """
    keywords = [_labelled(clip, clip["word"]) for clip in clips if clip["word"] in KEYWORDS]
    others = {clip.id: _labelled(clip, UNKNOWN) for clip in clips if clip["word"] not in KEYWORDS}
    num_each = max(1, round(len(keywords) / len(KEYWORDS)))
    unknown = [others[name] for name in by_hash(others)[:num_each]]
    return [*keywords, *unknown, *silences(split, noises, num_each)]


def silences(split: str, noises: Sequence[Entry], num_silences: int) -> list[Entry]:
    """Seconds of noise, spread evenly over the parts of the recordings that a split hears."""
    found = []
    for number in range(num_silences):
        place, index = divmod(number, len(noises))
        part = _part(noises[index], split)
        num_places = -(-(num_silences - index) // len(noises))
        room = part["stop"] - part["start"] - SAMPLE_RATE
        start = part["start"] + room * place // max(1, num_places - 1)
        labels = {"label": SILENCE, "start": start}
        name = f"{part.id}/{split}_{place:04d}"
        found.append(Entry(name, part.path, part.sample_rate, part.num_samples, labels))
    return found


def _part(noise: Entry, split: str) -> Entry:
    start, stop = (noise.num_samples * percent // 100 for percent in NOISE_PARTS[split])
    labels = {"start": start, "stop": stop}
    return Entry(noise.id, noise.path, noise.sample_rate, noise.num_samples, labels)


def _labels(path: Path) -> dict[str, str]:
    return {"word": path.parts[0], "speaker": path.stem.partition("_nohash_")[0]}


def _labelled(clip: Entry, label: str) -> Entry:
    labels = {**clip.labels, "label": label}
    return Entry(clip.id, clip.path, clip.sample_rate, clip.num_samples, labels)


def _refuse(folder: Path, problems: Sequence[str]) -> None:
    if problems:
        raise faulty(folder, problems)


def main(argv: Sequence[str] | None = None) -> int:
    return run_prepare(prepare, "Write the manifests of Speech Commands.", argv)


if __name__ == "__main__":
    sys.exit(main())
