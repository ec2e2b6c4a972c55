"""``.. command-line::`` describes all commands of ``audiozen``, from what they say with ``--help``."""

from __future__ import annotations

import inspect
import re
from textwrap import indent
from typing import TYPE_CHECKING, Any

import typer
from sphinx.util.docutils import SphinxDirective

from audiozen.cli.app import app as audiozen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docutils.nodes import Node
    from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the directive."""
    app.add_directive("command-line", CommandLine)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class CommandLine(SphinxDirective):
    """One section per command: how it is called, what it does, its arguments and options with their defaults."""

    def run(self) -> list[Node]:
        """What stands in place of the directive."""
        text = "\n".join(line for command in _commands() for line in command)
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def _commands() -> Iterator[list[str]]:
    group = typer.main.get_command(audiozen)
    yield [*_heading("Options of all commands"), *_parameters("audiozen", group)]
    for name, command in group.commands.items():
        yield _section(f"audiozen {name}", command)


def _section(name: str, command: Any) -> list[str]:
    usage = _context(name, command).get_usage().removeprefix("Usage: ")
    words = [_paragraph(text) for text in inspect.cleandoc(command.help).split("\n\n")]
    return [*_heading(name), _code(usage), *words, *_parameters(name, command)]


def _heading(title: str) -> list[str]:
    return [title, "-" * len(title), ""]


def _paragraph(text: str) -> str:
    """Where a line of a help text is a command, it is shown as one."""
    is_command = "\n" not in text and re.search(r"(^|\| )audiozen ", text)
    return _code(text) if is_command else f"{_literal(text)}\n"


def _code(text: str) -> str:
    return f".. code-block:: text\n\n{indent(text, '   ')}\n"


def _parameters(name: str, command: Any) -> list[str]:
    context = _context(name, command)
    lines = [f".. program:: {name}", ""]
    for parameter in [one for one in command.params if not one.hidden]:
        names, meaning = parameter.get_help_record(context)
        if parameter.param_type_name == "argument":
            names = parameter.metavar or names
        lines += [f".. option:: {names}", "", indent(_literal(meaning), "   "), ""]
    return lines


def _context(name: str, command: Any) -> Any:
    return command.make_context(name, [], resilient_parsing=True)


def _literal(text: str) -> str:
    """Text that is no markup: ``*`` and ``_`` mean themselves."""
    return "".join(f"\\{letter}" if letter in "*_`|\\" else letter for letter in text)
