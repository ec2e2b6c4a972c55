"""What AudioZEN does with files beside training, run where ``elsewhere.py`` says. Expects the sounds of a test."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from audiozen.data.large_manifest import open_manifest
from audiozen.data.manifest import read_manifest, scan_audio, write_manifest
from audiozen.durable_files import partial_name, replace_file, sweep
from audiozen.run_folder import file_name
from audiozen.system.locks import is_locked, lock, unlock
from audiozen.tracking.jsonl import JsonlTracker, read_metrics
from audiozen.trainer.run_lock import run_lock


def main() -> None:
    manifests()
    metrics()
    locks()
    names()
    leftovers()


def manifests() -> None:
    write_manifest("clean.jsonl", scan_audio("exp/baseline/sounds/clean"))
    entries = open_manifest("clean.jsonl")
    assert Path("clean.jsonl.index").is_file()
    assert list(entries) == read_manifest("clean.jsonl")
    chosen = entries.select([3, 1])
    process = multiprocessing.Process(target=write_ids, args=[chosen])
    process.start()
    process.join()
    told = Path("chosen.txt").read_text(encoding="utf-8").split()
    assert told == [entry.id for entry in chosen]


def write_ids(entries) -> None:
    Path("chosen.txt").write_text(" ".join(entry.id for entry in entries), encoding="utf-8")


def metrics() -> None:
    """Two trackers of one file, as where a checkpoint is tested while training goes on."""
    one, other = JsonlTracker("metrics.jsonl"), JsonlTracker("metrics.jsonl")
    for step in range(1, 6):
        one.log_scalars({"loss": step, "score": 1}, step=step, epoch=1)
    other.rewind(3)
    one.log_scalars({"loss": 9}, step=9, epoch=1)
    other.supersede(["loss"], step=2)
    one.close()
    other.close()
    rows = [(row["step"], row.get("loss"), row.get("score")) for row in read_metrics(one.path)]
    assert rows == [(1, 1, 1), (2, None, 1), (3, 3, 1), (9, 9, None)]


def locks() -> None:
    with run_lock(Path("exp/locked")):
        other = os.open("exp/locked/.lock", os.O_RDWR)
        assert os.read(other, 7) == b"process", "the locked file can be read"
        assert is_locked(other)
        with pytest.raises(PermissionError):
            lock(other, wait=False)
    assert not is_locked(other)
    lock(other, wait=True)
    unlock(other)
    os.close(other)


def names() -> None:
    for name in ("a:b?", "nul", "COM1.x", "ends.", "ends ", '<"|>'):
        replace_file(Path("odd", f"{file_name(name)}.wav"), b"\r\n")
    assert {path.read_bytes() for path in Path("odd").iterdir()} == {b"\r\n"}
    assert len(list(Path("odd").iterdir())) == 6


def leftovers() -> None:
    """Nobody is interrupted to find out whether it lives."""
    partial = partial_name(Path("leftover"))
    partial.touch()
    sweep(Path())
    assert partial.exists()
