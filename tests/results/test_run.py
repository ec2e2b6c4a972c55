from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from audiozen.errors import AudioZENError, RequestError
from audiozen.results.run import Run, find_runs
from audiozen.tables.files import write_csv
from tests.results.locked import locked_by_another


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Folder of a run of which nothing but the settings is there."""
    folder = tmp_path / "exp" / "baseline"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text("[trainer.args]\n")
    return folder


def write_status(folder: Path, state: str) -> None:
    (folder / "status.json").write_text(json.dumps({"state": state, "message": ""}))


# ---- state -------------------------------------------------------------------------------


@pytest.mark.parametrize("stated", ["done", "stopped", "failed"])
def test_state_is_what_the_run_said_last(root: Path, stated: str) -> None:
    assert Run(root).state == "new"
    write_status(root, stated)
    assert Run(root).state == stated


def test_run_that_has_its_lock_is_running_and_one_that_was_killed_has_failed(root: Path) -> None:
    write_status(root, "running")
    with locked_by_another(root) as process:
        assert Run(root).state == "running"
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert Run(root).state == "failed"


def test_lock_is_looked_at_and_not_taken(root: Path) -> None:
    lock = root / ".lock"
    lock.touch()
    lock.chmod(stat.S_IRUSR)  # to be looked at by those who may not write there, too
    program = "import sys; from audiozen.results.run import Run; print(Run(sys.argv[1]).state)"
    traced = subprocess.run(
        [sys.executable, "-c", f"import fcntl; fcntl.lockf = None\n{program}", str(root)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert traced.stdout == "new\n"


def test_state_is_believed_where_there_are_no_locks(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_status(root, "running")
    (root / ".lock").touch()
    assert Run(root).state == "failed"

    def refuse(*_: object) -> bytes:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.fcntl", refuse)
    assert Run(root).state == "running"


# ---- what is in the files ----------------------------------------------------------------


def test_run_of_which_nothing_is_there_yet_has_nothing(root: Path) -> None:
    run = Run(root)
    assert run.name == "baseline"
    assert run.environment == run.complexity == run.status == {}
    assert run.step is run.epoch is run.best_score is run.best_checkpoint is run.best_metric is None
    assert run.higher_is_better
    assert run.scalars() == []
    assert run.tables() == run.tables("valid") == {}
    assert run.sounds("a") == {}


def test_name_is_that_of_the_folder_also_from_inside(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    assert Run(".").name == "baseline"


def test_settings_of_the_score_are_read(root: Path) -> None:
    (root / "config.toml").write_text(
        '[trainer.args]\nbest_metric = "wer"\nhigher_is_better = false\n'
    )
    assert (Run(root).best_metric, Run(root).higher_is_better) == ("wer", False)


def make_checkpoint(root: Path, name: str, manifest: object, validation: object) -> None:
    folder = root / "checkpoints" / name
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "validation.json").write_text(json.dumps(validation))


def test_progress_is_of_the_latest_checkpoint_and_the_score_of_the_best(root: Path) -> None:
    make_checkpoint(root, "epoch_0001", {"step": 10, "epoch": 1}, {"outcome": {"score": 2.5}})
    make_checkpoint(root, "epoch_0002", {"step": 20, "epoch": 2}, {"outcome": {"score": 1.5}})
    (root / "checkpoints" / "latest").symlink_to("epoch_0002")
    (root / "checkpoints" / "best").symlink_to("epoch_0001")
    run = Run(root)
    assert (run.step, run.epoch, run.best_score) == (20, 2, 2.5)
    assert run.best_checkpoint == "epoch_0001"


@pytest.mark.parametrize(
    "validation", [{}, {"outcome": 3}, {"outcome": {"score": {"$float": "nan"}}}]
)
def test_checkpoint_without_a_score_has_none(root: Path, validation: object) -> None:
    make_checkpoint(root, "best", {}, validation)
    assert Run(root).best_score is None


def test_tables_are_those_of_the_stage(root: Path) -> None:
    make_checkpoint(root, "epoch_0002", {}, {})
    (root / "checkpoints" / "best").symlink_to("epoch_0002")
    for number, name in enumerate(["test", "valid_epoch_0001", "valid_epoch_0002"]):
        write_csv(root / "metrics" / f"{name}.csv", [{"id": "a", "stoi": number / 4}])
    assert Run(root).tables() == {"test": [{"id": "a", "stoi": 0.0}]}
    assert list(Run(root).tables("valid").values()) == [[{"id": "a", "stoi": 0.5}]]


def test_sounds_of_a_signal_go_from_what_went_in_to_what_came_out(root: Path) -> None:
    for role in ("clean", "another/one", "noisy"):
        sound = Run(root).folder.sound(role, "p232/001")
        sound.parent.mkdir(parents=True)
        sound.touch()
    enhanced = Run(root).folder.sound("enhanced", "p232/001", "seen")
    enhanced.parent.mkdir(parents=True)
    enhanced.touch()
    assert list(Run(root).sounds("p232/001", "seen")) == [
        "noisy",
        "enhanced",
        "clean",
        "another/one",
    ]
    assert list(Run(root).sounds("p232/001")) == ["noisy", "clean", "another/one"]


@pytest.mark.parametrize(
    ("file", "content", "ask"),
    [
        ("config.toml", "[trainer", "best_metric"),
        ("config.toml", "trainer = 3", "best_metric"),
        ("config.toml", "trainer = {args = 3}", "higher_is_better"),
        ("status.json", "{", "state"),
        ("environment.json", b"\xff", "environment"),
        ("complexity.json", "", "complexity"),
        ("checkpoints/latest/manifest.json", '{"step": "ten"}', "step"),
    ],
)
def test_damage_is_told_with_the_file(
    root: Path, file: str, content: str | bytes, ask: str
) -> None:
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(AudioZENError, match=rf"{path.name}.*(cannot be read|is no)"):
        getattr(Run(root), ask)


# ---- finding -----------------------------------------------------------------------------


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="nowhere: no such folder; expected that of a run"):
        Run(tmp_path / "nowhere")
    with pytest.raises(RequestError, match=r"is not the folder of a run.*nor checkpoints$"):
        Run(tmp_path)
    (tmp_path / "one" / "checkpoints").mkdir(parents=True)
    with pytest.raises(RequestError, match=r"nor checkpoints; in it there are .*/one$"):
        Run(tmp_path)
    with pytest.raises(RequestError, match="nowhere: no such folder; expected one with"):
        find_runs(tmp_path / "nowhere")


def test_runs_are_found_by_path_at_any_depth_and_not_inside_of_runs(tmp_path: Path) -> None:
    for name in ("b", "a/2", "a/1", "b/inside", ".hidden", "a/none"):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
    (tmp_path / "a" / "none" / "checkpoints").rmdir()
    (tmp_path / "link").symlink_to("b")
    found = find_runs(tmp_path)
    assert [str(run.root.relative_to(tmp_path)) for run in found] == ["a/1", "a/2", "b"]
    assert [run.root for run in find_runs(tmp_path / "b")] == [tmp_path / "b"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look into every folder")
def test_folders_that_cannot_be_looked_into_are_passed_over(root: Path) -> None:
    closed = root.parent / "closed"
    closed.mkdir(mode=0)
    try:
        assert [run.name for run in find_runs(root.parent)] == ["baseline"]
    finally:
        closed.chmod(0o700)


def test_reading_a_run_takes_no_torch(root: Path) -> None:
    program = (
        "import sys; from audiozen.results.run import Run; run = Run(sys.argv[1])\n"
        "run.state, run.best_score, run.tables(), run.scalars(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program, root], check=False).returncode == 0
