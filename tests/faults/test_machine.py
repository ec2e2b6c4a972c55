"""The machine fails: whole runs on disks that are full or read-only, in folders that are taken, moved or renamed."""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from audiozen.data import slots
from audiozen.trainer.checkpoint import CheckpointStore, read_sealed, sealed
from tests.faults.kills import warm_up
from tests.faults.small_run import (
    NUM_EPOCHS,
    STEPS_PER_EPOCH,
    Child,
    Ended,
    check_whole,
    in_child,
    outcome,
    train,
)
from tests.faults.table import NotPossibleError, Row, tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LAST_STEP = NUM_EPOCHS * STEPS_PER_EPOCH
EPOCHS = [f"epoch_{epoch:04d}" for epoch in range(1, NUM_EPOCHS + 1)]
PATIENCE = 30.0


@cache
def undisturbed() -> dict[str, Any]:
    """What a run leaves behind to which nothing happens."""
    with tempfile.TemporaryDirectory() as folder:
        ended = in_child(lambda: train(Path(folder) / "run"))
        assert ended.code == 0, ended.text
        check_whole(Path(folder) / "run", *EPOCHS)
        return outcome(Path(folder) / "run")


def resume(exp_dir: Path) -> None:
    """Go on to the end, and compare with the run to which nothing happened."""
    ended = in_child(lambda: train(exp_dir))
    assert ended.code == 0, ended.text
    check_same(exp_dir)


def check_same(exp_dir: Path) -> None:
    """All is as if nothing had happened."""
    found, expected = outcome(exp_dir), undisturbed()
    different = [k for k in sorted({*found, *expected}) if found.get(k) != expected.get(k)]
    assert not different, f"differ from those of an undisturbed run: {different}"


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Look every few milliseconds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"waited in vain until {what}"
        time.sleep(0.005)


def kill_oneself() -> None:
    """The end, at once."""
    os.kill(os.getpid(), signal.SIGKILL)


# ---- disks of our own -------------------------------------------------------------------------------

CLONE_NEWNS = 0x00020000
MS_RDONLY, MS_REMOUNT, MS_REC, MS_PRIVATE = 1, 32, 16384, 1 << 18
NOT_POSSIBLE = 77
"""Exit code of a child that may not mount."""


def system_call(name: str, *args: Any) -> None:
    """A function of the C library that returns 0 if all is well."""
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*args) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def mount_memory(folder: Path, size: str) -> None:
    """A disk in memory, that only this process and its children see and that ends with them."""
    try:
        system_call("unshare", CLONE_NEWNS)
        system_call("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)
        system_call("mount", b"none", bytes(folder), b"tmpfs", 0, f"size={size}".encode())
    except PermissionError as error:
        sys.stderr.write(str(error))
        sys.stderr.flush()
        os._exit(NOT_POSSIBLE)


def in_child_that_mounts(work: Callable[[], object]) -> Ended:
    """As :func:`in_child`, where mounting may be denied."""
    ended = in_child(work)
    if ended.code == NOT_POSSIBLE:
        raise NotPossibleError(ended.text)
    return ended


def on_disk_of(size: str, work: Callable[[Path], None]) -> None:
    """Do something on a small disk, in a child."""
    undisturbed()  # so that each child need not find out
    with tempfile.TemporaryDirectory() as folder:
        disk = Path(folder) / "disk"
        disk.mkdir()

        def mount_and_work() -> None:
            mount_memory(disk, size)
            work(disk)

        ended = in_child_that_mounts(mount_and_work)
        assert ended.code == 0, ended.text


def fill(disk: Path) -> None:
    """Leave no space."""
    try:
        with (disk / "ballast").open("ab") as file:
            while True:
                file.write(bytes(4096))
                file.flush()
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise


def disk_full_for_a_while() -> None:
    """One checkpoint cannot be saved: told at once, training goes on, and the others are there."""

    def work(disk: Path) -> None:
        first = STEPS_PER_EPOCH + 1
        events = {first: lambda: fill(disk), first + 3: (disk / "ballast").unlink}
        ended = in_child(lambda: train(disk / "run", events))
        assert ended.code == 0, ended.text
        assert_told(ended, "epoch_0002 could not be written", "No space left on device")
        check_same_but_saved(disk / "run", EPOCHS[0], EPOCHS[2])

    on_disk_of("4m", work)


def check_same_but_saved(exp_dir: Path, *expected: str) -> None:
    """As :func:`check_same`, where not all checkpoints could be written."""
    check_whole(exp_dir, *expected)
    found = outcome(exp_dir)["model.safetensors"]
    assert found == undisturbed()["model.safetensors"]


def assert_told(ended: Ended, *texts: str) -> None:
    """The user was told; lines of a terminal may break anywhere."""
    said = "".join(ended.text.split())
    for text in texts:
        assert "".join(text.split()) in said, f"{text!r} was not told in:\n{ended.text}"


def disk_full_at_the_end() -> None:
    """The last checkpoint cannot be saved: exit code 1; with space again, the run is resumed."""

    def work(disk: Path) -> None:
        ended = in_child(lambda: train(disk / "run", {LAST_STEP: lambda: fill(disk)}))
        assert ended.code == 1, ended.text
        assert_told(ended, "epoch_0003 could not be written", "error: ")
        check_whole(disk / "run", *EPOCHS[:2])
        (disk / "ballast").unlink()
        resume(disk / "run")

    on_disk_of("4m", work)


def disk_full_until_the_last_moment() -> None:
    """The last checkpoint can be saved only after its validation: that validation counts, as any other."""

    def work(disk: Path) -> None:
        class MakesRoom(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                if "score" in record.getMessage():
                    (disk / "ballast").unlink(missing_ok=True)

        def fill_until_the_score() -> None:
            fill(disk)
            logging.getLogger("audiozen").addHandler(MakesRoom())

        ended = in_child(lambda: train(disk / "run", {LAST_STEP: fill_until_the_score}))
        assert ended.code == 0, ended.text
        assert_told(ended, "epoch_0003 could not be written")
        resume(disk / "run")

    on_disk_of("4m", work)


def files_limited() -> None:
    """No file may grow beyond a few kilobytes from the second epoch on: as a full disk."""
    with tempfile.TemporaryDirectory() as folder:
        exp_dir = Path(folder) / "run"

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, resource.RLIM_INFINITY))

        ended = in_child(lambda: train(exp_dir, {STEPS_PER_EPOCH + 1: limit}))
        assert ended.code == 1, ended.text
        assert_told(ended, "epoch_0002 could not be written", "File too large")
        check_whole(exp_dir, EPOCHS[0])
        resume(exp_dir)


def no_descriptors_for_a_while() -> None:
    """All file descriptors are taken while the second epoch is saved: told, and training goes on."""
    taken: list[int] = []

    def take() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
        try:
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise

    def release() -> None:
        while taken:
            os.close(taken.pop())

    with tempfile.TemporaryDirectory() as folder:
        exp_dir = Path(folder) / "run"
        first = STEPS_PER_EPOCH + 1
        ended = in_child(lambda: train(exp_dir, {first: take, first + 3: release}))
        assert ended.code == 0, ended.text
        assert_told(ended, "epoch_0002 could not be written", "Too many open files")
        check_same_but_saved(exp_dir, EPOCHS[0], EPOCHS[2])


def read_only_folder() -> None:
    """Nothing can be written: refused before anything is trained, with the folder's name."""

    def work(disk: Path) -> None:
        ended = in_child(lambda: train(disk / "run", {STEPS_PER_EPOCH + 1: kill_oneself}))
        assert ended.code == -signal.SIGKILL
        flags = MS_REMOUNT | MS_RDONLY
        system_call("mount", b"none", bytes(disk), b"tmpfs", flags, None)
        check_refused(disk / "run", "Read-only file system")
        check_refused(disk / "other", "Read-only file system")
        check_whole(disk / "run", EPOCHS[0])

    on_disk_of("4m", work)


def check_refused(exp_dir: Path, *texts: str) -> None:
    """Nothing is trained: exit code 2, with the folder and these texts."""
    ended = in_child(lambda: train(exp_dir, {STEPS_PER_EPOCH + 1: kill_oneself}))
    assert ended.code == 2, ended.text
    assert_told(ended, str(exp_dir), *texts)


# ---- folders ----------------------------------------------------------------------------------------


def two_runs_in_one_folder() -> None:
    """The second is refused and names the first. The lock of a killed run is free at once, whoever survives it."""
    with tempfile.TemporaryDirectory() as folder:
        exp_dir, started = Path(folder) / "run", Path(folder) / "started"

        def stand_still() -> None:
            started.touch()
            time.sleep(2 * PATIENCE)

        first = Child(lambda: train(exp_dir, {STEPS_PER_EPOCH + 1: stand_still}, num_workers=1))
        wait_until(started.exists, "the first run trains")
        workers = children_of(first.pid)
        assert workers
        second = in_child(lambda: train(exp_dir))
        assert second.code == 2, second.text
        assert_told(
            second, str(exp_dir), f"process {first.pid} on {os.uname().nodename}", "started 20"
        )
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)  # so that they cannot notice that their run is gone
        first.kill()
        try:
            resume(exp_dir)
        finally:
            for worker in workers:
                os.kill(worker, signal.SIGKILL)


def children_of(process: int) -> list[int]:
    """Processes that a process has started."""
    return [int(n) for n in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def interrupted(exp_dir: Path) -> None:
    """A run that is killed in its last epoch."""
    ended = in_child(lambda: train(exp_dir, {LAST_STEP - 1: kill_oneself}))
    assert ended.code == -signal.SIGKILL
    check_whole(exp_dir, *EPOCHS[:2])


def clock_set_back() -> None:
    """Times of files and in manifests are in the wrong order: what is newest is told by the step."""
    with tempfile.TemporaryDirectory() as folder:
        exp_dir = Path(folder) / "run"
        interrupted(exp_dir)
        for name, year in zip(EPOCHS[:2], (2040, 1990)):
            manifest = exp_dir / "checkpoints" / name / "manifest.json"
            document = read_sealed(manifest) | {"time": f"{year}-01-01T00:00:00+00:00"}
            manifest.write_bytes(sealed(document))
            then = (year - 1970) * 365 * 86400
            for path in (*manifest.parent.iterdir(), manifest.parent):
                os.utime(path, (then, then))
        assert CheckpointStore(exp_dir / "checkpoints").find("latest").name == EPOCHS[1]
        resume(exp_dir)


def moved_folder() -> None:
    """The experiment is found elsewhere when it goes on."""
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "here" / "run", Path(folder) / "there" / "renamed"
        interrupted(before)
        after.parent.mkdir()
        shutil.move(before, after)
        resume(after)
        for link in ("best", "latest"):
            assert (after / "checkpoints" / link / "model.safetensors").is_file()
        assert not before.exists()


def temporary_folder_elsewhere() -> None:
    """TMPDIR is on another disk, from which nothing could be renamed into its place; nothing is left there."""
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as other,
        tempfile.TemporaryDirectory() as folder,
    ):
        if Path(other).stat().st_dev == Path(folder).stat().st_dev:
            raise NotPossibleError("there is no second disk")

        def elsewhere() -> None:
            os.environ["TMPDIR"], tempfile.tempdir = other, None
            train(Path(folder) / "run")

        ended = in_child(elsewhere)
        assert ended.code == 0, ended.text
        check_same(Path(folder) / "run")
        assert list(Path(other).iterdir()) == []


def odd_path() -> None:
    """The path has spaces and more, and leads through a symbolic link."""
    with tempfile.TemporaryDirectory() as folder:
        real = Path(folder) / "a disk" / "é [1] *"
        real.mkdir(parents=True)
        (Path(folder) / "my runs").symlink_to(real)
        exp_dir = Path(folder) / "my runs" / "first run"
        interrupted(exp_dir)
        resume(exp_dir)
        check_same(real / "first run")


# ---- errors of the system -----------------------------------------------------------------------------


def system_fails(call: str, error: str, count: int) -> None:
    """From the second step on, the n-th system call of each thread fails, below all of our code: told; and an error
    in the end if the last save failed as well.
    """
    with tempfile.TemporaryDirectory() as folder:
        exp_dir, waits = Path(folder) / "run", Path(folder) / "waits"
        attached, trace = Path(folder) / "attached", Path(folder) / "trace"

        def wait_for_strace() -> None:
            waits.touch()
            wait_until(attached.exists, "strace is there")

        child = Child(lambda: train(exp_dir, {2: wait_for_strace}))
        wait_until(waits.exists, "the run trains")
        with fault_of_system(child.pid, f"{call}:error={error}:when={count}", trace):
            attached.touch()
            ended = child.wait()
        assert "INJECTED" in trace.read_text(), "there were fewer calls"
        assert ended.code in (0, 1), ended.text
        assert "Traceback" not in ended.text, ended.text
        assert_told(ended, os.strerror(getattr(errno, error)))
        check_whole(exp_dir, *CheckpointStore(exp_dir / "checkpoints").names())
        if ended.code:
            again = in_child(lambda: train(exp_dir))
            assert again.code == 0, again.text
        assert outcome(exp_dir)["model.safetensors"] == undisturbed()["model.safetensors"]


@contextmanager
def fault_of_system(process: int, fault: str, trace: Path) -> Iterator[None]:
    """Let strace answer system calls of a process in the place of the system."""
    if shutil.which("strace") is None:
        os.kill(process, signal.SIGKILL)
        raise NotPossibleError("strace is not installed")
    call = fault.partition(":")[0]
    words = ["strace", "-f", "-o", trace, "-e", f"trace={call}", "-e", f"inject={fault}"]
    with subprocess.Popen(
        [*words, "-p", str(process)], stderr=subprocess.PIPE, text=True
    ) as tracer:
        assert tracer.stderr is not None
        said = tracer.stderr.readline()
        if "attached" not in said:
            os.kill(process, signal.SIGKILL)
            raise NotPossibleError(said.strip())
        yield
        tracer.stderr.read()


# ---- processes ----------------------------------------------------------------------------------------


def worker_killed() -> None:
    """A process that loads data is killed, as by a system that is out of memory: exit code 1, resumed exactly."""
    with tempfile.TemporaryDirectory() as folder:
        exp_dir = Path(folder) / "run"

        def kill_worker() -> None:
            os.kill(children_of(os.getpid())[0], signal.SIGKILL)

        ended = in_child(lambda: train(exp_dir, {STEPS_PER_EPOCH + 1: kill_worker}, num_workers=1))
        assert ended.code == 1, ended.text
        assert_told(ended, "error: ", "worker", "killed")
        check_whole(exp_dir, EPOCHS[0])
        resume(exp_dir)


def shared_memory_full() -> None:
    """Processes with batches too large for a slot find no shared memory: exit code 1, the reason, resumed exactly."""
    with tempfile.TemporaryDirectory() as folder:
        exp_dir, memory = Path(folder) / "run", Path("/dev/shm")

        def mount_and_train() -> None:
            mount_memory(memory, "1m")
            slots.SLOT_SIZE = slots.ALIGNMENT
            # Each, as every batch gives some back.
            steps = range(STEPS_PER_EPOCH + 1, LAST_STEP + 1)
            train(exp_dir, dict.fromkeys(steps, lambda: fill(memory)), num_workers=1)

        ended = in_child_that_mounts(mount_and_train)
        assert ended.code == 1, ended.text
        assert_told(ended, "error: ", "/dev/shm")
        names = CheckpointStore(exp_dir / "checkpoints").names()
        assert names
        check_whole(exp_dir, *EPOCHS[: len(names)])
        resume(exp_dir)


# ---- damage -------------------------------------------------------------------------------------------


def newest_damaged() -> None:
    """A finished run is found with a damaged newest checkpoint: its last epoch is made again."""
    with tempfile.TemporaryDirectory() as folder:
        exp_dir = Path(folder) / "run"
        assert in_child(lambda: train(exp_dir)).code == 0
        file = exp_dir / "checkpoints" / EPOCHS[2] / "model.safetensors"
        file.write_bytes(file.read_bytes()[:-1])
        ended = in_child(lambda: train(exp_dir))
        assert ended.code == 0, ended.text
        assert_told(ended, "epoch_0003 is damaged: model.safetensors", f"{STEPS_PER_EPOCH} steps")
        check_same(exp_dir)
        assert (exp_dir / "checkpoints" / f"{EPOCHS[2]}.damaged").is_dir()


def validation_damaged() -> None:
    """The outcome of the last validation is damaged: it is validated again."""
    with tempfile.TemporaryDirectory() as folder:
        exp_dir = Path(folder) / "run"
        assert in_child(lambda: train(exp_dir)).code == 0
        (exp_dir / "checkpoints" / EPOCHS[2] / "validation.json").write_text("{}")
        ended = in_child(lambda: train(exp_dir))
        assert ended.code == 0, ended.text
        assert_told(ended, "validation.json")
        check_same(exp_dir)


# ---- the table ----------------------------------------------------------------------------------------

CASES: dict[str, Callable[[], None]] = {
    "disk full for a while": disk_full_for_a_while,
    "disk full at the end": disk_full_at_the_end,
    "disk full until the last moment": disk_full_until_the_last_moment,
    "RLIMIT_FSIZE": files_limited,
    "no file descriptors for a while": no_descriptors_for_a_while,
    "read-only folder": read_only_folder,
    "two runs in one folder": two_runs_in_one_folder,
    "clock set back": clock_set_back,
    "folder moved": moved_folder,
    "TMPDIR elsewhere": temporary_folder_elsewhere,
    "odd path": odd_path,
    "worker killed": worker_killed,
    "shared memory full": shared_memory_full,
    "newest checkpoint damaged": newest_damaged,
    "outcome of a validation damaged": validation_damaged,
}
FAILING_CALLS = {"fsync": ("EIO", 9), "rename": ("EIO", 2)}
"""Errors of system calls, and how many of these calls the thread that saves makes at least."""
NUM_SAMPLED = 1


def drills(long: bool, seed: int) -> Iterator[Row]:
    """Each of them once; of the system calls all, or a few, fail in turn."""
    for fault in CASES:
        yield drill(fault, long=long, seed=seed)
    for call in FAILING_CALLS:
        yield drill(call, long=long, seed=seed)


def drill(fault: str, *, long: bool, seed: int) -> Row:
    """One case, or one system call that fails."""
    warm_up()
    if fault in CASES:
        return tally(fault, CASES[fault], [()])
    error, total = FAILING_CALLS[fault]
    places = range(1, total + 1)
    if not long:
        places = random.Random(f"{seed} {fault}").sample(places, NUM_SAMPLED)
    arguments = [(fault, error, place) for place in places]
    return tally(f"system call: {fault} gives {error}", system_fails, arguments)


@pytest.mark.parametrize("fault", [*CASES, *FAILING_CALLS])
def test_fault_of_the_machine_is_told_and_costs_no_checkpoint(fresh_process, fault):
    row = fresh_process.submit(drill, fault, long=False, seed=1).result()
    if not row.tried:
        pytest.skip(row.detail)
    assert row.survived == row.tried, row.detail
