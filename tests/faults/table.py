"""What was tried and what was survived."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Row(NamedTuple):
    """One kind of fault.

    Attributes:
        fault: what it is called.
        tried: how often it was inflicted.
        survived: how often everything was as promised afterwards.
        detail: what went wrong the first time, with how to repeat it; or why it was not tried at all.
    """

    fault: str
    tried: int
    survived: int
    detail: str = ""


class NotPossibleError(Exception):
    """This machine does not let us inflict the fault; the text says why."""


def tally(fault: str, case: Callable[..., object], arguments: Iterable[tuple[object, ...]]) -> Row:
    """Try a fault in many ways; a way that raises anything is not survived. One that is not possible is not tried."""
    tried, problems = 0, []
    for args in arguments:
        tried += 1
        try:
            case(*args)
        except NotPossibleError as error:
            return Row(fault, 0, 0, f"not tried: {error}")
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - it is counted and told
            where = traceback.extract_tb(error.__traceback__)[-1]
            problem = (
                f"{type(error).__name__}: {error} ({where.name}, line {where.lineno}: {where.line})"
            )
            problems.append(f"{problem} with {args}")
    return Row(fault, tried, tried - len(problems), problems[0] if problems else "")
