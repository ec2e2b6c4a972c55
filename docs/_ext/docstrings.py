"""Docstrings as they are meant, where Sphinx would read them otherwise."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_ANY_ARRAY = re.compile(r"ndarray\[(tuple\[Any, \.\.\.\]|Any), dtype\[Any\]\]")


def setup(app: Sphinx) -> dict[str, Any]:
    """Listen to autodoc, before napoleon does."""
    app.connect("autodoc-process-docstring", _keep_first_sentence, priority=100)
    app.connect("autodoc-process-signature", _shorten_arrays)
    app.connect("autodoc-skip-member", _skip_fields_without_words)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _keep_first_sentence(
    _app: Sphinx, what: str, _name: str, _object: Any, _options: Any, lines: list[str]
) -> None:
    """Of an attribute, napoleon takes what stands before a colon in the first line for a type: give it another line."""
    if what in ("attribute", "property", "data"):
        lines[:0] = ["..", ""]  # an empty comment


def _skip_fields_without_words(
    _app: Sphinx, _what: str, _name: str, member: Any, _skips: bool, _options: Any
) -> bool | None:
    """Fields of named tuples have a docstring of Python's own, which says nothing."""
    return True if (inspect.getdoc(member) or "").startswith("Alias for field number") else None


def _shorten_arrays(_app: Sphinx, *event: Any) -> tuple[str | None, ...]:
    """What NumPy makes of ``NDArray[Any]`` tells nothing more than ``ndarray``."""
    *_, arguments, returned = event
    return tuple(text and _ANY_ARRAY.sub("ndarray", text) for text in (arguments, returned))
