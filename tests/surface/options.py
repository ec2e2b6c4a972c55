"""The options of all commands, and all settings of an experiment file."""

from __future__ import annotations

import inspect
import re
import types
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typer.models import ArgumentInfo

from audiozen.cli.app import app
from tests.surface.names import Module, lines_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def record() -> str:
    """As tests/surface/options.txt has it."""
    assert app.registered_callback
    commands = [command.callback for command in app.registered_commands]
    own = ["# audiozen", *lines_of_command(app.registered_callback.callback)]
    parts = [[f"# audiozen {name_of(command)}", *lines_of_command(command)] for command in commands]
    settings = ["# settings", *lines_of(Module("audiozen.config.schema"))]
    return "\n\n".join("\n".join(lines) for lines in (own, *parts, settings)) + "\n"


def name_of(command: Callable[..., Any] | None) -> str:
    """What is typed."""
    assert command
    return command.__name__


def lines_of_command(command: Callable[..., Any] | None) -> Iterator[str]:
    """One line per argument and option: its names, its kind, its default."""
    assert command
    hints = typing.get_type_hints(command, include_extras=True)
    for name, parameter in inspect.signature(command).parameters.items():
        yield line_of(name, hints[name], parameter.default)


def line_of(name: str, hint: Any, default: Any) -> str:
    """The names of one, its kind, and its default where it has one."""
    if typing.get_origin(hint) is typing.Annotated:
        kind, info = typing.get_args(hint)
        words = [info.default] if isinstance(info.default, str) else []  # as typer takes it there
        words += info.param_decls or []
    else:
        kind, info, default = hint, default, default.default
        words = list(info.param_decls or ())
    if isinstance(info, ArgumentInfo):
        words = [info.metavar or name.upper()]
    is_required = default in (inspect.Parameter.empty, ...)
    shown = "" if is_required else f" = {str(default) if isinstance(default, Path) else default!r}"
    return f"{' '.join(words or own_words(name, kind))}: {text_of(kind)}{shown}"


def own_words(name: str, kind: Any) -> list[str]:
    """What typer makes of the name of a parameter."""
    option = name.replace("_", "-")
    return [f"--{option}", f"--no-{option}"] if kind is bool else [f"--{option}"]


def text_of(kind: Any) -> str:
    """``int``, ``Literal['csv', 'text']``, ``list[str] | None``, alike for all versions of Python."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return " | ".join(map(text_of, typing.get_args(kind)))
    if kind is types.NoneType:
        return "None"
    return re.sub(r"typing\.|pathlib\.(_local\.)?", "", inspect.formatannotation(kind))
