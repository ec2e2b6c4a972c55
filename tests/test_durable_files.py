from __future__ import annotations

import os
import subprocess
from types import SimpleNamespace

import pytest

from audiozen import durable_files
from audiozen.durable_files import (
    make_folder,
    make_folders,
    point,
    remove_folder,
    replace_file,
    replaced,
    sweep,
    write_file,
    writer,
)


def record(monkeypatch) -> list[tuple]:
    """Operations of the module from here on: their names, and the names of the files."""
    calls = []

    def recorded(name):
        def call(*args):
            words = [getattr(arg, "name", arg) for arg in args]
            calls.append((name, *words))
            return getattr(os, name)(*args)

        return call

    names = [name for name in dir(os) if not name.startswith("_")]
    recording = {n: recorded(n) if callable(getattr(os, n)) else getattr(os, n) for n in names}
    monkeypatch.setattr(durable_files, "os", SimpleNamespace(**recording))
    return calls


def test_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "new" / "a.txt"
    replace_file(path, b"one")
    replace_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_file_stays_as_it_was_where_the_block_fails(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")

    def fail_half_way() -> None:
        with replaced(path) as partial:
            partial.write_bytes(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        fail_half_way()
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_link_is_moved_and_can_be_followed(tmp_path):
    for name in ("one", "two"):
        make_folder(tmp_path / name)
        point(tmp_path / "latest", name)
        assert (tmp_path / "latest").resolve() == tmp_path / name
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latest", "one", "two"]


def test_folder_that_is_there_is_not_made_again(tmp_path):
    with pytest.raises(FileExistsError):
        make_folder(tmp_path)


def test_removed_folder_loses_its_name_first(tmp_path, monkeypatch):
    folder = tmp_path / "epoch_0001"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "link").symlink_to("elsewhere")
    calls = record(monkeypatch)
    remove_folder(folder)
    assert calls[0] == ("replace", "epoch_0001", ".epoch_0001.removed")
    assert not list(tmp_path.iterdir())


def test_new_folders_are_flushed_into_those_above_them(tmp_path, monkeypatch):
    calls = record(monkeypatch)
    make_folders(tmp_path / "one" / "two")
    opened = [call for call in calls if call[0] in ("mkdir", "open")]
    assert [name for _, name, *_ in opened] == ["one", tmp_path.name, "two", "one"]
    assert [call[0] for call in calls].count("fsync") == 2


def test_short_writes_are_gone_on_with(tmp_path, monkeypatch):
    content = os.urandom(5000)
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:777]))
    write_file(tmp_path / "a", content[:10], content[10:])
    assert (tmp_path / "a").read_bytes() == content


def test_leftovers_of_writers_that_are_gone_are_swept(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    names = [
        f".a.txt.{writer(gone.pid)}.partial",
        f".a.txt.{writer(os.getpid())}.partial",
        f".a.txt.{gone.pid}-elsewhere.partial",
        "a.txt",
        ".note.partial",
    ]
    for name in names:
        (tmp_path / name).write_text("")
    sweep(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names[1:])
