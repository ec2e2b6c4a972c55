"""How a process keeps in touch with process 0.

Everything here, and in :mod:`~audiozen.processes.hub`, is done by the thread of the watch: one turn after the other,
none much longer than :data:`TURN`. Messages are dictionaries with a ``kind``:

=========  ==================================================================================================
hello      first, both ways: rank, host, pid and a report; to process 0 the token as well
report     both ways, about once a second: what the main thread does, which is a sign of life as well
stop       both ways: somebody asks all processes to stop; the reason
failed     to process 0: an exception, or the silence of process 0, ended the common work; see :func:`failed`
end        to all: the run has failed; the text, the exit code, and the rank of who tells it (None: it is told)
bye        both ways: nothing more will come, and that is in order
=========  ==================================================================================================
"""

from __future__ import annotations

import logging
import selectors
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from audiozen.processes.line import Line, Message, forget, keep
from audiozen.processes.report import Member, Report, indented

if TYPE_CHECKING:
    from collections.abc import Iterable

logger = logging.getLogger(__name__)

TURN = 0.2
"""Seconds of one turn at most: how soon a signal, or movement, is seen."""
SPREAD = 1.0
"""Seconds that process 0 gives the others to take note of an end before it ends itself."""
RESUME = "Start the run again with --resume"


@dataclass(frozen=True)
class Limits:
    """Seconds after which something is held to be wrong; None: never.

    Attributes:
        stall: without any process moving.
        contact: without a word of one of them.
        report: between two reports.
    """

    stall: float | None
    contact: float | None
    report: float

    @classmethod
    def of(cls, stall: float | None, contact: float | None, world_size: int) -> Limits:
        """With reports often enough for the others, but about a hundred a second in all, for process 0's sake."""
        shortest = min(limit for limit in (stall, contact, 240.0) if limit is not None)
        return cls(stall, contact, report=min(max(1.0, world_size / 100), shortest / 4))


class Link:
    """What both ends have in common: a clock, and sleep that a message or another thread ends.

    Args:
        me: this process.
        limits: what is held to be wrong.

    Attributes:
        now: seconds, without those in which this process itself stood still.
    """

    def __init__(self, me: Member, limits: Limits) -> None:
        self.me = me
        self.limits = limits
        self.now = 0.0
        self.is_open = True
        self._last_turn = time.monotonic()
        self._next_report = 0.0
        self._selector = selectors.DefaultSelector()
        self._bell, self._button = socket.socketpair()
        for end in (self._bell, self._button):
            end.setblocking(False)
            keep(end)
        self._selector.register(self._bell, selectors.EVENT_READ)

    def ring(self) -> None:
        """End the turn; for other threads."""
        with suppress(OSError):  # it rings already, or is closed
            self._button.send(b".")

    def sleep(self) -> list[object]:
        """Wait for a turn, or until something happens; whatever can be read then."""
        ready = [key.fileobj for key, _ in self._selector.select(TURN)]
        if self._bell in ready:
            ready.remove(self._bell)
            with suppress(BlockingIOError):
                self._bell.recv(1 << 16)
        moment = time.monotonic()
        self.now += min(moment - self._last_turn, 2 * TURN)
        self._last_turn = moment
        return list(ready)

    def is_report_due(self) -> bool:
        """Whether it is time for the next report; asked once for each."""
        if self.now < self._next_report:
            return False
        self._next_report = self.now + self.limits.report
        return True

    def lost(self, member: Member) -> str | None:
        """What to say of a process that has been silent for too long."""
        limit = self.limits.contact
        if limit is None or self.now - member.heard_at <= limit:
            return None
        if member.report is None:
            return f"process {member.rank} did not call process 0 on {self.me.host} within {limit:g} s. {RESUME}"
        text = (
            f"{member} gave no sign of life for {limit:g} s (contact_timeout): its machine or the network is down, "
            f"or something holds it up altogether, such as SIGSTOP. {RESUME}. Last seen in {member.place}, at"
        )
        return "\n".join([text, *indented(member.report.stack)])

    def close(self) -> None:
        """Give back what the system lent."""
        self.is_open = False
        self._selector.close()
        forget(self._bell)
        forget(self._button)


def hello(me: Member) -> Message:
    """What a process says first."""
    report = me.report.to_dict() if me.report else None
    return {"kind": "hello", "rank": me.rank, "host": me.host, "pid": me.pid, "report": report}


def introduce(member: Member, message: Message) -> None:
    """Take note of what a process said first."""
    member.host, member.pid = message["host"], message["pid"]
    member.report = Report.from_dict(message["report"])


def failed(
    text: str, *, code: int = 1, waits_in_vain: bool = False, is_told: bool = True
) -> Message:
    """Why a process ends.

    Args:
        text: the reason.
        code: its exit code.
        waits_in_vain: it came while waiting for the others.
        is_told: this process tells it, if it turns out to be what all end for.
    """
    return {
        "kind": "failed",
        "text": text,
        "code": code,
        "waits_in_vain": waits_in_vain,
        "is_told": is_told,
    }


def death_of(member: Member) -> str:
    """What to say of a process whose line has broken."""
    return (
        f"{member} ended without a word: killed (the system does so when memory runs out) or crashed; what it wrote "
        f"last may say more. {RESUME}. Last seen in {member.place}"
    )


def part(lines: Iterable[Line]) -> None:
    """Say goodbye and hang up.

    Not before the other ends have done so, but for a moment's patience: who hangs up with messages unread, may take
    from the other end what it was told last.
    """
    lines = list(lines)
    for line in lines:
        line.send({"kind": "bye"})
        line.finish()
    deadline = time.monotonic() + SPREAD
    while any(line.is_open for line in lines) and time.monotonic() < deadline:
        time.sleep(0.005)
        for line in lines:
            line.receive()
    for line in lines:
        line.close()


def tell(level: int, text: str, **extra: object) -> None:
    """Log it, but do not wait long: the main thread may stand still in the middle of a message."""
    thread = threading.Thread(
        target=logger.log, args=[level, "%s", text], kwargs={"extra": extra}, daemon=True
    )
    thread.start()
    thread.join(SPREAD)


class Spoke(Link):
    """The end of every process but process 0.

    Args:
        line: to process 0.
        answer: what process 0 has said to the greeting.
        me: this process.
        limits: what is held to be wrong.
        tells: whether this process is the one to say that process 0 is gone.
    """

    def __init__(
        self, line: Line, answer: list[Message], me: Member, limits: Limits, *, tells: bool
    ) -> None:
        super().__init__(me, limits)
        greeting, *self._news = answer
        self._zero = Member(0)
        introduce(self._zero, greeting)
        self._line, self._tells = line, tells
        self._selector.register(line, selectors.EVENT_READ)
        self.ring()  # the answer may hold more than a greeting

    def send(self, message: Message) -> None:
        """To process 0."""
        if message["kind"] != "report" or self._line.is_clear:  # reports do not pile up
            self._line.send(message)

    def turn(self) -> list[Message]:
        """Messages for this process."""
        self.sleep()
        self._line.flush()
        messages, self._news = self._news + self._line.receive(), []
        for message in messages:
            self._take_note(message)
        wrong = self._what_is_wrong()
        if self.is_open and wrong:
            messages.append(self._end_without_process_0(wrong))
        return messages

    def _take_note(self, message: Message) -> None:
        self._zero.heard_at = self.now
        if message["kind"] == "report":
            self._zero.report = Report.from_dict(message["report"])
        elif message["kind"] in ("end", "bye"):
            self.is_open = False

    def _what_is_wrong(self) -> str | None:
        return self.lost(self._zero) if self._line.is_open else death_of(self._zero)

    def _end_without_process_0(self, text: str) -> Message:
        self.is_open = False
        self._line.send(failed(text, is_told=self._tells))  # process 0 may wake up again
        if self._tells:
            tell(logging.ERROR, text)
        return {"kind": "end", "rank": None, "code": 1, "text": text}

    def close(self) -> None:
        """Say goodbye, and hang up."""
        part([self._line])
        super().close()
