"""What do many samples cost? Two billion in a dataset, ten million in a manifest.

    python benchmarks/size_of_data.py --entries 10000000 --rounds 15

First table: how long the first batch of an epoch takes to come, at its beginning and where it is resumed, in turn,
medians.
Second: how long a manifest takes to open. Third: private memory of each of two data-loader workers after it has read
many random entries, above that of a worker that makes as many without a manifest: what is shared with no other process,
clean or not. Last, the same of the list that ``read_manifest`` makes, of a part of the entries and scaled.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset

from audiozen.data.large_manifest import open_manifest
from audiozen.data.loader import TrainingLoader
from audiozen.data.manifest import entry_of, read_manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from audiozen.data.manifest import Entry

NUM_SAMPLES = 2 * 10**9 + 1
POSITIONS = (0, 10**3, 10**9)
NUM_WORKERS = 2
MAX_LISTED = 200_000
"""Entries that are read into a list, to be compared with. More would take long, and much memory."""


class Indices(Dataset[int]):
    """A dataset of two billion samples, each its own index."""

    def __len__(self) -> int:
        return NUM_SAMPLES

    def __getitem__(self, index: int) -> int:
        return index


class PrivateMemory(Dataset[int]):
    """Bytes that the process has for itself, after it has read random entries: one sample for each worker."""

    def __init__(self, entries: Any, num_reads: int) -> None:
        self.entries, self.num_reads = entries, num_reads

    def __getitem__(self, index: int) -> int:
        draws = random.Random(index)
        for _ in range(self.num_reads):
            self.entries[draws.randrange(len(self.entries))]
        return private_bytes()


class OneLine:
    """A manifest that holds nothing: it makes an entry, always of the same line."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Entry:
        return entry_of(line_of(index), Path())


def private_bytes() -> int:
    """Memory of this process that it shares with no other."""
    lines = [line.split() for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]]
    kilobytes = {words[0]: int(words[1]) for words in lines}
    return 1024 * (kilobytes["Private_Clean:"] + kilobytes["Private_Dirty:"])


def of_workers(entries: Any, method: str, num_reads: int) -> list[int]:
    """Private memory of each worker that has been given ``entries``."""
    loader = DataLoader(
        PrivateMemory(entries, num_reads),
        batch_size=None,
        sampler=range(NUM_WORKERS),
        num_workers=NUM_WORKERS,
        multiprocessing_context=method,
    )
    return [int(found) for found in loader]


def seconds(action: Any) -> float:
    """How long it takes."""
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


# ---- first batch ---------------------------------------------------------------------------------


def show_first_batches(num_rounds: int) -> None:
    """The first table."""
    print(f"first batch of {NUM_SAMPLES:,} samples; milliseconds, median of {num_rounds} rounds")
    print(f"{'':<32}" + "".join(f"{f'from {position:,}':>20}" for position in POSITIONS))
    before = private_bytes()
    for num_workers in (0, NUM_WORKERS):
        loader = TrainingLoader(
            DataLoader(Indices(), batch_size=8, shuffle=True, num_workers=num_workers), seed=0
        )
        _warm_up, *rounds = (first_batches(loader, epoch) for epoch in range(num_rounds + 1))
        medians = [statistics.median(times) for times in zip(*rounds)]
        ratios = [statistics.median(t[k] / t[0] for t in rounds) for k in range(len(POSITIONS))]
        row(f"{num_workers} workers", [f"{median * 1e3:.2f}" for median in medians])
        row("ratio to the beginning", [f"{ratio:.2f}" for ratio in ratios])
    grown = (private_bytes() - before) / 1e6
    print(
        f"memory taken by all of this: {grown:.1f} MB (a list of the order: {8 * NUM_SAMPLES / 1e6:,.0f} MB)"
    )


def first_batches(loader: TrainingLoader, epoch: int) -> list[float]:
    """Seconds to the first batch from each position; in another order each time, as all share one machine."""
    found = {}
    for position in random.Random(epoch).sample(POSITIONS, len(POSITIONS)):
        begin = time.perf_counter()
        batches = loader.batches(epoch, position)
        next(batches)
        found[position] = time.perf_counter() - begin
        del batches  # its workers end before the next ones begin
    return [found[position] for position in POSITIONS]


# ---- manifest ------------------------------------------------------------------------------------


def line_of(number: int) -> str:
    """One line, as ``write_manifest`` writes it."""
    name = f"speaker_{number // 1000:06}/utterance_{number:010}"
    split = "valid" if number % 100 == 0 else "train"
    return (
        f'{{"id": "{name}", "path": "audio/{name}.flac", "sample_rate": 16000, '
        f'"num_samples": 240000, "speaker": "{name[:14]}", "split": "{split}"}}\n'
    )


def write_lines(path: Path, num_entries: int) -> None:
    """A manifest, without holding its entries."""
    with path.open("w") as file:
        file.writelines(map(line_of, range(num_entries)))
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # it is read from the disk


def show_opening(path: Path) -> None:
    """The second table."""
    index = path.with_name(f"{path.name}.index")
    print("open_manifest, seconds")
    row("for the first time, from disk", [f"{seconds(lambda: open_manifest(path)):.2f}"])
    print(f"{'  size of its index':<32}{index.stat().st_size / 1e6:>17.1f} MB")
    index.unlink()
    row("without index, from memory", [f"{seconds(lambda: open_manifest(path)):.2f}"])
    row("again", [f"{seconds(lambda: open_manifest(path)):.5f}"])


def show_entries(path: Path, num_reads: int) -> None:
    """Microseconds per entry, at random and in a row."""
    manifest, draws = open_manifest(path), random.Random(0)
    places = [draws.randrange(len(manifest)) for _ in range(num_reads)]
    at_random = seconds(lambda: [manifest[place] for place in places])
    in_a_row = seconds(lambda: list(manifest[:num_reads]))
    row("microseconds per random entry", [f"{at_random / len(places) * 1e6:.1f}"])
    row("microseconds per entry in a row", [f"{in_a_row / len(places) * 1e6:.1f}"])


def show_memory(path: Path, num_reads: int) -> None:
    """The third table."""
    manifest = open_manifest(path)
    half = manifest.select(np.arange(0, len(manifest), 2))
    both = ConcatDataset([manifest, half])
    print(f"private memory of a worker after {num_reads:,} random entries, above one without; MB")
    row("", ["worker 0", "worker 1"])
    for method in ("fork", "spawn"):
        taken = above(of_workers(both, method, num_reads), of_workers(OneLine(), method, num_reads))
        row(f"{method}: all and a selection", [f"{size / 1e6:.2f}" for size in taken])


def show_list(path: Path, num_entries: int) -> None:
    """What ``read_manifest`` costs: a part of it, and scaled."""
    num_listed = min(MAX_LISTED, num_entries)
    scale = num_entries / num_listed
    write_lines(path, num_listed)
    begin = time.perf_counter()
    entries = read_manifest(path)
    duration = time.perf_counter() - begin
    print(
        f"read_manifest: measured with {num_listed:,} entries, each read twice; times {scale:.4g}"
    )
    row("seconds", [f"{duration * scale:.2f}"])
    alone = of_workers(OneLine(), "fork", 2 * num_listed)
    taken = above(of_workers(entries, "fork", 2 * num_listed), alone)
    row("fork: private MB per worker", [f"{size * scale / 1e6:.0f}" for size in taken])


def above(sizes: list[int], others: list[int]) -> list[int]:
    """Differences."""
    return [size - other for size, other in zip(sizes, others)]


def row(name: str, values: Sequence[str]) -> None:
    """One line of a table."""
    print(f"{name:<32}" + "".join(f"{value:>20}" for value in values))


def main() -> None:
    """Run, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", type=int, default=10_000_000, help="of the manifest")
    parser.add_argument("--rounds", type=int, default=15, help="of the first table")
    parser.add_argument("--reads", type=int, default=20_000, help="random entries per worker")
    parser.add_argument("--folder", type=Path, help="on which disk; default: a temporary folder")
    options = parser.parse_args()
    torch.set_num_threads(1)
    show_first_batches(options.rounds)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "all.jsonl"
        write_lines(path, options.entries)
        print(f"manifest of {options.entries:,} entries, {path.stat().st_size / 1e6:,.1f} MB")
        show_opening(path)
        show_memory(path, options.reads)
        show_entries(path, options.reads)
        show_list(Path(folder) / "part.jsonl", options.entries)


if __name__ == "__main__":
    main()
