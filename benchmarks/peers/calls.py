"""How many functions of Python are called in a step, and which.

What counts is what ``sys.setprofile`` calls a "call", in the thread that trains: a function of Python begins, or a
generator goes on. Functions that are written in C do not count, and what other threads do neither. In Python 3.11 a
list, set or dict that is written as a comprehension is a call too; from 3.12 on it is not.

The window begins and ends where a batch is fetched, so it holds whole steps, and the same number of each of their parts
whatever the framework. What is called in the fetch itself is the same for all.

Accelerate, and with it transformers, looks in each step for a package that is not installed: the more entries
``sys.path`` has, the more calls that takes.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from peers import adapter

if TYPE_CHECKING:
    from types import CodeType, FrameType
    from typing import Any

    from peers.work import Result, Work

WARM_UP = 20
"""Steps before the window, in which much is made that stays."""


class Calls(NamedTuple):
    """What was counted.

    Attributes:
        num_steps: of the window.
        functions: how often each was called in all of them, by module and name.
        result: what the whole training has come to.
    """

    num_steps: int
    functions: Counter[str]
    result: Result

    @property
    def per_step(self) -> float:
        """Of all functions."""
        return self.functions.total() / self.num_steps

    def above(self, other: Calls) -> dict[str, float]:
        """Calls per step of each function that another has less often or not at all; negative where more often."""
        names = self.functions.keys() | other.functions.keys()
        above = {
            name: self.functions[name] / self.num_steps - other.functions[name] / other.num_steps
            for name in names
        }
        return {
            name: above[name] for name in sorted(names, key=lambda n: (-above[n], n)) if above[name]
        }


class Window:
    """Counts from one fetch to another.

    Args:
        first: number of the fetch where the window begins, from 1.
        last: where it ends.
    """

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, last
        self.num_fetched = 0
        self.codes: Counter[CodeType] = Counter()
        self.modules: dict[CodeType, str] = {}

    def on_fetch(self) -> None:
        """To be called for each batch."""
        self.num_fetched += 1
        if self.num_fetched == self.first:
            sys.setprofile(self._count)
        elif self.num_fetched == self.last:
            sys.setprofile(None)

    def _count(self, frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call":
            self.codes[frame.f_code] += 1
            if frame.f_code not in self.modules:
                self.modules[frame.f_code] = frame.f_globals.get("__name__", "")

    def functions(self) -> Counter[str]:
        """How often each was called, by module and name."""
        counts: Counter[str] = Counter()
        for code, count in self.codes.items():
            counts[f"{self.modules[code]}.{code.co_qualname}"] += count
        return counts


def count_calls(name: str, work: Work, num_steps: int) -> Calls:
    """Train with a framework, and count.

    Args:
        name: of the framework.
        work: whose number of steps is set here.
        num_steps: of the window.
    """
    first = 1 + WARM_UP * work.accumulation
    window = Window(first, first + num_steps * work.accumulation)
    total = WARM_UP + num_steps + 2  # some fetch a batch ahead
    result = adapter(name)(replace(work, num_steps=total, on_fetch=window.on_fetch))
    return Calls(num_steps, window.functions(), result)
