"""What is on the disk changes behind our back: each byte of a checkpoint, each file, each folder."""

from __future__ import annotations

import logging
import random
import shutil
import tempfile
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from audiozen.errors import CheckpointError
from audiozen.trainer.checkpoint import CheckpointStore, read_sealed, sealed
from tests.faults.disk import Unflushed, in_place_of_os
from tests.faults.history import check_going_on, save, step_in
from tests.faults.table import Row, tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FILES = (
    "manifest.json",
    "validation.json",
    "training_state.json",
    "training_state.safetensors",
    "model.safetensors",
)
NUM_SAMPLED = 20


# ---- two checkpoints, the newer of which is damaged -----------------------------------------------


@cache
def undamaged() -> dict[str, bytes]:
    """Files of the checkpoints ``one`` and ``two``, each with the outcome of a validation, by their paths."""
    with tempfile.TemporaryDirectory() as folder, in_place_of_os(Unflushed()):
        store = CheckpointStore(folder)
        for step, name in enumerate(["one", "two"], start=1):
            save(store, name, step)
            store.record_validation(name, {"score": float(step)})
        files = [path for name in ("one", "two") for path in (store.root / name).iterdir()]
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@contextmanager
def store_with(files: dict[str, bytes]) -> Iterator[CheckpointStore]:
    """A store of these files."""
    with tempfile.TemporaryDirectory() as folder, in_place_of_os(Unflushed()):
        root = Path(folder) / "checkpoints"
        for name, content in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        yield CheckpointStore(root)


@contextmanager
def told() -> Iterator[list[str]]:
    """What is logged meanwhile."""
    texts: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: texts.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("audiozen.trainer.checkpoint")
    logger.addHandler(handler)
    try:
        yield texts
    finally:
        logger.removeHandler(handler)


def check_fallback(store: CheckpointStore, name: str) -> None:
    """The run goes on from ``one``, says why and at what price, and ``two`` is kept to be looked at."""
    before = {path.name: path.read_bytes() for path in (store.root / "two").iterdir()}
    with told() as texts:
        good = store.newest_good()
    assert good is not None
    assert step_in(store, good) == 1
    assert any("two is damaged" in text and name in text for text in texts), texts
    assert any("going on from" in text and "steps are done again" in text for text in texts), texts
    aside = {path.name: path.read_bytes() for path in (store.root / "two.damaged").iterdir()}
    assert aside == before
    assert store.names() == ["one"]
    check_going_on(store.root)
    assert (store.root / "two.damaged").is_dir()


def check_validation_is_lost(store: CheckpointStore) -> None:
    """The newest checkpoint is used, and its validation is to be done again; this is told."""
    with told() as texts:
        good = store.newest_good()
        assert good is not None
        assert store.load_validation(good) is None
    assert step_in(store, good) == 2
    assert any("validation.json" in text for text in texts), texts


def check_change(file: str, content: bytes) -> None:
    """Another content of a file of ``two`` is noticed, and survived."""
    with store_with({**undamaged(), f"two/{file}": content}) as store:
        if file == "validation.json":
            check_validation_is_lost(store)
        else:
            check_fallback(store, file)


# ---- bytes ---------------------------------------------------------------------------------------


def flip(file: str, place: int, bits: int) -> None:
    """Change bits of one byte."""
    content = bytearray(undamaged()[f"two/{file}"])
    content[place] ^= bits
    check_change(file, bytes(content))


def drill_flips(file: str, *, long: bool, seed: int) -> Row:
    """One bit of each byte, or of some, at random."""
    dice = random.Random(f"{seed} {file}")
    places = range(len(undamaged()[f"two/{file}"]))
    if not long:
        places = sorted(dice.sample(places, NUM_SAMPLED))
    return tally(
        f"bit flipped in {file}", flip, [(file, n, 1 << dice.randrange(8)) for n in places]
    )


def cut(file: str, length: int) -> None:
    """Keep the beginning only."""
    check_change(file, undamaged()[f"two/{file}"][:length])


def drill_cuts(*, long: bool) -> Row:
    """Truncate each file, to each length or to some."""
    lengths = {file: len(undamaged()[f"two/{file}"]) for file in FILES}
    arguments = [
        (file, length)
        for file, whole in lengths.items()
        for length in (range(whole) if long else (0, 1, whole // 2, whole - 1))
    ]
    return tally("file truncated", cut, arguments)


def extend(file: str) -> None:
    """Add a byte."""
    check_change(file, undamaged()[f"two/{file}"] + b" ")


def swap(file: str) -> None:
    """Put the file of another checkpoint in its place."""
    check_change(file, undamaged()[f"one/{file}"])


# ---- files and folders ----------------------------------------------------------------------------


def delete(file: str) -> None:
    """Without one of its files."""
    files = {name: content for name, content in undamaged().items() if name != f"two/{file}"}
    with store_with(files) as store:
        if file != "validation.json":
            check_fallback(store, file)
            return
        good = store.newest_good()
        assert good is not None
        assert step_in(store, good) == 2
        assert store.load_validation(good) is None


def all_damaged() -> None:
    """Nothing is left to go on from: refused, with both names; nothing is moved."""
    files = {name: content[:-1] for name, content in undamaged().items()}
    with store_with(files) as store:
        with pytest.raises(CheckpointError, match=r"every checkpoint(?s:.*)one: (?s:.*)two: "):
            store.newest_good()
        assert sorted(path.name for path in store.root.iterdir()) == ["one", "two"]


def another_format() -> None:
    """A later version wrote it: refused rather than taken for damaged, so that no work is lost silently."""
    with store_with(undamaged()) as store:
        manifest = store.root / "two" / "manifest.json"
        manifest.write_bytes(sealed({**read_sealed(manifest), "format": 99}))
        with pytest.raises(CheckpointError, match="is of format 99"):
            store.newest_good()
        assert sorted(path.name for path in store.root.iterdir()) == ["one", "two"]


def strangers() -> None:
    """What is not ours is left alone and not told of."""
    with store_with(undamaged()) as store:
        (store.root / "empty").mkdir()
        (store.root / "notes").mkdir()
        (store.root / "notes" / "read_me.txt").write_text("mine")
        (store.root / "model.safetensors").write_text("mine")
        (store.root / "two" / "read_me.txt").write_text("mine")
        with told() as texts:
            good = store.newest_good()
        assert good is not None
        assert step_in(store, good) == 2
        assert texts == []
        check_going_on(store.root)
        assert (store.root / "notes" / "read_me.txt").read_text() == "mine"
        assert (store.root / "empty").is_dir()
        assert (store.root / "model.safetensors").read_text() == "mine"


def without_manifest() -> None:
    """Weights in a folder without a manifest are nothing that could be trusted."""
    with store_with({**undamaged(), "zzz/model.safetensors": b"?"}) as store:
        with told() as texts:
            good = store.newest_good()
        assert good is not None
        assert step_in(store, good) == 2
        assert any("zzz is damaged: manifest.json" in text for text in texts), texts
        assert (store.root / "zzz.damaged" / "model.safetensors").read_bytes() == b"?"


def damaged_again() -> None:
    """A name that was set aside before keeps what was set aside then."""
    with store_with(undamaged()) as store:
        shutil.copytree(store.root / "one", store.root / "two.damaged")
        (store.root / "two" / "model.safetensors").unlink()
        store.newest_good()
        assert (store.root / "two.damaged" / "model.safetensors").exists()
        assert not (store.root / "two.damaged2" / "model.safetensors").exists()


WHOLE_CASES: dict[str, Callable[[], None]] = {
    "every checkpoint damaged": all_damaged,
    "checkpoint of another format": another_format,
    "foreign files and folders, empty folder": strangers,
    "folder without a manifest": without_manifest,
    "damaged twice under one name": damaged_again,
}
SWAPPED = [(file,) for file in FILES if file not in ("manifest.json", "validation.json")]


def drills(long: bool, seed: int) -> Iterator[Row]:
    """Every damage."""
    for file in FILES:
        yield drill_flips(file, long=long, seed=seed)
    yield drill_cuts(long=long)
    yield tally("file with a byte too many", extend, [(file,) for file in FILES])
    yield tally("file of another checkpoint", swap, SWAPPED)
    yield tally("file deleted", delete, [(file,) for file in FILES])
    for fault, case in WHOLE_CASES.items():
        yield tally(fault, case, [()])


def test_damage_is_noticed_and_survived():
    rows = list(drills(long=False, seed=1))
    assert [(row.fault, row.detail) for row in rows if row.survived < row.tried] == []
    assert sum(row.tried for row in rows) > 130
