"""The command ``audiozen``: arguments in, exit code out."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
import traceback
from typing import TYPE_CHECKING

import typer

from audiozen.cli.request import TRACEBACK
from audiozen.cli.train import plain_arguments, train
from audiozen.errors import AudioZENError, Preempted, RequestError
from audiozen.system.shell import forgive_characters

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERRUPTED = 128 + signal.SIGINT
GRACE = 3.0
"""Seconds. torchrun ends all processes when one has failed, also that which was about to say why."""

REFUSALS_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: what follows ``audiozen`` on the command line; None: what it was called with.

    Returns:
        The exit code: 0 done, 1 the run failed, 2 the request was wrong, 75 stopped by a signal
        with everything saved.
    """
    forgive_characters()
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = [word for word in words if word != TRACEBACK]  # may stand anywhere
    try:
        _run(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except AudioZENError as error:
        if TRACEBACK in words:
            traceback.print_exc()
        else:
            _tell(error)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        if error.errno not in REFUSALS_OF_THE_DISK or TRACEBACK in words:
            raise
        _tell(AudioZENError(f"the disk refuses: {error}"))
        return AudioZENError.exit_code
    return 0


def _run(words: Sequence[str]) -> None:
    """Train where that is plainly what is wanted. Else let typer read the words, for which it imports pydantic."""
    arguments = plain_arguments(words)
    if arguments is not None:
        train(**arguments)
    else:
        from audiozen.cli.app import app

        app(words, prog_name="audiozen")


def _tell(error: AudioZENError) -> None:
    """Say what went wrong. What all processes of a machine find is said by the first of them."""
    is_first = os.environ.get("LOCAL_RANK", "0") == "0"
    if isinstance(error, RequestError) and not is_first and not error.speaks_for_all:
        time.sleep(GRACE)
    else:
        notes = getattr(error, "__notes__", [])
        text = str(error) if isinstance(error, Preempted) else f"error: {error}"
        typer.echo("\n  ".join([text, *notes]), err=True)
