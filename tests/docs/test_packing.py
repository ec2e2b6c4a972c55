"""What the page on packing shows is run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from audiozen.cli.main import main
from benchmarks.reading_sound import WANTED

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "packing.md").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the page."""
    root = tmp_path_factory.mktemp("packing")
    (root / "audio").symlink_to(ROOT / "recipes" / "debian_noisy_speech" / "audio")
    return root


def examples() -> list[tuple[str, str]]:
    """Commands, and what each prints."""
    blocks = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    parts = [part for block in blocks for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    return [(command, output) for command, _, output in (part.partition("\n") for part in parts)]


def test_commands_print_what_the_page_shows_and_programs_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(folder)
    assert len(examples()) == 5
    for command, expected in examples():
        program, *arguments = shlex.split(command)
        if program == "head":
            output = Path(arguments[-1]).read_text().splitlines(keepends=True)[0]
        else:
            assert program == "audiozen"
            assert main(arguments) == 0
            output = capsys.readouterr().out
        assert output == expected, command
    programs = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(programs) == 2
    for program in programs:
        exec(program, {})


def test_table_of_figures_has_what_was_wanted() -> None:
    for (name, suffix), wanted in WANTED.items():
        [row] = re.findall(rf"^\| {name} .*$", PAGE, re.MULTILINE)
        ratios = dict(zip(("wav", "flac"), row.split("|")[3:5]))
        found, _, shown = ratios[suffix].partition("(wanted: ")
        assert float(shown.strip(" )")) == wanted
        assert float(found) >= wanted
