"""What the page on throughput shows is run, on shorter and fewer signals; its figures are examples."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from audiozen.cli.main import main
from audiozen.cli.throughput import MAX_SECONDS, WORTH_IT
from audiozen.trainer import step_parts
from audiozen.trainer.profiling import NUM_RECORDED, NUM_SKIPPED, NUM_WARM_UP
from tests.docs.pages import ROOT, console_examples

PATH = ROOT / "docs" / "throughput.md"
PAGE = PATH.read_text()
SMALL = [
    "train_dataset.args.num_seconds=0.5",  # a smaller trace, which is still one to compress
    "validate_dataset.0.args.num_mixtures=2",
    "test_dataset=[]",  # whose metrics take seconds to import
]
SHARES = re.compile(r"(\w+) \d+ %")
PARTS = {"data", "waiting", "copy", "forward", "backward", "optimizer", "other"}


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder has that of the page, and what a run leaves behind."""
    demo = ROOT / "recipes" / "debian_noisy_speech"
    for path in demo.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("recipe")
def test_commands_print_such_lines_as_the_page_shows(capsys: pytest.CaptureFixture) -> None:
    examples = console_examples(PATH)
    assert len(examples) == 3
    for command, shown in examples:
        program, *arguments = shlex.split(command)
        assert program == "audiozen"
        assert main([*arguments, *SMALL]) == 0
        output = "".join(capsys.readouterr())
        for line in shown.splitlines():
            begin = line[:28] if line.startswith("ok ") else line
            assert begin in output, line
        assert set(SHARES.findall(output)) <= PARTS


def test_every_part_is_explained() -> None:
    for part in PARTS:
        assert re.search(rf"^\|.*`{part}`.*\|", PAGE, re.MULTILINE), part
    for line in re.findall(r"where a step goes  (.*)", PAGE):
        shares = re.findall(r"\w+ (\d+) %", line)
        assert sum(map(int, shares)) == pytest.approx(100, abs=2)


def test_numbers_of_the_page_are_those_of_the_program() -> None:
    first = NUM_SKIPPED + NUM_WARM_UP + 1
    assert f"Steps {first} to {first + NUM_RECORDED - 1} of the first epoch" in PAGE
    assert f"up to {step_parts.NUM_STEPS} steps or {MAX_SECONDS} seconds" in PAGE
    assert f"less than {WORTH_IT} of both" in PAGE


def test_program_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    [program] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(program, {})
    assert "'forward': " in capsys.readouterr().out
    assert json.loads(Path("exp/traced/profile/trace.json").read_text())["traceEvents"]
