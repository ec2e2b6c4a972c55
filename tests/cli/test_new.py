from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch

from audiozen.cli.main import main
from audiozen.data.audio import write_audio
from audiozen.results.run import Run

FILES = ["README.md", "baseline.toml", "data.py", "model.py", "trainer.py"]


def test_recipe_is_complete_and_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "deep" / "recipe"
    assert main(["new", str(folder)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert f"audiozen train {folder / 'baseline.toml'}" in capsys.readouterr().out


def test_empty_folder_is_taken(tmp_path: Path) -> None:
    assert main(["new", str(tmp_path)]) == 0


def test_folder_with_something_in_it_is_refused_and_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "model.py").write_text("mine")
    assert main(["new", str(tmp_path)]) == 2
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]
    assert "not empty; choose another folder" in capsys.readouterr().err


def test_file_in_the_way_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "recipe").write_text("mine")
    assert main(["new", str(tmp_path / "recipe")]) == 2
    assert "cannot write a recipe" in capsys.readouterr().err


def test_recipe_learns(recipe: Path, capsys: pytest.CaptureFixture) -> None:
    threads = "trainer.args.num_threads=1"
    assert main(["train", str(recipe), threads, "trainer.args.max_epochs=1"]) == 0
    capsys.readouterr()
    assert main(["test", str(recipe), threads]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("si_sdr"))
    _, _noisy, _enhanced, difference, num_signals = row.split()[:5]
    assert float(difference) > 4
    assert num_signals == "40"


def test_path_with_a_space_is_told_as_it_can_be_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", "my recipe"]) == 0
    commands = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert [shlex.split(command) for command in commands] == [
        ["audiozen", "train", "my recipe/baseline.toml"]
    ]


def readme_settings(recipe: Path) -> list[Path]:
    """The settings that the README tells to write, as files."""
    text = (recipe.parent / "README.md").read_text()
    written = []
    for name, block in re.findall(r"`(\w+\.toml)`:\n\n```toml\n(.*?)```", text, re.DOTALL):
        written.append(recipe.parent / name)
        written[-1].write_text(block)
    return written


def test_settings_of_the_readme_are_good(
    recipe: Path, capsys: pytest.CaptureFixture, quick: list[str]
) -> None:
    for split in ("train", "valid"):
        for role in ("noisy", "clean"):
            for number in range(9):
                path = recipe.parent / "recordings" / split / role / f"{number}.wav"
                write_audio(path, 0.1 * torch.randn(16_000 + 100 * number), 16_000)
    large, recordings = readme_settings(recipe)
    assert (large.name, recordings.name) == ("large.toml", "recordings.toml")
    assert main(["train", str(large), *quick]) == 0
    data = [setting for setting in quick if "num_signals" not in setting]
    capsys.readouterr()
    assert main(["train", str(recordings), *data]) == 0
    assert "valid: 9/9" in capsys.readouterr().err
    ids = {row["id"] for row in Run("exp/recordings").tables("valid")["valid_epoch_0001"]}
    assert ids == {str(number) for number in range(9)}


def test_training_ends_with_how_much_better_it_got(
    recipe: Path, capsys: pytest.CaptureFixture, quick: list[str]
) -> None:
    assert main(["train", str(recipe), *quick]) == 0
    *_, best, _next = capsys.readouterr().err.splitlines()
    found = re.fullmatch(
        r"best: epoch_0001, si_sdr (\S+) dB before \(noisy\), (\S+) dB after", best
    )
    table = Run("exp/baseline").tables("valid")["valid_epoch_0001"]
    for column, told in zip(("si_sdr_noisy", "si_sdr"), found.groups(), strict=True):
        assert float(told) == pytest.approx(sum(row[column] for row in table) / 4, abs=0.005)


def test_training_whose_best_score_has_no_noisy_one_beside_it_says_nothing_of_it(
    recipe: Path, capsys: pytest.CaptureFixture, quick: list[str]
) -> None:
    trainer = recipe.parent / "trainer.py"
    line = '            "si_sdr_noisy": si_sdr(noisy, clean),\n'
    assert line in trainer.read_text()
    trainer.write_text(trainer.read_text().replace(line, ""))
    assert main(["train", str(recipe), *quick]) == 0
    assert "best: " not in capsys.readouterr().err
