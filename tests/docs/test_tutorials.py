"""What the tutorials show and cannot run as it stands."""

from __future__ import annotations

import shlex
import subprocess

import pytest
from torch.distributed.run import get_args_parser

from tests.docs.pages import ROOT, read_blocks

DOCS = ROOT / "docs"


def left_to_this_file(page: str) -> list[str]:
    blocks = read_blocks(DOCS / "tutorials" / page)
    return [block.text for block in blocks if "run by" in block.directives]


def is_script(text: str) -> bool:
    return subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0


def test_lines_for_slurm_in_resume_are_those_of_the_script_that_is_run():
    """The script of reliability.md is run in test_reliability.py; resume.md has lines of it, in their order."""
    [excerpt] = left_to_this_file("resume.md")
    assert is_script(excerpt)
    lines = (line for line in excerpt.splitlines() if line)
    whole = iter((DOCS / "reliability.md").read_text().splitlines())
    assert [line for line in lines if line not in whole] == []


@pytest.mark.parametrize("block", left_to_this_file("processes.md"))
def test_commands_for_many_processes_are_such_that_torchrun_takes(block):
    for line in block.replace("\\\n", " ").splitlines():
        program, *words = shlex.split(line)
        assert program == "torchrun"
        command = get_args_parser().parse_args(words)
        assert command.module
        assert command.training_script == "audiozen"
        assert command.training_script_args[0] in {"train", "test"}
        assert command.training_script_args[1] == "my_recipe/baseline.toml"


def test_command_for_several_machines_is_that_of_the_page_on_scaling():
    *_, block = left_to_this_file("processes.md")
    assert block in (DOCS / "scaling.md").read_text()
