"""The command as it is typed. What workers do is tested in tests/sweep."""

from __future__ import annotations

from pathlib import Path

import pytest

from audiozen.cli.main import main
from audiozen.tables.files import read_csv

SPACE = '"optimizer.args.lr" = {low = 1e-4, high = 1e-2, log = true}\n'


@pytest.fixture
def sweep(recipe: Path, quick: list[str]) -> list[str]:
    """The command, for two trials of the small recipe."""
    (recipe.parent / "sweep.toml").write_text(SPACE)
    return ["sweep", str(recipe), *quick, "--trials", "2"]


def test_trials_are_runs_that_are_listed_and_the_best_trains_on(
    sweep: list[str], capsys: pytest.CaptureFixture
) -> None:
    assert main(sweep) == 0
    output = capsys.readouterr()
    table = output.out.splitlines()
    assert table[0] == "2 trials: 2 done"
    assert table[2].split() == ["rank", "trial", "state", "si_sdr", "↑", "lr", "steps", "took"]
    records = read_csv("exp/baseline_sweep/sweep.csv")
    assert [record["trial"] for record in records] == [line.split()[1] for line in table[4:]]
    assert records[0]["score"] > records[1]["score"]
    assert Path("exp/baseline_sweep/sweep.svg").read_text().startswith("<svg ")

    assert main(["runs", "exp/baseline_sweep"]) == 0
    assert capsys.readouterr().out.count(" done ") == 2
    *_, command = output.err.splitlines()
    words = command.partition("audiozen ")[2].split()
    assert words[-1] == "trainer.args.max_steps=4"
    assert main(words) == 0
    assert Path("exp/baseline_sweep_best/checkpoints/best").exists()

    files = {path: path.stat().st_mtime_ns for path in Path("exp").rglob("trial_*/**/*")}
    assert files
    capsys.readouterr()
    assert main([*sweep, "--show"]) == 0
    assert capsys.readouterr().out == output.out
    assert main([*sweep[:2], "--show"]) == 0
    assert {path: path.stat().st_mtime_ns for path in Path("exp").rglob("trial_*/**/*")} == files


def test_other_spaces_are_other_sweeps(
    sweep: list[str], recipe: Path, capsys: pytest.CaptureFixture
) -> None:
    sweep[-1] = "1"
    assert main(sweep) == 0
    (recipe.parent / "sweep.toml").write_text(SPACE.replace("1e-4", "1e-3"))
    assert main(sweep) == 2
    message = capsys.readouterr().err
    assert "exp/baseline_sweep is the folder of another sweep" in message
    assert "space.optimizer.args.lr.low: 0.0001 there, 0.001 now" in message
    assert main([*sweep, "--space", str(recipe.parent / "none.toml")]) == 2
    (recipe.parent / "sweep.toml").rename(recipe.parent / "higher.toml")
    assert main([*sweep, "--space", str(recipe.parent / "higher.toml")]) == 0
    assert Path("exp/baseline_higher/trial_0000").is_dir()


def test_settings_that_scores_depend_on_are_kept_and_others_are_free(
    sweep: list[str], capsys: pytest.CaptureFixture
) -> None:
    sweep[-1] = "1"
    assert main(sweep) == 0
    assert main([*sweep, "train_dataset.dataloader.num_workers=1"]) == 0
    assert main([*sweep, "trainer.args.max_grad_norm=1.0"]) == 2
    assert "trainer.args.max_grad_norm: 5.0 there, 1.0 now" in capsys.readouterr().err


def test_all_problems_are_told_before_anything_is_written(
    sweep: list[str], recipe: Path, capsys: pytest.CaptureFixture
) -> None:
    (recipe.parent / "sweep.toml").write_text(
        "optimizer.args.lrr = [1]\nmodel.args.hidden_size = ['a']\n"
    )
    assert main(sweep) == 2
    message = capsys.readouterr().err
    assert "2 problems" in message
    assert "unknown key lrr; did you mean 'lr'?" in message
    assert "hidden_size: expected an integer, got 'a'" in message
    assert not Path("exp").exists()


def test_space_that_is_not_there_is_told(recipe: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["sweep", str(recipe)]) == 2
    assert "sweep.toml does not exist" in capsys.readouterr().err


def test_showing_nothing_is_refused(sweep: list[str], capsys: pytest.CaptureFixture) -> None:
    assert main([*sweep, "--show"]) == 2
    assert "exp/baseline_sweep has no trials yet; start the sweep first" in capsys.readouterr().err


def test_torchrun_is_refused_with_what_to_do(
    sweep: list[str], capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(sweep) == 2
    assert "start audiozen sweep without torchrun, once for each GPU" in capsys.readouterr().err


def test_missing_package_is_told(
    sweep: list[str], capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audiozen.cli.sweep.find_spec", lambda _: None)
    assert main(sweep) == 2
    assert "pip install 'audiozen[sweep]'" in capsys.readouterr().err
