from __future__ import annotations

from pathlib import Path

import pytest

from audiozen.cli.main import main

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


def test_variant_of_the_readme_is_a_good_configuration(recipe: Path) -> None:
    readme = (recipe.parent / "README.md").read_text()
    (recipe.parent / "large.toml").write_text(readme.split("```toml\n")[1].split("```")[0])
    assert main(["check", str(recipe.parent / "large.toml")]) == 0
