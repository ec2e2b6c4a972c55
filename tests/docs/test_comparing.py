"""What the page on comparisons names is there."""

from __future__ import annotations

import re
from pathlib import Path

from typer.main import get_command

from audiozen.cli.app import app
from audiozen.results.comparison import IDENTICAL, NO_DIFFERENCE, TOO_FEW
from audiozen.results.leaderboard import ORDERS

PAGE = (Path(__file__).parents[2] / "docs" / "comparing.md").read_text()


def options(name: str) -> set[str]:
    """Long options of a command."""
    command = get_command(app).commands[name]
    return {word for parameter in command.params for word in parameter.opts if word[:2] == "--"}


def test_options_that_are_named_exist_and_those_that_exist_are_named():
    named = set(re.findall(r"--[a-z][a-z-]+", PAGE))
    there = options("compare") | options("runs")
    assert named == there - {"--help"}


def test_verdicts_and_orders_are_explained():
    for verdict in (NO_DIFFERENCE, IDENTICAL, TOO_FEW, *ORDERS):
        assert f"`{verdict}`" in PAGE
