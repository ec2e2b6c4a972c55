"""Where people type commands and read texts."""

from __future__ import annotations

import codecs
import io
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FORGIVING = "audiozen.forgiving"
LOOK_ALIKES = {"─": "-", "−": "-", "→": ">", "≥": ">", "≤": "<", "≈": "~", "↑": "^", "↓": "v"}  # noqa: RUF001


def quoted(path: str | Path) -> str:
    """A path as it can be typed into a command."""
    words = [str(path)]
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)


def forgive_characters() -> None:
    """Print ``?``, or what looks alike, for what a terminal has no character for, where Python would give up.

    Many a Windows has none for ``α``.
    """
    codecs.register_error(FORGIVING, _look_alike)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors=FORGIVING)


def _look_alike(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    unknown = error.object[error.start : error.end]
    return "".join(LOOK_ALIKES.get(character, "?") for character in unknown), error.end
