"""``audiozen new``: a recipe to start from."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path  # noqa: TC003 - typer reads the annotation
from typing import Annotated

import typer

from audiozen.errors import RequestError
from audiozen.system.shell import quoted


def new(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A new or empty folder.", show_default=False)
    ],
) -> None:
    """Write a recipe to start from, which trains as it is."""
    try:
        if folder.is_dir() and any(folder.iterdir()):
            raise RequestError(f"{folder} is not empty; choose another folder")
        folder.mkdir(parents=True, exist_ok=True)
        for template in files("audiozen.cli").joinpath("template").iterdir():
            if template.is_file():
                (folder / template.name).write_bytes(template.read_bytes())
    except OSError as error:
        raise RequestError(f"cannot write a recipe to {folder}: {error.strerror}") from error
    typer.echo(
        f"{folder} has a recipe, which takes noise away from made-up tones. Train it, in less than a minute:\n"
        f"  audiozen train {quoted(folder / 'baseline.toml')}\n"
        f"How to make it yours is told in {folder / 'README.md'}"
    )
