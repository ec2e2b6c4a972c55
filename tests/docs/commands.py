"""Runs commands of pages: those of AudioZEN in this process, as importing PyTorch takes seconds, others by bash."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import re
import runpy
import shlex
import subprocess
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from audiozen.cli.main import main
from tests.docs.one_process import modules_restored

if TYPE_CHECKING:
    from collections.abc import Iterator

PLAIN = re.compile(r"(audiozen|python [\w/]+\.py\b) ?[^|&;<>$`*?()~\\]*$")
KEEPS_STATE = re.compile(r"\s*(cd|export|source|\.|if|for|while|until|case|\w+=)")


@dataclass
class Printed:
    """What commands or a program have printed; ``all`` is as a terminal shows it, with messages and errors."""

    output: str = ""
    all: str = ""


def run_commands(text: str, folder: Path) -> tuple[int, Printed]:
    """Run lines of commands until one fails.

    Args:
        text: of a shell script.
        folder: of the page.

    Returns:
        The exit code of the last one, and what was printed.
    """
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    if any(map(KEEPS_STATE.match, lines)) or not any(map(is_plain, lines)):
        return run_in_shell(text)
    code, printed = 0, Printed()
    for is_quick, part in itertools.groupby(lines, is_plain):
        some = list(part)
        code, more = run_here(some, folder) if is_quick else run_in_shell("\n".join(some))
        printed.output += more.output
        printed.all += more.all
        if code:
            break
    return code, printed


def is_plain(line: str) -> bool:
    """Whether a line is one command of AudioZEN or one program, without anything that a shell would do to it."""
    return PLAIN.match(line.partition(" #")[0]) is not None


def run_here(lines: list[str], folder: Path) -> tuple[int, Printed]:
    """Run plain lines in this process, each as if it had one of its own."""
    code = 0
    with caught() as printed:
        for line in lines:
            name, *words = shlex.split(line, comments=True)
            with modules_restored(folder):
                code = main(words) if name == "audiozen" else run_program(words)
            if code:
                break
    return code, printed


def run_program(words: list[str]) -> int:
    """Run a Python file with arguments; what it raises is printed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", words)
        try:
            runpy.run_path(words[0], run_name="__main__")
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else int(end.code is not None)
        except Exception:  # noqa: BLE001 - as Python does
            traceback.print_exc()
            return 1
    return 0


def run_in_shell(text: str) -> tuple[int, Printed]:
    """Run commands by bash."""
    done = subprocess.run(
        ["bash", "-e", "-c", text],
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, Printed(done.stdout, done.stdout + done.stderr)


class Tee(io.StringIO):
    """Text that is written here and to ``other``."""

    def __init__(self, other: io.StringIO) -> None:
        super().__init__()
        self.other = other

    def write(self, text: str) -> int:
        self.other.write(text)
        return super().write(text)


@contextlib.contextmanager
def caught() -> Iterator[Printed]:
    """What is printed within, which is complete at the end."""
    printed, everything = Printed("", ""), io.StringIO()
    output, messages = Tee(everything), Tee(everything)
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(messages):
            yield printed
    finally:
        printed.output, printed.all = output.getvalue(), everything.getvalue()
