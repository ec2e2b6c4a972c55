from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from audiozen.run_folder import MAX_BYTES, RunFolder, file_name


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path)
    folder.metrics.mkdir()
    return folder


def test_places_are_those_of_the_documentation() -> None:
    folder = RunFolder("exp/my_run")
    assert folder.config == Path("exp/my_run/config.toml")
    assert folder.scalars == Path("exp/my_run/metrics/metrics.jsonl")
    assert folder.table("test") == Path("exp/my_run/metrics/test.csv")
    assert folder.table("test", "seen") == Path("exp/my_run/metrics/test_seen.csv")
    assert folder.sound("enhanced", "a/b") == Path("exp/my_run/enhanced/a%2Fb.wav")
    assert folder.sound("noisy", "a", "seen") == Path("exp/my_run/sounds/noisy/seen/a.wav")
    assert folder.profile == Path("exp/my_run/profile")
    assert folder.report == Path("exp/my_run/report/index.html")


def test_tables_are_called_by_their_datasets(folder: RunFolder) -> None:
    for name in ("test_seen.csv", "test_un_seen.csv", "test_seen.txt", "tested.csv", "valid_a.csv"):
        (folder.metrics / name).touch()
    assert folder.tables("test") == {
        "seen": folder.metrics / "test_seen.csv",
        "un_seen": folder.metrics / "test_un_seen.csv",
    }


def test_only_table_is_called_as_the_evaluation(folder: RunFolder) -> None:
    folder.table("test").touch()
    assert folder.tables("test") == {"test": folder.table("test")}
    assert folder.tables("valid_epoch_0001") == {}


@pytest.mark.parametrize(
    ("later", "names"), [("test", ["test"]), ("test_seen", ["seen", "unseen"])]
)
def test_tables_of_the_last_evaluation_count(
    folder: RunFolder, later: str, names: list[str]
) -> None:
    for stem in ("test", "test_seen", "test_unseen"):
        path = folder.metrics / f"{stem}.csv"
        path.touch()
        os.utime(path, (0, 1000 + (stem == later)))
    assert list(folder.tables("test")) == names


def test_tables_of_checkpoints_inside_an_epoch_are_not_those_of_its_end(folder: RunFolder) -> None:
    inside = "valid_epoch_0001_step_00000010"
    for name in (inside, f"{inside}_seen", "valid_epoch_0001_step_one"):
        (folder.metrics / f"{name}.csv").touch()
    assert list(folder.tables("valid_epoch_0001")) == ["step_one"]
    folder.table(inside).unlink()
    assert list(folder.tables(inside)) == ["seen"]


def test_roles_are_called_as_they_were_written(folder: RunFolder) -> None:
    assert folder.roles() == []
    for role in ("noisy", "clean", "speaker 1/2", "100%"):
        folder.sounds(role).mkdir(parents=True)
    (folder.root / "sounds" / "notes.txt").touch()
    assert folder.roles() == ["100%", "clean", "noisy", "speaker 1/2"]
    folder.enhanced.mkdir()
    assert folder.roles()[-1] == "enhanced"


texts = st.text(st.characters(codec="utf-8"))


@given(texts)
@example("..")
@example(".")
@example("")
@example("a/../b")
@example("ä" * 300)
def test_any_text_is_the_name_of_one_file(text: str) -> None:
    name = file_name(text)
    assert 0 < len(name.encode()) <= MAX_BYTES
    assert not set(name) & set('/\\:*?"<>|\0\n')
    assert not name.startswith(".")
    assert Path("folder", name).name == name


@given(texts | st.text("ab%2F/.", max_size=5), texts | st.text("ab%2F/.", max_size=5))
@example("a/b", "a%2Fb")
@example("", "%")
@example("x" * 300 + "1", "x" * 300 + "2")
def test_different_texts_have_different_names(one: str, other: str) -> None:
    assert (file_name(one) == file_name(other)) == (one == other)
