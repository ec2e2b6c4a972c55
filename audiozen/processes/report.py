"""What processes say about themselves, and what follows from it. Nothing here talks to anybody."""

from __future__ import annotations

import linecache
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

DISAGREEMENT = 5.0
"""Seconds after which processes that wait in different places, each as its n-th wait, are held to have parted."""
LAG = 60.0
"""The same where one has waited more often: large messages may still be on their way to those behind it."""
MAX_FRAMES = 15
MAX_NAMED = 16
"""A message names so many processes, and counts the others."""

_OWN = {__file__, str(Path(__file__).with_name("watch.py"))}


@dataclass(frozen=True)
class Place:
    """Where in a run a process is. Numbers that mean nothing there are None.

    >>> str(Place("training", epoch=2, step=40))
    'training, epoch 2, step 40'
    """

    phase: str
    epoch: int | None = None
    step: int | None = None
    batch: int | None = None

    def __str__(self) -> str:
        numbers = {"epoch": self.epoch, "step": self.step, "batch": self.batch}
        return ", ".join(
            [self.phase, *(f"{name} {n}" for name, n in numbers.items() if n is not None)]
        )


@dataclass(frozen=True)
class Report:
    """What a process says about itself.

    Attributes:
        place: where it is.
        waits_for: what its main thread waits for, together with all others; None: it is busy.
        num_waits: how often it has begun to wait.
        still: seconds since any of these changed.
        is_guarded: whether it is at work that the processes do together.
        stack: of its main thread, the innermost call last.
    """

    place: Place
    waits_for: str | None = None
    num_waits: int = 0
    still: float = 0.0
    is_guarded: bool = True
    stack: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """As it is sent."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Report:
        """As it was sent."""
        return cls(**data | {"place": Place(**data["place"])})


@dataclass
class Member:
    """One of the processes, as another one knows it.

    Attributes:
        heard_at: when it was last heard, by the clock of who listens.
        report: what it said then; None: nothing yet.
        has_left: it said goodbye, or why it ends.
    """

    rank: int
    host: str = "?"
    pid: int = 0
    heard_at: float = 0.0
    report: Report | None = field(default=None, repr=False)
    has_left: bool = False

    def __str__(self) -> str:
        return f"process {self.rank} on {self.host} (pid {self.pid})"

    @property
    def place(self) -> str:
        """Where it was last seen."""
        return str(self.report.place) if self.report else "its start"

    def still(self, now: float) -> float:
        """Seconds for which it has not moved, as far as is known. To leave is to move."""
        silent = now - self.heard_at
        return silent if self.has_left or self.report is None else max(self.report.still, silent)


def seconds_without_movement(members: Sequence[Member], now: float) -> float:
    """For how long no process has moved; 0 where that is in order, or unknown.

    It is in order where nobody is at common work, and where one is busy that is the last.
    """
    present = [member for member in members if not member.has_left]
    reports = [member.report for member in present if member.report]
    if len(reports) < len(present) or not any(report.is_guarded for report in reports):
        return 0.0
    if len(reports) == 1 and reports[0].waits_for is None:
        return 0.0
    return min(member.still(now) for member in members)


def have_parted(members: Sequence[Member], now: float) -> bool:
    """Whether all processes wait, but not for the same, or for one that has left, so that nobody can ever go on."""
    present = [member for member in members if not member.has_left]
    reports = [member.report for member in present if member.report]
    if not reports or len(reports) < len(present) or any(r.waits_for is None for r in reports):
        return False
    still = [report.still for report in reports]
    still += [member.still(now) for member in members if member.has_left]
    all_there = len(present) == len(members)
    if all_there and len({report.waits_for for report in reports}) == 1:
        return False
    in_step = all_there and len({report.num_waits for report in reports}) == 1
    return min(still) > (DISAGREEMENT if in_step else LAG)


def roll_call(members: Iterable[Member], now: float, *, stacks: bool) -> str:
    """Each process on a line of its own, the busy ones first, with what its main thread does."""
    ordered = sorted(members, key=lambda member: (_order(member), member.rank))
    lines = [_entry(member, now, stacks=stacks) for member in ordered[:MAX_NAMED]]
    if len(ordered) > MAX_NAMED:
        lines.append(f"  and {len(ordered) - MAX_NAMED} more")
    return "\n".join(lines)


def _order(member: Member) -> int:
    if member.has_left or member.report is None:
        return 1
    return 0 if member.report.waits_for is None else 2


def _entry(member: Member, now: float, *, stacks: bool) -> str:
    if member.has_left or member.report is None:
        return f"  {member}: {'has ended' if member.has_left else 'was never heard'}"
    doing = f"busy in {member.place}"
    if member.report.waits_for is not None:
        doing = f"waiting for the others in {member.report.waits_for} ({member.place})"
    first = f"  {member}: {doing}, for {member.still(now):.0f} s"
    return "\n".join([first, *indented(member.report.stack)]) if stacks else first


def indented(stack: Iterable[str]) -> list[str]:
    """A stack below the line that it belongs to."""
    return [f"      {frame}" for frame in stack]


def stack_of(thread: int) -> list[str]:
    """What a thread does: ``file:line in function: source``, the innermost call last."""
    frames: list[str] = []
    frame = sys._current_frames().get(thread)
    while frame is not None and len(frames) < MAX_FRAMES:
        file = frame.f_code.co_filename
        if file not in _OWN:
            # None between two lines, as the debugger of CPython has it.
            line: int | None = frame.f_lineno
            line = line or frame.f_code.co_firstlineno
            source = linecache.getline(file, line).strip()
            frames.append(f"{file}:{line} in {frame.f_code.co_name}: {source[:100]}")
        frame = frame.f_back
    return frames[::-1]
