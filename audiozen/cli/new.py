"""``audiozen new``."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path  # noqa: TC003 - typer reads the annotation
from typing import Annotated

import typer

from audiozen.errors import RequestError


def new(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A new or empty folder.", show_default=False)
    ],
) -> None:
    """Write a recipe to start from, which trains as it is."""
    if folder.is_dir() and any(folder.iterdir()):
        raise RequestError(f"{folder} is not empty; choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for template in files("audiozen.cli").joinpath("template").iterdir():
            if template.is_file():
                (folder / template.name).write_bytes(template.read_bytes())
    except OSError as error:
        raise RequestError(f"cannot write a recipe to {folder}: {error.strerror}") from error
    typer.echo(f"{folder} has a recipe. Train it: audiozen train {folder / 'baseline.toml'}")
