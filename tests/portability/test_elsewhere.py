"""Windows and macOS as far as Linux can play them: the same scores as on Linux, and files that can travel."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from audiozen.cli.main import main
from audiozen.results.run import Run
from audiozen.trainer.checkpoint import CheckpointStore

ROOT = Path(__file__).parents[2]
ELSEWHERE = Path(__file__).with_name("elsewhere.py")

RECIPE = "my recipe/baseline.toml"
SMALL = [
    "train_dataset.args.num_signals=16",
    "validate_dataset.0.args.num_signals=4",
    "test_dataset.0.args.num_signals=4",
]
COMMANDS = [
    ["new", "my recipe"],
    ["train", RECIPE, *SMALL, "trainer.args.max_epochs=1"],
    ["train", RECIPE, *SMALL, "trainer.args.max_epochs=2", "--resume"],
    ["test", RECIPE, *SMALL],
]
REPORT = [["report", "exp/baseline"], ["table", "exp/baseline"]]
SCORE = [
    *("score", "--estimate", "exp/baseline/enhanced", "--reference", "exp/baseline/sounds/clean"),
    *("--metric", "stoi", "--num-workers", "1", "--output", "scores.csv"),
]
WORKER = "train_dataset.dataloader.num_workers=1"


def run_elsewhere(platform: str, folder: Path, commands: list[list[str]]) -> str:
    """What the commands print there, on a terminal that knows cp1252 only."""
    environment = os.environ | {
        "ELSEWHERE": platform,
        "PYTHONIOENCODING": "cp1252",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, ELSEWHERE, json.dumps(commands)],
        cwd=folder,
        env=environment,
        capture_output=True,
        check=False,
    )
    output = (done.stdout + done.stderr).decode("cp1252")
    assert done.returncode == 0, output
    return output


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all was done on Linux."""
    folder = tmp_path_factory.mktemp("here")
    with contextlib.chdir(folder):
        for command in [*COMMANDS, SCORE]:
            assert main(command) == 0
    return folder


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which all was done as on Windows, and what was printed."""
    folder = tmp_path_factory.mktemp("windows")
    commands = [command.copy() for command in COMMANDS]
    commands[2].append(WORKER)
    modules = [["import", "tests.portability.files"]]
    return folder, run_elsewhere("win32", folder, [*commands, SCORE, *REPORT, *modules])


@pytest.fixture(scope="module")
def mac(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which all was done as on macOS, and what was printed."""
    folder = tmp_path_factory.mktemp("mac")
    new, _, resume, test = COMMANDS
    train = resume[:-1]  # both epochs at once, which is the same
    return folder, run_elsewhere("darwin", folder, [new, train, test])


def losses(folder: Path) -> list[dict[str, object]]:
    rows = Run(folder / "exp/baseline").scalars()
    return [{key: row[key] for key in row if key == "step" or "loss" in key} for row in rows]


@pytest.mark.parametrize("elsewhere", ["windows", "mac"])
def test_training_and_scores_are_the_same(
    here: Path, elsewhere: str, request: pytest.FixtureRequest
) -> None:
    there, _ = request.getfixturevalue(elsewhere)
    for name in ("exp/baseline/metrics/test.csv", "exp/baseline/metrics/valid_epoch_0002.csv"):
        assert (there / name).read_bytes() == (here / name).read_bytes()
    assert losses(there) == losses(here)
    weights = "exp/baseline/checkpoints/epoch_0002/model.safetensors"
    assert (there / weights).read_bytes() == (here / weights).read_bytes()


def test_scores_of_spawned_workers_are_the_same(here: Path, windows: tuple[Path, str]) -> None:
    assert (windows[0] / "scores.csv").read_bytes() == (here / "scores.csv").read_bytes()


def test_terminal_with_few_characters_gets_others(windows: tuple[Path, str]) -> None:
    _, output = windows
    assert re.search(r"\nmetric +noisy +enhanced +difference +n +failed\n-{40,}\n", output)
    assert "si_sdr (dB) ^" in output
    assert "Open it in a browser." in output


def test_what_was_trained_on_windows_can_be_tested_and_resumed_here(
    windows: tuple[Path, str],
) -> None:
    folder, _ = windows
    checkpoints = folder / "exp/baseline/checkpoints"
    assert (checkpoints / "best").read_bytes() == b"epoch_0002"
    assert not (checkpoints / "latest").is_symlink()
    run = Run(folder / "exp/baseline")
    assert (run.best_checkpoint, run.step, run.state) == ("epoch_0002", 4, "done")
    found = CheckpointStore(checkpoints).find(checkpoints / "best")
    assert found == checkpoints / "epoch_0002"
    before = (folder / "exp/baseline/metrics/test.csv").read_bytes()
    with contextlib.chdir(folder):
        assert main(["test", RECIPE, *SMALL]) == 0
        assert (folder / "exp/baseline/metrics/test.csv").read_bytes() == before
        assert main(["train", RECIPE, *SMALL, "trainer.args.max_epochs=3", "--resume"]) == 0
    assert (checkpoints / "latest").readlink() == Path("epoch_0003")


def test_files_of_windows_but_for_logs_have_the_line_ends_of_all_others(
    windows: tuple[Path, str],
) -> None:
    text = {".csv", ".json", ".jsonl", ".toml", ".txt", ".py", ".md"}
    files = [path for path in windows[0].rglob("*") if path.suffix in text]
    assert len(files) > 15
    assert [path for path in files if b"\r" in path.read_bytes()] == []
