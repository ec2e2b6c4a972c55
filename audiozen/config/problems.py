"""What is wrong with a configuration: one line for each problem, all of them at once."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

Place = tuple[str | int, ...]


class Problem(NamedTuple):
    """One thing that is wrong.

    Args:
        place: keys that lead to it, from the outermost table to the key itself.
        text: the sentence that follows the name of the table.
    """

    place: Place
    text: str

    def __str__(self) -> str:
        table = self.place[:-1] or self.place
        return f"[{'.'.join(map(str, table))}] {self.text}" if table else self.text


def unknown_key(key: str, known: Iterable[str]) -> str:
    """The sentence for a key that nobody knows."""
    return f"unknown key {key}; {suggestion(key, known)}"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant, or None if none is near."""
    near = get_close_matches(name, sorted(known), n=1)
    return near[0] if near else None


def suggestion(name: str, known: Iterable[str], what: str = "known keys") -> str:
    """What was meant: "did you mean 'x'?" where something is near, else all that is known."""
    names = sorted(known)
    if near := nearest(name, names):
        return f"did you mean {near!r}?"
    return f"{what}: {', '.join(names)}" if names else f"{what}: none"
