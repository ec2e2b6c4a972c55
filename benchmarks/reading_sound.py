"""How fast is sound read for training, from files and from packs?

    python benchmarks/reading_sound.py --rounds 21

An item is 4 s of speech and 4 s of noise from random places, mixed; 16 of them are stacked to a batch of noisy and
clean signals. One process, one thread, and the files are in the cache of the system. Read in turn, the same crops:

- with ``soundfile.read(path, start=..., frames=...)``, as most do: wav and flac
- with ``read_audio``: wav and flac files, and signals of a pack by their path
- with ``PackedAudio.read_batch``, which reads a batch at once

Prints items per second of processor time (which is wall time on a machine that does nothing else), and the ratio to
soundfile, round by round: medians. Ends with 1 where not all give the same bits.

The process keeps memory that was freed, for all readers alike, as AudioZEN's training and its data workers do
(``audiozen.processes.memory``). Otherwise glibc gives some of it back and fetches it anew, in a pattern that differs
from run to run and costs more than reading does; ``--plain-malloc`` leaves it to that.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import soundfile
import torch
from torch import Tensor

from audiozen.data.audio import read_audio, write_audio
from audiozen.data.manifest import Entry, read_manifest, scan_audio, write_manifest
from audiozen.data.packed import PACK_SUFFIX, PackedAudio
from audiozen.data.packing import pack
from audiozen.processes.memory import keep_freed_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SOUND = Path(__file__).parents[1] / "recipes" / "debian_noisy_speech" / "audio"
SAMPLE_RATE = 16000
NUM_SAMPLES = 4 * SAMPLE_RATE
BATCH_SIZE = 16
PARTS = ("speech", "noise")
WANTED = {
    ("read_audio, wav", "wav"): 2,
    ("packed, by item", "wav"): 3,
    ("packed, by item", "flac"): 12,
    ("packed, by whole batches", "wav"): 5,
}


class Crop(NamedTuple):
    """A segment of signal ``index``."""

    index: int
    start: int


class Item(NamedTuple):
    """What is to be mixed."""

    speech: Crop
    noise: Crop
    gain: float


Batch: TypeAlias = tuple[Tensor, Tensor]
Read: TypeAlias = "Callable[[Path, int], Tensor]"


# ---- the corpus ----------------------------------------------------------------------------------


def make_corpus(folder: Path, part: str, num_copies: int) -> None:
    """Recordings of at least 4 s, each several times: as flac, as wav, and packed from those."""
    entries = [
        entry
        for entry in read_manifest(SOUND / f"{part}_train.jsonl")
        if entry.num_samples >= NUM_SAMPLES
    ]
    for path in sorted({entry.path for entry in entries}):
        for copy in range(num_copies):
            name = folder / part / f"{path.stem}_{copy}"
            write_audio(name.with_suffix(".wav"), read_audio(path), SAMPLE_RATE)
            shutil.copy(path, name.with_suffix(".flac"))
    found = scan_audio_of(folder / part, ".wav")
    write_manifest(folder / f"{part}.jsonl", found)
    pack(folder / f"{part}.jsonl", folder / "packed", num_workers=1)


def scan_audio_of(folder: Path, suffix: str) -> list[Entry]:
    """Entries of the files with one ending."""
    with tempfile.TemporaryDirectory() as links:
        for path in folder.glob(f"*{suffix}"):
            (Path(links) / path.name).symlink_to(path)
        return [
            Entry(entry.id, folder / entry.path.name, entry.sample_rate, entry.num_samples)
            for entry in scan_audio(links)
        ]


def drawn(corpus: dict[str, list[Entry]], num_items: int, draws: random.Random) -> list[Item]:
    """Which crops are read."""

    def crop(part: str) -> Crop:
        index = draws.randrange(len(corpus[part]))
        return Crop(index, draws.randint(0, corpus[part][index].num_samples - NUM_SAMPLES))

    gains = torch.rand(num_items).tolist()
    return [Item(crop("speech"), crop("noise"), gain) for gain in gains]


# ---- ways to read --------------------------------------------------------------------------------


def by_soundfile(path: Path, start: int) -> Tensor:
    """A segment, as most read it."""
    samples, _ = soundfile.read(path, frames=NUM_SAMPLES, start=start, dtype="float32")
    return torch.from_numpy(samples)


def by_read_audio(path: Path, start: int) -> Tensor:
    """A segment, with all checks."""
    return read_audio(path, start=start, num_samples=NUM_SAMPLES, expected_rate=SAMPLE_RATE)


def by_item(read: Read, paths: dict[str, list[Path]], items: Sequence[Item]) -> Batch:
    """A batch, one crop after the other."""
    noisy, clean = [], []
    for speech, noise, gain in items:
        clean.append(read(paths["speech"][speech.index], speech.start))
        segment = read(paths["noise"][noise.index], noise.start)
        noisy.append(segment.mul_(gain).add_(clean[-1]))
    return torch.stack(noisy), torch.stack(clean)


def by_batch(
    packs: dict[str, PackedAudio], paths: dict[str, list[Path]], items: Sequence[Item]
) -> Batch:
    """A batch at once."""
    speech, noise, gains = zip(*items)
    clean, noisy = (
        packs[part].read_batch(
            [paths[part][crop.index] for crop in crops],
            [crop.start for crop in crops],
            NUM_SAMPLES,
            gains=factors,
        )
        for part, crops, factors in (("speech", speech, None), ("noise", noise, gains))
    )
    return noisy.add_(clean), clean


def ways_to_read(folder: Path, corpus: dict[str, list[Entry]]) -> dict[str, Callable[[Any], Batch]]:
    """By name, functions that read a batch."""
    wav = {part: [entry.path for entry in corpus[part]] for part in PARTS}
    flac = {part: [path.with_suffix(".flac") for path in wav[part]] for part in PARTS}
    packed = {
        part: [entry.path for entry in read_manifest(folder / "packed" / f"{part}.jsonl")]
        for part in PARTS
    }
    packs = {part: PackedAudio(folder / "packed" / f"{part}{PACK_SUFFIX}") for part in PARTS}
    return {
        "soundfile, wav": partial(by_item, by_soundfile, wav),
        "soundfile, flac": partial(by_item, by_soundfile, flac),
        "read_audio, wav": partial(by_item, by_read_audio, wav),
        "read_audio, flac": partial(by_item, by_read_audio, flac),
        "packed, by item": partial(by_item, by_read_audio, packed),
        "packed, by whole batches": partial(by_batch, packs, packed),
    }


# ---- measuring -----------------------------------------------------------------------------------


def seconds(read: Callable[[Any], Batch], batches: Sequence[Sequence[Item]]) -> float:
    """Processor time that reading takes."""
    begin = time.process_time()
    for items in batches:
        read(items)
    return time.process_time() - begin


def measured(
    ways: dict[str, Callable[[Any], Batch]], batches: Sequence[Sequence[Item]], num_rounds: int
) -> dict[str, list[float]]:
    """Seconds of each way in each round; in another order each time."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(num_rounds):
        for name in random.Random(number).sample(list(ways), len(ways)):
            found[name].append(seconds(ways[name], batches))
    return found


def are_equal(ways: dict[str, Callable[[Any], Batch]], items: Sequence[Item]) -> bool:
    """Whether all ways give the same bits."""
    first, *others = [read(items) for read in ways.values()]
    return all(torch.equal(a, b) for other in others for a, b in zip(first, other))


def show(found: dict[str, list[float]], num_items: int) -> None:
    """The table."""
    print(f"{'':<26}{'items/s':>9}{'to soundfile wav':>24}{'to soundfile flac':>24}")
    for name, times in found.items():
        row = f"{name:<26}{num_items / statistics.median(times):>9.0f}"
        for suffix in ("wav", "flac"):
            ratio = statistics.median(
                base / time for base, time in zip(found[f"soundfile, {suffix}"], times)
            )
            wanted = WANTED.get((name, suffix))
            row += f"{f'{ratio:.2f}' + (f' (wanted: {wanted})' if wanted else ''):>24}"
        print(row)


def main() -> int:
    """Run, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--batches", type=int, default=4, help="of a round")
    parser.add_argument("--copies", type=int, default=8, help="of each recording")
    parser.add_argument("--folder", type=Path, help="on which disk; default: a temporary folder")
    parser.add_argument("--plain-malloc", action="store_true", help="see above")
    options = parser.parse_args()
    if not options.plain_malloc:
        keep_freed_memory()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        for part in PARTS:
            make_corpus(folder, part, options.copies)
        corpus = {part: read_manifest(folder / f"{part}.jsonl") for part in PARTS}
        ways = ways_to_read(folder, corpus)
        items = drawn(corpus, options.batches * BATCH_SIZE, random.Random(0))
        batches = [items[at : at + BATCH_SIZE] for at in range(0, len(items), BATCH_SIZE)]
        equal = all(are_equal(ways, batch) for batch in batches)  # brings all into the cache, too
        count = ", ".join(f"{len(corpus[part])} of {part}" for part in PARTS)
        print(
            f"files: {count}; {options.rounds} rounds of {options.batches} batches of {BATCH_SIZE} items"
        )
        show(measured(ways, batches, options.rounds), len(items))
        print(f"all give the same bits: {'yes' if equal else 'NO'}")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
