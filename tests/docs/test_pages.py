"""What the pages show is run, and what they name is there."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from typer.main import get_command

from audiozen.cli.app import app
from tests.docs.pages import ROOT, pages, run_page

PAGES = pages()
OTHERS = [*sorted((ROOT / "recipes").rglob("*.md")), *sorted((ROOT / "audiozen").rglob("*.md"))]
COMMANDS = get_command(app).commands
OWN_OPTIONS = {"--help", "--traceback"}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_of_the_page_do_what_it_says(page: Path, tmp_path: Path) -> None:
    run_page(page, tmp_path)


@pytest.mark.parametrize("page", PAGES + OTHERS, ids=name_of)
def test_commands_that_the_page_names_exist_with_their_options(page: Path) -> None:
    for command, words in named_commands(page.read_text(encoding="utf-8")):
        assert command in COMMANDS, f"audiozen {command}"
        params = COMMANDS[command].params
        there = {word for param in params for word in param.opts + param.secondary_opts}
        assert set(re.findall(r"--[a-z][a-z-]*", words)) <= there | OWN_OPTIONS, words


def named_commands(text: str) -> list[tuple[str, str]]:
    """Commands of AudioZEN in the blocks and between the backquotes of a page, and what follows each."""
    blocks = re.findall(r"^ *```(?:sh|console)\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    spans = re.findall(r"`([^`]+)`", without_blocks(text))
    codes = [" ".join(code.split()) for code in lines + spans]
    parts = [part.strip() for code in codes for part in re.split(r" [|;#&]", code)]
    return re.findall(r"\baudiozen ([a-z]+)\b(.*)", "\n".join(parts))


def without_blocks(text: str) -> str:
    """The text of a page alone."""
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES + OTHERS, ids=name_of)
def test_links_and_files_that_the_page_names_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    prose = re.sub(r"`[^`]+`", "", without_blocks(text))
    for target in re.findall(r"\]\((?![a-z]+:)([^)\s]+)\)", prose):
        name, _, anchor = unquote(target).partition("#")
        path = (page.parent / name) if name else page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target
    folders = "audiozen|benchmarks|docs|recipes|scripts|tests"
    for name in re.findall(rf"(?<![\w/.-])((?:{folders})/[\w/.-]*\w)", text):
        assert (ROOT / name).exists(), name


def anchors(page: Path) -> set[str]:
    """What links to the headings of a page are called."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_names_of_commands_are_found_in_blocks_and_in_the_text() -> None:
    text = "Do `audiozen\ntrain --resume` and\n```sh\nls | audiozen runs --a  # --b\n```\n"
    assert named_commands(text) == [("runs", " --a"), ("train", " --resume")]
