"""The command ``audiozen``: arguments in, exit code out."""

from __future__ import annotations

import os
import sys
import traceback
from typing import TYPE_CHECKING

import typer

from audiozen.cli.check import check
from audiozen.cli.new import new
from audiozen.cli.predict import predict
from audiozen.cli.test import test
from audiozen.cli.train import train
from audiozen.cli.validate import validate
from audiozen.errors import AudioZENError, Preempted, RequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

TRACEBACK = "--traceback"

app = typer.Typer(
    name="audiozen",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (train, validate, test, predict, check, new):
    app.command()(command)


@app.callback()
def options(
    show_traceback: bool = typer.Option(
        False,  # noqa: FBT003 - the default of an option is a value
        TRACEBACK,
        help="Show the traceback of every error.",
    ),
) -> None:
    """Train and score audio and speech models.

    Exit codes: 0 done, 1 the run failed, 2 the request was wrong, 75 stopped by a signal with
    everything saved (go on with --resume).
    """
    del show_traceback  # main() reads it, as the commands must not have to pass it on


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: what follows ``audiozen`` on the command line; None: what it was called with.

    Returns:
        The exit code: 0 done, 1 the run failed, 2 the request was wrong, 75 stopped by a signal
        with everything saved.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = [word for word in words if word != TRACEBACK]  # may stand anywhere
    try:
        app(arguments, prog_name="audiozen")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except AudioZENError as error:
        if TRACEBACK in words:
            traceback.print_exc()
        elif not _said_by_another_process(error):
            typer.echo(f"error: {error}", err=True)
        return error.exit_code
    return 0


def _said_by_another_process(error: AudioZENError) -> bool:
    """All processes of a machine refuse a request, or stop, for the same reason: one of them says it."""
    same_everywhere = isinstance(error, (RequestError, Preempted))
    return same_everywhere and os.environ.get("LOCAL_RANK", "0") != "0"
