from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from audiozen.cli.main import main
from audiozen.trainer.checkpoint import CheckpointStore
from audiozen.trainer.run_lock import run_lock


def steps(exp_dir: Path) -> list[str]:
    return CheckpointStore(exp_dir / "checkpoints").names()


def test_run_leaves_what_is_promised(trained: Path) -> None:
    exp_dir = Path("exp/baseline")
    assert len(steps(exp_dir)) == 1
    for name in ("config.toml", "environment.json", "metrics/metrics.jsonl", "checkpoints/best"):
        assert (exp_dir / name).exists(), name
    assert list((exp_dir / "logs").iterdir())


def test_starting_over_is_refused_before_anything_happens(
    trained: Path, quick: list[str], capsys: pytest.CaptureFixture
) -> None:
    files = {path: path.stat().st_mtime_ns for path in Path("exp").rglob("*")}
    assert main(["train", str(trained), *quick]) == 2
    message = capsys.readouterr().err
    assert "has checkpoints already" in message
    assert "--resume" in message
    assert "meta.exp_id=" in message
    assert {path: path.stat().st_mtime_ns for path in Path("exp").rglob("*")} == files


def test_another_name_starts_another_run(trained: Path, quick: list[str]) -> None:
    assert main(["train", str(trained), *quick, "meta.exp_id=other"]) == 0
    assert steps(Path("exp/other"))


def test_resume_goes_on(trained: Path, quick: list[str]) -> None:
    run = ["train", str(trained), *quick, "meta.exp_id=resumed"]
    assert main(run) == 0
    assert main([*run, "trainer.args.max_steps=4", "--resume"]) == 0
    assert steps(Path("exp/resumed")) == ["epoch_0001", "epoch_0002"]


def test_changed_run_is_refused_and_its_record_kept_or_goes_on_where_that_is_allowed(
    trained: Path, quick: list[str], capsys: pytest.CaptureFixture
) -> None:
    run = ["train", str(trained), *quick, "meta.exp_id=changed"]
    assert main(run) == 0
    record = Path("exp/changed/config.toml").read_bytes()
    changed = [*run, "trainer.args.max_steps=4", "train_dataset.dataloader.batch_size=5"]
    assert main([*changed, "optimizer.args.lr=0.5", "--resume"]) == 2
    message = capsys.readouterr().err
    assert "train_dataloader.batch_size: was " in message
    assert "is 5" in message
    assert "optimizer.lr: was " in message
    assert Path("exp/changed/config.toml").read_bytes() == record
    assert main([*changed, "--resume", "--allow-changes"]) == 0
    assert Path("exp/changed/config.toml").read_bytes() != record
    assert len(steps(Path("exp/changed"))) == 2


def test_second_run_in_the_same_folder_is_refused_with_who_is_there(
    recipe: Path, quick: list[str], audiozen: Any
) -> None:
    with run_lock(Path("exp/baseline")):
        result = audiozen("train", recipe, *quick)
    assert result.returncode == 2
    assert f"is in use by process {os.getpid()} on " in result.stderr
    assert "Traceback" not in result.stderr
    assert not Path("exp/baseline/config.toml").exists()


def test_full_disk_is_told_without_a_traceback(
    recipe: Path, quick: list[str], audiozen: Any
) -> None:
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    result = audiozen("train", recipe, *quick, preexec_fn=limit)
    assert result.returncode in (1, 2)
    assert "File too large" in result.stderr
    assert "Traceback" not in result.stderr


def test_resume_before_the_first_checkpoint_starts_and_says_so(
    recipe: Path, quick: list[str], capsys: pytest.CaptureFixture
) -> None:
    assert main(["train", str(recipe), *quick, "--resume"]) == 0
    assert "starting from the beginning" in capsys.readouterr().err
    assert steps(Path("exp/baseline"))


def test_all_problems_of_a_configuration_are_told(
    recipe: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["train", str(recipe), "optimizer.args.lrr=1", "trainer.args.max_steps=0"]) == 2
    message = capsys.readouterr().err
    assert "2 problems" in message
    assert "[optimizer.args]" in message
    assert "[trainer.args] max_steps" in message
    assert not Path("exp").exists()


def test_profile_is_written_and_told_and_changes_nothing(
    recipe: Path, quick: list[str], capsys: pytest.CaptureFixture
) -> None:
    run = [
        "train",
        str(recipe),
        *quick,
        "trainer.args.max_steps=8",
        "train_dataset.args.num_signals=64",
    ]
    assert main([*run, "meta.exp_id=plain"]) == 0
    assert not Path("exp/plain/profile").exists()
    capsys.readouterr()
    assert main([*run, "meta.exp_id=profiled", "--profile"]) == 0
    trace = Path("exp/profiled/profile/trace.json")
    assert f"profile: open {trace} in https://ui.perfetto.dev" in capsys.readouterr().err
    events = json.loads(trace.read_text())["traceEvents"]
    assert {"step", "data", "forward", "backward", "optimizer"} <= {e["name"] for e in events}
    assert trace.with_name("operators.txt").is_file()
    weights = [
        Path(f"exp/{name}/checkpoints/latest/model.safetensors").read_bytes()
        for name in ("plain", "profiled")
    ]
    assert weights[0] == weights[1]


def test_training_needs_data(recipe: Path, capsys: pytest.CaptureFixture) -> None:
    text = recipe.read_text()
    start, end = text.index("[train_dataset]"), text.index("[[validate_dataset]]")
    recipe.write_text(text[:start] + text[end:])
    assert main(["train", str(recipe)]) == 2
    assert "[train_dataset] missing" in capsys.readouterr().err


def test_signal_stops_with_75_and_resume_ends_the_run(
    recipe: Path, quick: list[str], audiozen
) -> None:
    run = ["train", str(recipe), *quick]
    command = [sys.executable, "-m", "audiozen", *run, "trainer.args.max_steps=100000"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: steps(Path("exp/baseline")))
        process.send_signal(signal.SIGTERM)
        _, message = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "everything is saved" in message
    assert "Traceback" not in message

    following = int(steps(Path("exp/baseline"))[-1].split("_")[1]) + 1
    settings = ["trainer.args.max_steps=100000", f"trainer.args.max_epochs={following}"]
    result = audiozen(*run, *settings, "--resume")
    assert result.returncode == 0, result.stderr
    assert steps(Path("exp/baseline"))[-1] == f"epoch_{following:04d}"


def wait_for(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within a minute"
        time.sleep(0.2)
