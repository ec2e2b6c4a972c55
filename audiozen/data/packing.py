"""Writing packs: the sound of a manifest, converted once to 16-bit integers. ``packed.py`` has the format.

::

    report = pack("corpus/speech.jsonl", "packed", sample_rate=16_000)
    problems = pack_problems("packed/speech.audiopack")

A shard is the unit of work. It is staged and renamed, and a record beside it says from which files it was made, and
how; so what an interrupted run has finished is kept, and what has changed since is made again. Which signals are in
which shard follows from the manifest alone, so the bytes do not depend on the number of processes.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from audiozen.data.manifest import faulty, line_of, read_manifest
from audiozen.data.packed import (
    CODE_SIZE,
    INDEX,
    PACK_SUFFIX,
    PackedAudio,
    index_content,
    is_packed,
)
from audiozen.data.packing_shards import (
    Settings,
    Source,
    Task,
    finished,
    make_shard,
    record_of,
    shard_path,
)
from audiozen.durable_files import make_folders, remove, replace_file, sweep
from audiozen.errors import AudioError, AudioZENError, RequestError
from audiozen.processes.cores import num_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from audiozen.data.manifest import Entry
    from audiozen.data.packing_shards import Channel, Record

__all__ = ["PackReport", "find_packs", "pack", "pack_problems"]

SHARD_SIZE = 1 << 28
"""Bytes: more than two hours at 16 kHz. Small enough that many cores have something to do."""


@dataclass(frozen=True)
class PackReport:
    """What was packed."""

    manifest: Path
    """That of the packed signals."""
    num_signals: int
    num_shards: int
    num_made: int
    """Shards that were not there yet."""
    duration: float
    """Of all signals together, in seconds."""
    num_bytes: int
    num_rounded: int
    """Signals that 16 bits cannot hold exactly."""
    num_resampled: int
    counting_labels: tuple[str, ...]
    """Labels with whole numbers, where signals were resampled: those that count samples are wrong now."""


def pack(
    manifest: str | Path,
    output: str | Path,
    *,
    sample_rate: int | None = None,
    channel: Channel = "error",
    shard_size: int = SHARD_SIZE,
    num_workers: int | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> PackReport:
    """Write the sound of a manifest into a pack, and a manifest that names it there.

    For ``speech.jsonl`` there is then ``speech.audiopack`` in the output folder, and a ``speech.jsonl`` with the same
    entries in the same order, of which only path, and rate and length where those have changed, are other ones.
    Labels stay as they are. A file that several entries name is packed once.

    What 16 bits can hold is held exactly: 16-bit files of the rate that is wanted, and one of their channels.
    Anything else is rounded, without dither, to steps of a power of two that is chosen for each signal, so that the
    greatest error is below 1 / 32767 of the peak (-90 dB), however quiet the signal is, and nothing is clipped,
    however loud it is.

    Run again, it makes only the shards that are missing, and those of which a file, by size and time of last writing,
    or a setting has changed. The bytes are the same whether it was interrupted, and for any number of workers.

    Args:
        manifest: of the files.
        output: folder for pack and manifest. Several manifests may share it.
        sample_rate: resample to this rate, in Hz; None keeps the rate of each file.
        channel: of files with several: a number from 0, ``"mean"``, or ``"error"`` to refuse them.
        shard_size: bytes of a shard; one signal alone may be greater.
        num_workers: processes; None: one for each core. They read a signal at a time, all of it.
        tell: is told of each shard.

    Raises:
        RequestError: the output would replace the manifest itself, or that of another corpus.
        ManifestError: the manifest has something wrong in it, or its files have. The text names all of them. Shards
            without such a file are finished all the same.
        AudioZENError: a worker was killed.
    """
    manifest, output = Path(manifest), Path(output)
    entries = read_manifest(manifest)
    target = output / manifest.name
    _check_target(manifest, entries, target)
    folder = target.with_suffix(PACK_SUFFIX)
    make_folders(folder)
    sweep(folder)
    tasks = _planned(manifest, entries, folder, Settings(sample_rate, channel), shard_size)
    made = [task.number for task in tasks if finished(task) is None]
    _make([tasks[number] for number in made], num_workers or num_cores(), manifest, tell)
    records = [record_of(task) for task in tasks]
    _write_index(folder, records)
    paths = [source.path for task in tasks for source in task.sources]
    numbers = {path: number for number, path in enumerate(paths)}
    _write_manifest(target, entries, PackedAudio(folder), numbers)
    _sweep_old(folder, tasks, records)
    return _report(target, entries, records, len(made))


def pack_problems(folder: str | Path) -> list[str]:
    """Everything in a pack that is not as it was written; reads all of it.

    Returns:
        One sentence each, starting with the file; empty where all is well.
    """
    try:
        return PackedAudio(folder).problems()
    except AudioError as error:
        return [str(error)]


def find_packs(folder: str | Path) -> list[Path]:
    """The packs in a folder, or the folder itself where it is one.

    Raises:
        RequestError: there is none.
    """
    folder = Path(folder)
    packs = [folder] if folder.suffix == PACK_SUFFIX else sorted(folder.glob(f"*{PACK_SUFFIX}"))
    if not packs or not packs[0].is_dir():
        raise RequestError(f"{folder} has no packs (folders called NAME{PACK_SUFFIX})")
    return packs


# ---- what is to be done --------------------------------------------------------------------------


def _check_target(manifest: Path, entries: Sequence[Entry], target: Path) -> None:
    if target.suffix == PACK_SUFFIX:
        raise RequestError(f"{manifest} has the ending of a pack; call it .jsonl")
    if not target.exists():
        return
    if target.samefile(manifest):
        raise RequestError(f"{target} would be replaced by that of its pack; choose another folder")
    ids = {entry.id for entry in entries}
    if not any(entry.id in ids for entry in read_manifest(target)):
        raise RequestError(
            f"{target} is of another corpus: no entry of {manifest} is in it; choose another folder, or remove it"
        )


def _planned(
    manifest: Path, entries: Sequence[Entry], folder: Path, settings: Settings, shard_size: int
) -> list[Task]:
    """All shards. Which signals are in which one follows from the manifest."""
    tasks: list[Task] = []
    shard: list[Source] = []
    filled = 0
    for source in _sources_of(manifest, entries):
        rate = settings.sample_rate or source.sample_rate
        size = CODE_SIZE * -(-source.num_samples * rate // source.sample_rate)
        if shard and filled + size > shard_size:
            tasks.append(Task(folder, len(tasks), settings, shard))
            shard, filled = [], 0
        shard.append(source)
        filled += size
    return [*tasks, Task(folder, len(tasks), settings, shard)]


def _sources_of(manifest: Path, entries: Sequence[Entry]) -> Iterable[Source]:
    """The files of a manifest, each once."""
    sources: dict[Path, Source] = {}
    problems = []
    for entry in entries:
        if entry.path not in sources:
            name = os.path.relpath(entry.path, manifest.parent)
            sources[entry.path] = Source(entry.path, name, entry.sample_rate, entry.num_samples)
        source = sources[entry.path]
        if is_packed(entry.path):
            problems.append(f"{entry.id}: is packed already; pack the manifest of the files")
        elif (source.sample_rate, source.num_samples) != (entry.sample_rate, entry.num_samples):
            problems.append(f"{entry.id}: another entry states another length of {entry.path}")
    if problems:
        raise faulty(manifest, problems)
    return sources.values()


# ---- doing it ------------------------------------------------------------------------------------


def _make(
    tasks: Sequence[Task], num_workers: int, manifest: Path, tell: Callable[[str], None]
) -> None:
    """Make shards, and name all files that cannot be packed."""
    problems: list[str] = []
    for done, found in enumerate(_in_workers(tasks, num_workers), start=1):
        problems += found
        tell(
            f"{manifest.name}: {done} of {len(tasks)} shards" + (" with problems" if found else "")
        )
    if problems:
        raise faulty(manifest, sorted(problems))


def _in_workers(tasks: Sequence[Task], num_workers: int) -> Iterator[list[str]]:
    num_workers = min(num_workers, len(tasks))
    if num_workers <= 1:
        yield from map(make_shard, tasks)
        return
    # A process with threads had better not fork; one that has only imported this may.
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    context.set_forkserver_preload([__name__])
    pool = ProcessPoolExecutor(num_workers, context, _settle_down)
    try:
        for future in as_completed([pool.submit(make_shard, task) for task in tasks]):
            yield future.result()
    except BrokenProcessPool as error:
        raise AudioZENError(
            "a process that packed was killed (by the system, when memory ran out?); what is finished is kept, so run "
            "it again, with fewer workers"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _settle_down() -> None:
    """A worker leaves Ctrl-C to the main process, and ends with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main_process = multiprocessing.parent_process()
    assert main_process is not None

    def end_with_it() -> None:
        main_process.join()
        os._exit(1)

    threading.Thread(target=end_with_it, daemon=True).start()


# ---- when all shards are there -------------------------------------------------------------------


def _write_index(folder: Path, records: Sequence[Record]) -> None:
    signals = [found for number, record in enumerate(records) for found in record.signals(number)]
    content = index_content([record.shard for record in records], signals)
    replace_file(folder / INDEX, content)


def _write_manifest(
    target: Path, entries: Sequence[Entry], packed: PackedAudio, numbers: dict[Path, int]
) -> None:
    lines = []
    for entry in entries:
        number = numbers[entry.path]
        found = packed.signal(number)
        there = replace(
            entry,
            path=packed.path_of(number, entry.path.name),
            sample_rate=found.sample_rate,
            num_samples=found.num_samples,
        )
        lines.append(line_of(there, packed.folder.parent))
    replace_file(target, "".join(lines).encode())


def _sweep_old(folder: Path, tasks: Sequence[Task], records: Sequence[Record]) -> None:
    """Remove shards and records of an earlier manifest, or of files that have changed."""
    kept = {task.record_path for task in tasks} | set(map(shard_path, tasks, records))
    for path in [*folder.glob("*.pcm"), *folder.glob("*.json")]:
        if path not in kept and not path.name.startswith("."):
            remove(path)


def _report(
    target: Path, entries: Sequence[Entry], records: Sequence[Record], num_made: int
) -> PackReport:
    sources = [source for record in records for source in record.sources]
    num_resampled = sum(source.is_resampled for source in sources)
    counting = {
        name for entry in entries for name, value in entry.labels.items() if type(value) is int
    }
    return PackReport(
        manifest=target,
        num_signals=len(sources),
        num_shards=len(records),
        num_made=num_made,
        duration=sum(source.num_samples / source.sample_rate for source in sources),
        num_bytes=sum(record.shard.size for record in records),
        num_rounded=sum(not source.is_exact for source in sources),
        num_resampled=num_resampled,
        counting_labels=tuple(sorted(counting)) if num_resampled else (),
    )
