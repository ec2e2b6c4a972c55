"""The command ``audiozen``: arguments in, exit code out."""

from __future__ import annotations

import errno
import os
import sys
import time
import traceback
from typing import TYPE_CHECKING

import typer

from audiozen.cli.check import check
from audiozen.cli.compare import compare
from audiozen.cli.new import new
from audiozen.cli.pack import pack
from audiozen.cli.predict import predict
from audiozen.cli.report import report
from audiozen.cli.runs import runs
from audiozen.cli.score import score
from audiozen.cli.table import table
from audiozen.cli.test import test
from audiozen.cli.train import train
from audiozen.cli.validate import validate
from audiozen.errors import AudioZENError, Preempted, RequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

TRACEBACK = "--traceback"
GRACE = 3.0
"""Seconds. torchrun ends all processes when one has failed, also that which was about to say why."""

REFUSALS_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)

app = typer.Typer(
    name="audiozen",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    *(train, validate, test, predict, score, table, report, compare, runs),
    *(check, pack, new),
):
    app.command()(command)


@app.callback()
def options(
    show_traceback: bool = typer.Option(
        False,
        TRACEBACK,
        help="Show the traceback of every error.",
    ),
) -> None:
    """Train and score audio and speech models.

    Exit codes: 0 done, 1 the run failed, 2 the request was wrong, 75 stopped by a signal (--resume).
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
        else:
            _tell(error)
        return error.exit_code
    except OSError as error:
        if error.errno not in REFUSALS_OF_THE_DISK or TRACEBACK in words:
            raise
        _tell(AudioZENError(f"the disk refuses: {error}"))
        return AudioZENError.exit_code
    return 0


def _tell(error: AudioZENError) -> None:
    """Say what went wrong. What all processes of a machine find is said by the first of them."""
    is_first = os.environ.get("LOCAL_RANK", "0") == "0"
    if isinstance(error, RequestError) and not is_first and not error.speaks_for_all:
        time.sleep(GRACE)
    else:
        notes = getattr(error, "__notes__", [])
        text = str(error) if isinstance(error, Preempted) else f"error: {error}"
        typer.echo("\n  ".join([text, *notes]), err=True)
