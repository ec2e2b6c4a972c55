"""All commands, as typer reads and explains them."""

from __future__ import annotations

import typer

import audiozen
from audiozen.cli.check import check
from audiozen.cli.compare import compare
from audiozen.cli.env import env
from audiozen.cli.export import export
from audiozen.cli.new import new
from audiozen.cli.pack import pack
from audiozen.cli.predict import predict
from audiozen.cli.report import report
from audiozen.cli.request import TRACEBACK
from audiozen.cli.runs import runs
from audiozen.cli.score import score
from audiozen.cli.sweep import sweep
from audiozen.cli.table import table
from audiozen.cli.test import test
from audiozen.cli.train import train
from audiozen.cli.validate import validate

app = typer.Typer(
    name="audiozen",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    *(train, validate, test, predict, score, table, report, compare, runs),
    *(check, pack, export, new, env, sweep),
):
    app.command()(command)


def _tell_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"audiozen {audiozen.__version__}")
        raise typer.Exit


@app.callback()
def options(
    show_traceback: bool = typer.Option(
        False,
        TRACEBACK,
        help="Show the traceback of every error.",
    ),
    show_version: bool = typer.Option(
        False, "--version", help="Print the version.", is_eager=True, callback=_tell_version
    ),
) -> None:
    """Train and score audio and speech models.

    Exit codes: 0 done, 1 the run failed, 2 the request was wrong, 75 stopped by a signal (--resume).
    """
    del show_traceback  # main() reads it, as the commands must not have to pass it on
    del show_version
