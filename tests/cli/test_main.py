from __future__ import annotations

import subprocess
import sys
from functools import wraps
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import typer

from audiozen.cli import main as main_module
from audiozen.cli.app import app
from audiozen.cli.main import main
from audiozen.cli.train import plain_arguments, train


def test_help_lists_exactly_the_commands_that_exist(audiozen) -> None:
    result = audiozen("--help")
    assert result.returncode == 0
    names = [command.callback.__name__ for command in app.registered_commands]
    assert names == [
        *("train", "validate", "test", "predict", "score", "table", "report", "compare", "runs"),
        *("check", "pack", "export", "new", "env", "sweep"),
    ]
    for name in names:
        assert f" {name} " in result.stdout


def test_help_starts_without_what_is_slow_to_import() -> None:
    program = (
        "import sys; from audiozen.cli.main import main; code = main(['train', '--help']);"
        "print(code, [name for name in ('torch', 'numpy', 'soundfile') if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "0 []"


def test_installed_command_is_this_main() -> None:
    scripts = entry_points(group="console_scripts", name="audiozen")
    assert [script.load() for script in scripts] == [main]


@pytest.mark.parametrize(
    "arguments",
    [["trian"], ["train"], ["train", "--resum", "x.toml"], ["export", "x.toml"]],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Usage: audiozen" in captured.err


PLAIN = [
    "train a.toml",
    "train a.toml x=1 y.z=[1,2]",
    "train --resume a.toml",
    "train a.toml x=1 --profile y=2 --allow-changes --resume",
]
NOT_PLAIN = [
    *("", "train", "train --resume", "validate a.toml", "a.toml train", "train --help"),
    *("train a.toml -h", "train a.toml --resum", "train -- a.toml", "train a.toml --resume=1"),
    "--resume train a.toml",
]


@pytest.mark.parametrize("line", PLAIN)
def test_plain_words_are_read_as_typer_reads_them(line: str) -> None:
    calls: list[dict[str, Any]] = []
    probe = typer.Typer(callback=lambda: None)

    @wraps(train)
    def record(**arguments: Any) -> None:
        calls.append(arguments)

    probe.command("train")(record)
    probe(line.split(), standalone_mode=False)
    unset = dict.fromkeys(("resume", "allow_changes", "profile"), False)
    assert [unset | (plain_arguments(line.split()) or {})] == calls


@pytest.mark.parametrize("line", NOT_PLAIN)
def test_what_is_not_plain_is_left_to_typer(line: str) -> None:
    assert plain_arguments(line.split()) is None


def test_interrupted_training_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(**_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("audiozen.cli.main.train", interrupted)
    assert main(["train", "a.toml"]) == 130


@pytest.mark.parametrize("command", ["train", "validate", "test", "check"])
def test_missing_file_is_told_on_stderr(command: str, capsys: pytest.CaptureFixture) -> None:
    assert main([command, "nowhere.toml"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert "nowhere.toml" in captured.err
    assert "Traceback" not in captured.err


def test_traceback_is_shown_where_asked_for(capsys: pytest.CaptureFixture) -> None:
    assert main(["--traceback", "test", "nowhere.toml"]) == 2
    first = capsys.readouterr().err
    assert main(["test", "nowhere.toml", "--traceback"]) == 2
    assert capsys.readouterr().err == first
    assert first.startswith("Traceback")
    assert "nowhere.toml" in first


def test_error_without_a_class_of_ours_has_a_traceback_and_exits_with_1(
    recipe: Path, quick: list[str], audiozen
) -> None:
    trainer = recipe.parent / "trainer.py"
    trainer.write_text(trainer.read_text().replace("noisy, clean, _ = batch", "batch.shape", 1))
    result = audiozen("train", recipe, *quick)
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert "AttributeError" in result.stderr.splitlines()[-1]


def test_other_processes_of_a_machine_leave_the_message_to_the_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(main_module, "GRACE", 0)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert main(["test", "nowhere.toml"]) == 2
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert main(["test", "nowhere.toml"]) == 2
    assert "nowhere.toml" in capsys.readouterr().err
