"""The end of process 0: who is there, who has failed, who hangs, and what all are told of it."""

from __future__ import annotations

import logging
import math
import selectors
import time
from typing import TYPE_CHECKING

from audiozen.processes.line import Line, Message, forget, knows
from audiozen.processes.link import (
    RESUME,
    SPREAD,
    TURN,
    Limits,
    Link,
    death_of,
    hello,
    introduce,
    part,
    tell,
)
from audiozen.processes.report import (
    Member,
    Report,
    have_parted,
    roll_call,
    seconds_without_movement,
)

if TYPE_CHECKING:
    import socket

SETTLE = 0.5
"""Seconds for which an exception is not passed on yet: it may come of a death elsewhere that is about to be seen."""
STRANGER = 5.0
"""Seconds in which a caller has to say who it is."""


class Hub(Link):
    """The end of process 0, which hears of everything and decides what it means.

    Args:
        door: a socket that listens.
        token: what callers must know.
        me: process 0.
        limits: what is held to be wrong.
        world_size: number of processes.
    """

    def __init__(
        self, door: socket.socket, token: str, me: Member, limits: Limits, world_size: int
    ) -> None:
        super().__init__(me, limits)
        self._door, self._token = door, token
        self._members = [me, *(Member(rank) for rank in range(1, world_size))]
        self._lines: dict[Line, Member] = {}
        self._strangers: dict[Line, float] = {}
        self._inbox: list[Message] = []
        self._stop: Message | None = None
        self._suspected: Message | None = None
        self._end: Message | None = None
        self._unaware: set[int] = set()
        self._deadline = self._next_round = 0.0
        self._has_warned = False
        self._selector.register(door, selectors.EVENT_READ)

    def send(self, message: Message) -> None:
        """From process 0's own main thread."""
        self._hear(self.me, message)
        if message["kind"] == "report":
            self._spread(message)

    def turn(self) -> list[Message]:
        """Messages for process 0."""
        for source in self.sleep():
            if source is self._door:
                self._let_in()
            elif isinstance(source, Line):
                self._read(source)
        if self.now >= self._next_round:  # each message ends a turn, and there may be many
            self._next_round = self.now + TURN
            self._make_round()
        self._judge()
        messages, self._inbox = self._inbox, []
        return messages

    def _make_round(self) -> None:
        """What costs more the more processes there are."""
        for line in self._lines:
            line.flush()
        self._turn_away_strangers()
        if self._end is None and self._suspected is None:
            self._look_for_trouble()

    # ---- who is there -----------------------------------------------------------------

    def _let_in(self) -> None:
        try:
            line = Line(self._door.accept()[0])
        except OSError:  # it has hung up, or there are no more file handles
            time.sleep(TURN / 2)
            return
        self._strangers[line] = self.now + STRANGER
        self._selector.register(line, selectors.EVENT_READ)

    def _turn_away_strangers(self) -> None:
        for line, deadline in list(self._strangers.items()):
            if self.now > deadline:
                self._turn_away(line)

    def _turn_away(self, line: Line) -> None:
        del self._strangers[line]
        self._hang_up(line)

    def _welcome(self, line: Line, message: Message) -> None:
        """Make a caller a member, if it is one."""
        expected = {member.rank: member for member in self._members[1:] if not member.pid}
        member = expected.get(message.get("rank", 0))
        if member is None or not knows(message, self._token):
            line.is_open = False
            return
        del self._strangers[line]
        introduce(member, message)
        member.heard_at = self.now
        self._lines[line] = member
        line.send(hello(self.me))
        for news in (self._stop, self._end):
            if news:
                line.send(news)
        if len(self._lines) == len(self._members) - 1:
            self._close_door()

    def _close_door(self) -> None:
        """Once everybody is in, or it is over."""
        if self._door.fileno() < 0:
            return
        self._selector.unregister(self._door)
        forget(self._door)
        for line in self._strangers:
            self._hang_up(line)
        self._strangers.clear()

    def _hang_up(self, line: Line) -> None:
        self._selector.unregister(line)
        line.close()

    def _read(self, line: Line) -> None:
        for message in line.receive():
            if line in self._lines:
                self._hear(self._lines[line], message)
            elif line in self._strangers:
                self._welcome(line, message)
        if not line.is_open and line in self._lines:
            self._lose(line)
        elif not line.is_open and line in self._strangers:
            self._turn_away(line)

    def _lose(self, line: Line) -> None:
        """The connection has ended: in good order if the process had said that it would."""
        member = self._lines.pop(line)
        self._hang_up(line)
        self._unaware.discard(member.rank)
        if not member.has_left:
            member.has_left = True
            self._decide(death_of(member))

    # ---- what they say ----------------------------------------------------------------

    def _hear(self, member: Member, message: Message) -> None:
        member.heard_at = self.now
        match message["kind"]:
            case "report":
                member.report = Report.from_dict(message["report"])
            case "stop" if self._stop is None:
                self._stop = message
                self._spread(message)
                self._inbox.append(message)
            case "failed":
                member.has_left = True
                self._suspect(member, message)
            case "bye":
                member.has_left = True
                self._unaware.discard(member.rank)

    def _spread(self, message: Message) -> None:
        for line, member in self._lines.items():
            if message["kind"] != "report" or (line.is_clear and not member.has_left):
                line.send(message)

    # ---- what that means --------------------------------------------------------------

    def _suspect(self, member: Member, message: Message) -> None:
        """Take note of a failure, which may not be the one to tell: a worse one may have caused it."""
        rank = member.rank if message["is_told"] else None
        failure = message | {"kind": "end", "rank": rank, "who": str(member)}
        if self._suspected is None:
            self._deadline = self.now + SETTLE
            self._suspected = failure
        elif goes_before(failure, self._suspected):
            self._suspected = failure

    def _judge(self) -> None:
        if self._end is not None:
            self._end_as_well(self._end)
        elif self._suspected is not None and self.now > self._deadline:
            self._end_all(self._suspected)

    def _look_for_trouble(self) -> None:
        for member in self._members[1:]:
            text = None if member.has_left else self.lost(member)
            if text:
                self._decide(text)
                return
        if have_parted(self._members, self.now):
            self._decide(self._parted())
        elif self.limits.stall is not None:
            self._look_for_stall(self.limits.stall)

    def _look_for_stall(self, limit: float) -> None:
        seconds = seconds_without_movement(self._members, self.now)
        if seconds > limit:
            self._decide(self._stalled(limit))
            return
        warns = seconds > max(limit / 10, 2 * self.limits.report)
        if warns and not self._has_warned:
            who = roll_call(self._members, self.now, stacks=False)
            tell(logging.WARNING, f"no process has moved for {seconds:.0f} s:\n{who}")
        self._has_warned = warns

    def _stalled(self, limit: float) -> str:
        return (
            f"no process has moved for {limit:g} s (stall_timeout), so the run ends. Those that are busy hold up the "
            f"others: see what they do, and raise stall_timeout if it may take so long. {RESUME}\n"
            + roll_call(self._members, self.now, stacks=True)
        )

    def _parted(self) -> str:
        return (
            "processes went different ways, and wait for each other in different places: look for a hook that returns "
            f"early, or does something on one process only, before these places. {RESUME}\n"
            + roll_call(self._members, self.now, stacks=True)
        )

    def _decide(self, text: str) -> None:
        """All end, for a reason that nobody else tells."""
        if self._end is None:
            self._end_all({"kind": "end", "rank": None, "code": 1, "text": text})

    def _end_all(self, end: Message) -> None:
        self._end = end
        self._unaware = {member.rank for member in self._lines.values()}
        self._deadline = self.now + SPREAD
        self._spread(end)
        if end["rank"] is None:
            tell(logging.ERROR, end["text"])
        elif end["rank"] != 0:  # it says so itself, on its own stderr
            tell(logging.INFO, f"{end['who']} failed: {end['text']}", told_elsewhere=True)

    def _end_as_well(self, end: Message) -> None:
        """Once the others know: who hears that process 0 is gone before it hears why, takes it for a death."""
        if not self._unaware or self.now > self._deadline:
            self.is_open = False
            self._inbox.append(end)

    def close(self) -> None:
        """Say goodbye to all, and hang up."""
        self._close_door()
        part(self._lines)
        super().close()


def goes_before(failure: Message, first: Message) -> bool:
    """Whether a failure is rather to be told than the one that was heard first.

    What comes while waiting for the others may be of their making. What comes to all is told by the first that can.
    """
    if failure["text"] == first["text"]:
        ranks = [math.inf if one["rank"] is None else one["rank"] for one in (failure, first)]
        return bool(ranks[0] < ranks[1])
    return bool(first["waits_in_vain"] and not failure["waits_in_vain"])
