"""Recipes of earlier trainers: what ``audiozen check`` says of them; they train with the changes of the guide."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from audiozen.cli.main import main
from audiozen.config.old_names import IMPORTS, MEMBERS, SETTINGS, VALUES, old_member, old_setting
from audiozen.config.toml import _statements
from tests.compat.renaming import patched, renamed

OLD = Path(__file__).parent / "old"
RECIPES = sorted(OLD.iterdir())
names = pytest.mark.parametrize("old", RECIPES, ids=lambda path: path.name)


@pytest.fixture
def changed(old: Path, tmp_path: Path) -> Path:
    """The recipe with new names, and with what was changed by hand."""
    diffs = re.split(r"^--- (.+)\n\+\+\+ .+\n", (old / "by_hand.diff").read_text(), flags=re.M)
    by_hand = dict(zip(diffs[1::2], diffs[2::2]))
    for file in (*old.glob("*.py"), *old.glob("*.toml")):
        text = renamed(file.name, file.read_text())
        (tmp_path / file.name).write_text(patched(text, by_hand.pop(file.name, "").splitlines()))
    assert not by_hand
    return tmp_path / "baseline.toml"


def told_by_check(config: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert main(["check", str(config)]) == 2
    return capsys.readouterr().err.splitlines()[1:]


def lines_with(pattern: str, file: Path) -> list[int]:
    lines = file.read_text().splitlines()
    return [number for number, line in enumerate(lines, 1) if re.search(pattern, line)]


# ---- what is told ------------------------------------------------------------------------------


@names
def test_check_names_each_old_setting_with_its_line(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = told_by_check(old / "baseline.toml", capsys)
    num_old = 0
    for number, place in _statements((old / "baseline.toml").read_text()):
        *table, key = place
        words = f"[{'.'.join(table)}] {key}" if table else f"[{key}]"
        if found := old_setting(words):
            num_old += 1
            separator = ":" if table else ""
            assert f"  {words}{separator} {found[1]} (line {number})" in told
    assert num_old >= 8


@names
def test_check_names_what_values_mean_now(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = "\n".join(told_by_check(old / "baseline.toml", capsys))
    assert VALUES["[trainer.args] validation_interval"] in told
    if "max_grad_norm = 0" in (old / "baseline.toml").read_text():
        assert VALUES["[trainer.args] max_grad_norm"] in told


@names
def test_check_names_each_old_use_in_a_trainer_with_all_its_lines(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = told_by_check(old / "baseline.toml", capsys)
    [trainer] = old.glob("trainer*.py")
    uses = set(re.findall(r"self\.[\w.]+", trainer.read_text()))
    num_old = 0
    for use in uses:
        found = old_member(use)
        if found is None:
            continue
        num_old += 1
        spelling, now = found
        numbers = lines_with(rf"{re.escape(use)}\b", trainer)
        places = f"line{'s' if numbers[1:] else ''} {', '.join(map(str, numbers))}"
        assert f"  {spelling}: {now} ({trainer.name}, {places})" in told
    assert num_old >= 6


@names
def test_check_names_each_old_import_though_it_fails(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = told_by_check(old / "baseline.toml", capsys)
    imports = [
        (file, number, module, name.strip())
        for file in old.glob("*.py")
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if (match := re.match(r"from (audiozen[\w.]*|accelerate[\w.]*) import ([^#]+)", line))
        for module in [match[1]]
        for name in match[2].split(",")
    ]
    assert len(imports) >= 3
    for file, number, module, name in imports:
        name = name.split(" as ")[0]
        if module == "audiozen.trainer.base_trainer":
            continue  # as it was
        [line] = [text for text in told if text.startswith(f"  {module}.{name}: ")]
        assert line.endswith(f"({file.name}, line {number})")
        assert re.search(": (now [a-z]|leave it out; )", line)


@names
def test_training_tells_the_same(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = told_by_check(old / "baseline.toml", capsys)
    assert main(["train", str(old / "baseline.toml")]) == 2
    assert capsys.readouterr().err.splitlines()[1:] == told


# ---- what is changed ---------------------------------------------------------------------------


@names
def test_changed_recipe_trains_validates_and_tests(
    changed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(changed.parent)
    short = ["trainer.args.max_steps=2", "trainer.args.num_threads=1"]
    assert main(["train", str(changed), *short]) == 0
    assert main(["test", str(changed), *short]) == 0
    told = capsys.readouterr().err
    assert re.search(r"step 2: score -?\d+\.\d+", told)
    scalars = Path("exp/baseline/metrics/metrics.jsonl").read_text()
    assert "Train/" in scalars or "Loss/Train" in scalars


@names
def test_less_than_a_quarter_of_the_lines_is_changed_by_hand(old: Path, changed: Path) -> None:
    by_hand = (old / "by_hand.diff").read_text()
    removed = len(re.findall(r"^-(?!--)", by_hand, re.M))
    files = [file for file in old.iterdir() if file.suffix != ".diff"]
    assert removed < sum(len(file.read_text().splitlines()) for file in files) / 4


# ---- the page ----------------------------------------------------------------------------------


def test_old_recipes_use_many_names_of_all_tables() -> None:
    """So that what is shown to work is what the guide is about."""
    text = "\n".join(file.read_text() for old in RECIPES for file in old.iterdir())
    for table, least in ((SETTINGS, 12), (MEMBERS, 18)):
        words = [name.split()[-1].strip("[]*").replace("*", "g") for name in table]
        assert sum(word in text for word in words) >= least
    assert sum(name.rpartition(".")[2] in text for name in IMPORTS) >= 10
