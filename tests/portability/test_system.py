"""Small differences between systems, one by one."""

from __future__ import annotations

import errno
import io
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from audiozen import durable_files
from audiozen.cli.main import main
from audiozen.data.manifest import Entry, line_of
from audiozen.experiment import Experiment
from audiozen.processes.memory import peak_memory
from audiozen.run_folder import file_name
from audiozen.system import shell
from audiozen.system.files import READ, read_at, read_into
from audiozen.system.locks import is_locked, lock, unlock
from audiozen.system.signals import is_running, known_signals

ROOT = Path(__file__).parents[2]


@pytest.fixture
def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without symbolic links, such as exFAT."""

    def refuse(source: object, target: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted", target)

    monkeypatch.setattr(os, "symlink", refuse)


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    for name in ("epoch_0001", "epoch_0002"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.mark.usefixtures("no_links")
def test_link_is_a_small_file_where_there_are_none(checkpoints: Path) -> None:
    best = checkpoints / "best"
    for name in ("epoch_0001", "epoch_0002"):
        durable_files.point(best, name)
        assert best.read_bytes() == name.encode()
        assert durable_files.target_of(best) == (checkpoints / name).resolve()


def test_link_takes_the_place_of_a_small_file_and_the_other_way_round(
    checkpoints: Path, request: pytest.FixtureRequest
) -> None:
    best = checkpoints / "best"
    best.write_text("epoch_0001")
    durable_files.point(best, "epoch_0002")
    assert best.is_symlink()
    request.getfixturevalue("no_links")
    durable_files.point(best, "epoch_0001")
    assert best.read_text() == "epoch_0001"


def test_path_that_is_no_link_refers_to_itself(checkpoints: Path) -> None:
    for name in ("epoch_0001", "missing"):
        assert durable_files.target_of(checkpoints / name) == (checkpoints / name).resolve()


def test_full_disk_is_no_reason_for_a_small_file(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "symlink", refuse)
    with pytest.raises(OSError, match="No space"):
        durable_files.point(checkpoints / "best", "epoch_0001")
    assert not (checkpoints / "best").exists()


def test_files_are_read_at_any_place(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    descriptor = os.open(path, READ)
    try:
        assert read_at(descriptor, 3, 4) == b"456"
        buffer = bytearray(4)
        assert read_into(descriptor, memoryview(buffer), 8) == 2
        assert buffer == b"89\0\0"
    finally:
        os.close(descriptor)


def test_lock_of_another_process_is_seen_and_respected(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    program = (
        "import os, sys; from audiozen.system.locks import lock\n"
        "descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)\n"
        "lock(descriptor, wait=True); print('locked', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"locked\n"
        descriptor = os.open(path, os.O_RDWR)
        assert is_locked(descriptor)
        with pytest.raises((BlockingIOError, PermissionError)):
            lock(descriptor, wait=False)
        other.communicate(b"\n")
    assert not is_locked(descriptor)
    lock(descriptor, wait=False)
    unlock(descriptor)
    os.close(descriptor)


def test_signals_are_those_that_there_are() -> None:
    assert known_signals("SIGTERM", "SIGBREAK", "SIGINT") == (signal.SIGTERM, signal.SIGINT)


def test_processes_run_until_they_end() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert is_running(process.pid)
        process.communicate(b"\n")
    assert not is_running(process.pid)
    assert is_running(os.getpid())


def test_memory_at_most_is_more_than_the_interpreter_takes() -> None:
    assert 10 * 2**20 < peak_memory() < 2**40


@pytest.mark.parametrize("path", ["a", "my recipe/a.toml", "it's", "$HOME", ""])
def test_paths_are_quoted_for_a_shell(path: str) -> None:
    assert shlex.split(f"audiozen train {shell.quoted(path)}") == ["audiozen", "train", path]


def test_characters_that_a_terminal_lacks_look_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding="cp1252"))
    shell.forgive_characters()
    print("\N{GREEK SMALL LETTER ALPHA} ── ± ↑", flush=True)
    assert printed.getvalue().decode("cp1252").strip() == "? -- ± ^"


def test_errors_of_a_stream_that_somebody_chose_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="xmlcharrefreplace")
    monkeypatch.setattr(sys, "stdout", stream)
    shell.forgive_characters()
    assert stream.errors == "xmlcharrefreplace"


DEVICES = {
    "CON",
    "PRN",
    "AUX",
    "NUL",
    *(f"{kind}{n}" for kind in ("COM", "LPT") for n in "0123456789"),
}


@given(st.one_of(st.text(max_size=9), st.sampled_from(sorted(DEVICES)).map(str.lower)))
@example("nul.x")
@example("Com1")
@example("ends.")
@example("ends ")
def test_file_names_are_good_on_windows(text: str) -> None:
    name = file_name(text.encode(errors="replace").decode())
    assert name.split(".")[0].upper() not in DEVICES
    assert not name.endswith((".", " "))
    assert not set(name) & set('<>:"/\\|?*')


def test_path_of_windows_in_single_quotes_is_taken_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "platforms.md").read_text()
    assert main(["new", "my recipe"]) == 0
    Path("on_windows.toml").write_text(page.split("```toml\n")[1].split("```")[0])
    config = Experiment.from_file("on_windows.toml").config
    assert str(config.meta.save_dir) == r"D:\experiments"


def test_sound_on_another_drive_has_its_whole_path_in_a_manifest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(path: object, start: object) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", refuse)
    entry = Entry("a", Path("/sound/a.wav"), 16_000, 100, {})
    assert '"path": "/sound/a.wav"' in line_of(entry, Path("/corpus"))
