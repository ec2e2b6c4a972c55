"""What ``--channel`` means, of commands that read files with several channels."""

from __future__ import annotations

from typing import Literal

from audiozen.errors import RequestError


def parse_channel(text: str) -> int | Literal["error", "mean"]:
    """What ``--channel`` means.

    Raises:
        RequestError: it is none of the choices.
    """
    if text.isdecimal():
        return int(text)
    if text == "mean":
        return "mean"
    if text == "error":
        return "error"
    raise RequestError(f'--channel {text}: expected a number from 0, "mean" or "error"')


def parse_channel_or_each(text: str) -> int | Literal["error", "mean", "each"]:
    """As :func:`parse_channel`, where all channels are a choice, too."""
    if text == "each":
        return "each"
    try:
        return parse_channel(text)
    except RequestError as error:
        raise RequestError(f'{error}, or "each"') from None
