from __future__ import annotations

import pytest

from audiozen.durable_files import make_folder, point, remove_folder, replace_file, replaced


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
    folder.mkdir()
    seen = []
    monkeypatch.setattr("shutil.rmtree", lambda path: seen.append((path.name, folder.exists())))
    remove_folder(folder)
    assert seen == [(".epoch_0001.removed", False)]
