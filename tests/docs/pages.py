"""Runs the blocks of a page of documentation, in their order and in one folder, as a reader would.

What is done with a block depends on its language:

=============  =========================================================================================================
``python``     run, in one namespace per page; warnings are errors
``sh``         run by ``bash -e``. Lines of nothing but ``audiozen ...`` or ``python file.py`` are run in this process,
               which is quicker; where there are such lines, variables and folders are not carried over to other lines,
               unless a line sets some (``cd``, ``export``, ``name=...``, loops): then bash runs all of them
``console``    lines that begin with ``$`` are run like ``sh``, and print what stands below them
``text``       not looked at, but after ``<!-- output -->``
``py``         an excerpt of a file of the template of ``audiozen new``, but for annotations and docstrings
``toml``       part of an experiment file: it is TOML, and its tables exist; ``json`` is JSON
``{name}``     left to the program that builds the site
=============  =========================================================================================================

Comments on lines of their own before a block say more:

==========================================  ============================================================================
``<!-- file: my_recipe/data.py -->``        the block is written to this file, whatever its language
``<!-- output -->``                         the block is what the last one printed; ``...`` is anything
``<!-- output: other numbers -->``          the same, but for what the numbers are, and for the width of columns
``<!-- exit: 2 -->``                        the commands of the block end with this code, and not with 0
``<!-- needs: onnxscript, onnxruntime -->`` the block is left out where one of these packages is missing
``<!-- run by: tests/docs/test_x.py -->``   that file of tests runs or checks the block, in its own way
``<!-- setup: python`` (code) ``-->``       not for a block but one itself, which the reader does not see; also ``sh``.
                                            ``ROOT`` (``$ROOT``) is the folder of the repository; ``tests.docs.reader``
                                            makes recipes, runs and recordings
==========================================  ============================================================================

A comment in other words than these is refused where it stands before a block.
"""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
import types
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiozen.config.schema import ExperimentConfig
from audiozen.config.settings import kinds_of
from tests.docs.commands import caught, run_commands
from tests.docs.one_process import MODULE, ROOT, process_restored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.docs.commands import Printed

TEMPLATE = ROOT / "audiozen" / "cli" / "template"
DIRECTIVES = ("file", "output", "exit", "needs", "run by")


class PageError(AssertionError):
    """A block does not do what the page says."""


# Reading --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Block:
    """One block of a page.

    Args:
        page: the file.
        line: of the opening fence, from 1.
        language: the word behind the fence.
        text: what is in it.
        directives: what the comments before it say, by their names.
    """

    page: Path
    line: int
    language: str
    text: str
    directives: dict[str, str] = field(default_factory=dict)

    def error(self, text: str) -> PageError:
        """An error that says where."""
        return PageError(f"{self.page}:{self.line}: {text}")


FENCE = re.compile(r"^( *)(`{3,}|~{3,})\s*(\S*)(.*)$")
COMMENT = re.compile(r"^ *<!--\s*([\w ]+?)\s*(?::\s*(.*?)\s*)?-->\s*$")
SETUP = re.compile(r"^ *<!--\s*setup:\s*(\w+)\s*$")


def read_blocks(page: Path) -> list[Block]:
    """The blocks of a page, also hidden ones, in their order.

    Raises:
        PageError: a block has no language or no end, or a comment before one is not among ``DIRECTIVES``.
    """
    blocks = []
    directives: dict[str, str] = {}
    lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines(), 1))
    for number, line in lines:
        if setup := SETUP.match(line):
            text = _until(lines, lambda text: text.strip() == "-->", page, number)
            blocks.append(Block(page, number, setup[1], text))
        elif fence := FENCE.match(line):
            indent, ticks, language, _ = fence.groups()
            text = _until(lines, re.compile(rf" *{ticks}{ticks[0]}*\s*$").match, page, number)
            text = re.sub(rf"^ {{0,{len(indent)}}}", "", text, flags=re.MULTILINE)
            block = Block(page, number, language, text, directives)
            _check_reading(block)
            blocks.append(block)
            directives = {}
        elif comment := COMMENT.match(line):
            directives[comment[1]] = comment[2] or ""
        elif line.strip():
            if stray := directives.keys() & set(DIRECTIVES):
                raise Block(page, number, "", "").error(f"{min(stray)!r} belongs to no block")
            directives = {}
    return blocks


def _until(
    lines: Iterator[tuple[int, str]], is_end: Callable[[str], Any], page: Path, start: int
) -> str:
    """The lines before the one that ends a block."""
    text = ""
    for _, line in lines:
        if is_end(line):
            return text
        text += f"{line}\n"
    raise Block(page, start, "", "").error("the block has no end")


def console_examples(page: Path) -> list[tuple[str, str]]:
    """Commands in the ``console`` blocks of a page, and what stands below each."""
    blocks = [block for block in read_blocks(page) if block.language == "console"]
    return [example for block in blocks for example in _examples_of(block)]


def _examples_of(block: Block) -> list[tuple[str, str]]:
    parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]
    return [(command, shown) for command, _, shown in (part.partition("\n") for part in parts)]


def _check_reading(block: Block) -> None:
    if not block.language:
        raise block.error("a block without a language; what is no code is text")
    if unknown := block.directives.keys() - set(DIRECTIVES):
        raise block.error(f"unknown directive {min(unknown)!r}; there are {', '.join(DIRECTIVES)}")


def pages() -> list[Path]:
    """All pages of the documentation: the README, and what is below ``docs``."""
    below = (ROOT / "docs").rglob("*.md")
    kept = [path for path in below if not any(part[0] in "._" for part in path.parts[-3:])]
    return [ROOT / "README.md", *sorted(kept)]


# Running --------------------------------------------------------------------------------------------------------------


def run_page(page: Path, folder: Path) -> None:
    """Run all blocks of a page.

    Args:
        page: the file.
        folder: an empty folder, in which commands and programs run.

    Raises:
        PageError: a command ends with another code, or something else is printed, than the page says. What the
            programs of the page raise is passed on.
    """
    with process_restored(folder):
        run = Run(folder)
        for block in read_blocks(page):
            run.block(block)


class Run:
    """The blocks of one page, in their order.

    Args:
        folder: where they run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.printed: Printed | None = None
        self.is_left_out = False
        self.module = types.ModuleType(MODULE)
        self.module.__dict__["ROOT"] = ROOT
        sys.modules[MODULE] = self.module

    def block(self, block: Block) -> None:
        """Run one block, or check it, or leave it to others."""
        if "file" in block.directives:
            self.write(block)
        elif "output" in block.directives:
            self.compare(block)
        else:
            self.printed = None
            self.is_left_out = not are_there(block.directives.get("needs", ""))
            if not self.is_left_out:
                self.act(block)

    def act(self, block: Block) -> None:
        """What its language asks for."""
        actions: dict[str, Callable[[Block], None]] = {
            "python": self.program,
            "sh": self.commands,
            "console": self.console,
            "text": lambda block: None,
            "py": require_excerpt,
            "toml": require_experiment,
            "json": lambda block: json.loads(block.text),
        }
        if "run by" in block.directives:
            require_reader(block)
        elif block.language.startswith("{"):
            pass
        elif block.language not in actions:
            raise block.error(f"nobody knows how to run {block.language!r}; known: {[*actions]}")
        else:
            actions[block.language](block)

    def write(self, block: Block) -> None:
        """Write the block to the file that it is."""
        path = (self.folder / block.directives["file"]).resolve()
        if not path.is_relative_to(self.folder.resolve()):
            raise block.error("a file outside of the folder of the page")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")

    def compare(self, block: Block) -> None:
        """The block is what the one before has printed."""
        if self.printed is not None:
            self.require(block.text, self.printed, block)
        elif not self.is_left_out:
            raise block.error("nothing was run right before this, so there is no output")

    def program(self, block: Block) -> None:
        """Run a program, whose lines are those of the page in tracebacks."""
        source = "\n" * block.line + block.text
        with caught() as self.printed:
            try:
                exec(compile(source, block.page, "exec", dont_inherit=True), self.module.__dict__)
            except BaseException as error:
                error.add_note(f"in the block of {block.page}:{block.line}")
                raise

    def commands(self, block: Block) -> None:
        """Run commands; the page goes on where they end with the code that it says."""
        self.printed = self.run(block.text, block)

    def console(self, block: Block) -> None:
        """Run each command, and compare what it prints."""
        for command, shown in _examples_of(block):
            self.require(shown, self.run(command, block), block)

    def run(self, text: str, block: Block) -> Printed:
        """Run some lines of commands until one fails."""
        code, printed = run_commands(text, self.folder)
        expected = int(block.directives.get("exit", 0))
        if code != expected:
            raise block.error(f"exit code {code} in place of {expected}:\n\n{text}\n{printed.all}")
        return printed

    def require(self, shown: str, printed: Printed, block: Block) -> None:
        """Refuse another text than the page shows: what went to stdout, or all that a terminal shows."""
        like = is_like_but_for_numbers if block.directives.get("output") else is_like
        if not any(like(shown, text) for text in (printed.output, printed.all)):
            raise block.error(f"the page shows\n\n{shown}\nand printed was\n\n{printed.all}")


def is_like(shown: str, printed: str) -> bool:
    """Whether a text is what a page shows, where ``...`` may be anything; spaces at the end of lines do not count."""
    shown, printed = (re.sub(r" *$", "", text.strip("\n"), flags=re.M) for text in (shown, printed))
    pattern = ".*?".join(map(re.escape, shown.split("...")))
    return re.fullmatch(pattern, printed, re.DOTALL) is not None


def is_like_but_for_numbers(shown: str, printed: str) -> bool:
    """The same for another run: numbers, signs, times and the widths of columns do not count."""
    return is_like(*map(without_numbers, (shown, printed)))


def without_numbers(text: str) -> str:
    """A text with one digit for each number, and one space or line for several."""
    text = re.sub(r"[-+]?\b\d(?:[\d,:]|\.\d|e-\d)*", "0", text)
    return re.sub(r"([ ─])\1+", r"\1", text)


def are_there(packages: str) -> bool:
    """Whether packages, with commas between them, are installed."""
    return all(find_spec(name.strip()) for name in packages.split(",") if name.strip())


# Checking what cannot be run ------------------------------------------------------------------------------------------


def require_reader(block: Block) -> None:
    """The file of tests that a block is left to exists, and has to do with the page."""
    tests = ROOT / block.directives["run by"]
    if not (tests.name.startswith("test_") and tests.is_file()):
        raise block.error(f"there is no file of tests {block.directives['run by']}")
    if block.page.name not in tests.read_text(encoding="utf-8"):
        raise block.error(f"{block.directives['run by']} does not read this page")


def require_excerpt(block: Block) -> None:
    """The lines of the block are those of a file of the template, in their order; some may be left out."""
    for path in TEMPLATE.glob("*.py"):
        lines = iter(without_remarks(path.read_text(encoding="utf-8")))
        if all(line in lines for line in without_remarks(block.text)):
            return
    raise block.error("no file of the template of audiozen new has these lines in this order")


def without_remarks(source: str) -> list[str]:
    """Lines of a program without its comments, docstrings and annotations."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree).splitlines()


def require_experiment(block: Block) -> None:
    """The block is TOML, and has tables of an experiment file."""
    tables = tomllib.loads(block.text).keys()
    if unknown := tables - kinds_of(ExperimentConfig).keys() - {"extends"}:
        raise block.error(f"an experiment file has no {min(unknown)!r}")
