from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from audiozen.cli.main import main
from audiozen.tables.files import read_csv
from tests.results.locked import locked_by_another


@pytest.fixture(scope="module")
def tested(trained: Path) -> Path:
    """A folder with two real runs, of which one was tested."""
    quick = ["trainer.args.max_steps=2", "trainer.args.num_threads=1"]
    data = [f"{table}.args.num_signals=4" for table in ("validate_dataset.0", "test_dataset.0")]
    small = [
        "train_dataset.args.num_signals=16",
        "meta.save_dir=exp/sweep",
        "meta.exp_id=small",
        "model.args.hidden_size=8",
    ]
    assert main(["test", str(trained), *quick, *data]) == 0
    assert main(["train", str(trained), *quick, *data, *small]) == 0
    return Path("exp")


def table_of(capsys: pytest.CaptureFixture, *arguments: str) -> dict[str, dict[str, object]]:
    capsys.readouterr()
    assert main(["runs", *arguments, "--format", "csv"]) == 0
    Path("runs.csv").write_text(capsys.readouterr().out)
    return {str(row["name"]): row for row in read_csv("runs.csv")}


def test_every_run_has_a_row_with_what_it_reached(
    tested: Path, capsys: pytest.CaptureFixture
) -> None:
    rows = table_of(capsys, "--metric", "si_sdr")
    assert rows.keys() == {"baseline", "sweep/small"}
    for row in rows.values():
        assert row["state"] == "done"
        assert row["best_metric"] == "si_sdr"
        assert isinstance(row["best_score"], float)
        assert (row["step"], row["epoch"]) == (2, 1)
        assert 0 <= row["seconds"] < 300
        assert str(row["started"]).startswith("20")
    assert rows["baseline"]["test_score"] == rows["baseline"]["si_sdr"]
    assert isinstance(rows["baseline"]["si_sdr"], float)
    assert rows["sweep/small"]["test_score"] is None


def test_best_is_the_first(tested: Path, capsys: pytest.CaptureFixture) -> None:
    scores = [row["best_score"] for row in table_of(capsys).values()]
    assert scores == sorted(scores, reverse=True)
    assert list(table_of(capsys, "--sort", "name")) == ["baseline", "sweep/small"]
    assert list(table_of(capsys, "--sort", "date")) == ["sweep/small", "baseline"]


def test_pipe_gets_aligned_text(tested: Path, audiozen) -> None:
    result = audiozen("runs")
    assert result.returncode == 0
    assert result.stderr == ""
    assert "\x1b" not in result.stdout
    lines = result.stdout.splitlines()
    assert lines[0] == "2 runs"
    assert lines[2].split()[:6] == ["name", "state", "metric", "best", "test", "steps"]
    assert {line.split()[0] for line in lines[4:6]} == {"baseline", "sweep/small"}


def test_terminal_gets_colours_and_what_fits(tested: Path) -> None:
    main_end, other_end = pty.openpty()
    environment = {**os.environ, "COLUMNS": "40", "TERM": "xterm"}
    environment.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "audiozen", "runs"]
    subprocess.run(command, stdout=other_end, env=environment, check=True)
    os.close(other_end)
    shown = os.read(main_end, 1 << 16).decode()
    os.close(main_end)
    assert "\x1b[32mdone" in shown
    assert "no room for: " in shown


def test_running_killed_broken_and_empty_ones_are_told(
    tested: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for name in ("running", "killed", "broken"):
        shutil.copytree(tested / "baseline", tmp_path / name, symlinks=True)
        (tmp_path / name / "status.json").write_text(
            '{"state": "running", "started": "2026-08-06T12:00:00+00:00", "ended": null, "message": ""}'
        )
    (tmp_path / "broken" / "config.toml").write_text("[")
    (tmp_path / "no_run").mkdir()
    with locked_by_another(tmp_path / "running"):
        rows = table_of(capsys, str(tmp_path))
    assert {name: row["state"] for name, row in rows.items()} == {
        "running": "running",
        "killed": "failed",
        "broken": "failed",
    }
    assert "config.toml cannot be read" in str(rows["broken"]["message"])
    assert rows["running"]["seconds"] > 0
    assert rows["killed"]["seconds"] is None


def test_training_that_fails_is_a_row_with_its_reason(
    recipe: Path, quick: list[str], audiozen, capsys: pytest.CaptureFixture
) -> None:
    trainer = recipe.parent / "trainer.py"
    trainer.write_text(trainer.read_text().replace("noisy, clean, _ = batch", "batch.shape", 1))
    assert audiozen("train", recipe, *quick).returncode == 1
    (row,) = table_of(capsys, "exp").values()
    assert (row["state"], row["step"]) == ("failed", None)
    assert "AttributeError" in str(row["message"])


def test_folder_without_runs_is_told(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["runs", str(tmp_path)]) == 0
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == f"no runs in {tmp_path}\n"


def test_wrong_requests_exit_with_2(
    tested: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for arguments, message in (
        ([str(tmp_path / "nowhere")], "nowhere: no such folder"),
        (["--sort", "scores"], "no order 'scores'; did you mean 'score'"),
        (["--metric", "stoi"], "no test metric 'stoi'"),
    ):
        assert main(["runs", *arguments]) == 2
        assert message in capsys.readouterr().err


def test_nothing_slow_is_imported(tested: Path) -> None:
    program = (
        "import sys; from audiozen.cli.main import main; assert main(['runs', '--metric', 'si_sdr']) == 0;"
        "print([name for name in ('torch', 'numpy') if name in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stderr == "[]\n"
