"""The watch between the processes of a run: when one fails, dies or stands still, all end, and the reason is told once.

::

    watch = Watch(rank, world_size, where=lambda: Place("training", step=state.step))
    address = broadcast(watch.listen() if rank == 0 else None)
    if rank != 0:
        watch.connect(host_of_process_0, *address)
    with watch.guarded():               # what the processes do together
        ...
        with watch.waiting("scores"):   # around what all must enter
            gather(scores)
    watch.close()

A thread of each process keeps a line to process 0, beside what the processes exchange with each other; the main thread
pays for none of it. Lines are for the machines of one run among themselves: the token keeps out strangers who call by
mistake, not enemies who listen, and the worst that a message can do is end the run.
"""

from __future__ import annotations

import ctypes
import logging
import os
import secrets
import socket
import sys
import threading
import time
import traceback
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

from audiozen.processes.hub import Hub
from audiozen.processes.line import Message, call, open_door
from audiozen.processes.link import Limits, Spoke, failed, hello
from audiozen.processes.report import Member, Place, Report, stack_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Place", "Watch"]

logger = logging.getLogger(__name__)

GRACE = 5.0
"""Seconds in which the main thread must notice that another process failed; then this process is ended."""
LAST_GRACE = 30.0
"""The same for what is done after that, such as closing files."""
NEWS = 3.0
"""Seconds for which an exception is held back, to hear whether it comes of a failure elsewhere."""
MAX_TEXT = 8000
"""Characters of an exception that process 0 is told."""
CONNECT = 60.0
"""Seconds to reach process 0, where contact_timeout sets none."""


class Watch:
    """What one process of a run knows of the others.

    Alone (``world_size`` 1, or before :meth:`listen` and :meth:`connect`), it lets everything pass.

    A debugger that holds up the whole process, or SIGSTOP, is a silence like any other: the others end after
    ``contact_timeout``. A breakpoint of Python's only holds up the main thread, so that ``stall_timeout`` applies.

    Args:
        rank: number of this process, from 0.
        world_size: number of processes.
        local_rank: number of this process on its machine.
        stall_timeout: seconds without movement of any process after which all end, after a message that says where
            each of them is; a tenth of it after which there is a warning. A process moves when its place changes, or
            what it waits for. None: never.
        contact_timeout: seconds without a word of one process after which the others end: longer than any call that
            keeps all threads of a process from running. None: never.
        where: says what this process is doing; called in the thread, about once a second.

    Attributes:
        poll: asked a few times a second, in the thread, whether this process wants all to stop: a reason such as
            ``"SIGTERM"``, or None. So a handler of signals need do no more than set what this reads.
    """

    def __init__(
        self,
        rank: int,
        world_size: int,
        *,
        where: Callable[[], Place],
        local_rank: int = 0,
        stall_timeout: float | None = 1800.0,
        contact_timeout: float | None = 60.0,
    ) -> None:
        self.rank, self.world_size, self.local_rank = rank, world_size, local_rank
        self.poll: Callable[[], str | None] = lambda: None
        self._where = where
        self._limits = Limits.of(stall_timeout, contact_timeout, world_size)
        self._me = Member(rank, socket.gethostname(), os.getpid())
        self._main = threading.get_ident()
        self._label: str | None = None
        self._num_waits = 0
        self._depth = 0
        self._waits_in_vain = False
        self._is_settling = self._is_closing = False
        self._stop: str | None = None
        self._end: Message | None = None
        self._has_news = threading.Event()
        self._outbox: deque[Message] = deque()
        self._seen: object = None
        self._moved_at = 0.0
        self._link: Hub | Spoke | None = None
        self._thread: threading.Thread | None = None

    # ---- beginning and end --------------------------------------------------------------

    def listen(self) -> tuple[int, str]:
        """Wait for the calls of the others, in the background; on process 0.

        Returns:
            What the others need to :meth:`connect`: a port, and a token that shows that they belong here.
        """
        door, token = open_door(), secrets.token_hex(16)
        port: int = door.getsockname()[1]
        self._start(Hub(door, token, self._introduced(), self._limits, self.world_size))
        return port, token

    def connect(self, host: str, port: int, token: str) -> None:
        """Call process 0; on the others.

        Args:
            host: name or address of the machine of process 0.
            port: as :meth:`listen` returned it there.
            token: as well.

        Raises:
            TrainingError: there was no answer within ``contact_timeout``.
        """
        me = self._introduced()
        greeting = hello(me) | {"token": token}
        line, answer = call(host, port, greeting, self._limits.contact or CONNECT)
        # process 0 cannot say that it is gone; on its machine process 1 does, on others the first process there
        tells = self.rank == 1 or self.local_rank == 0
        self._start(Spoke(line, answer, me, self._limits, tells=tells))

    def _introduced(self) -> Member:
        self._me.report = self._report(0.0)
        return self._me

    def _start(self, link: Hub | Spoke) -> None:
        self._link = link
        self._thread = threading.Thread(target=self._run, args=[link], name="watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Say goodbye: from now on the others do not expect to hear of this process. Again: nothing happens."""
        self._is_closing = True
        if self._is_watching and self._thread and self._link:
            self._link.ring()
            self._thread.join(NEWS)
        self._thread = self._link = None

    @property
    def _is_watching(self) -> bool:
        """No in a forked child: it has no line."""
        return self._thread is not None and self._thread.is_alive()

    # ---- for the main thread --------------------------------------------------------------

    @contextmanager
    def waiting(self, label: str) -> Iterator[None]:
        """Around what all processes must enter for any to leave it, and nothing else. May be nested.

        Args:
            label: what for, the same on all processes.

        Raises:
            SystemExit: another process failed.
        """
        self.check()
        outside = self._label
        self._label = outside or label
        self._num_waits += 1
        self._waits_in_vain = False
        try:
            yield
        except BaseException:
            self._waits_in_vain = True
            raise
        finally:
            self._label = outside

    def check(self) -> None:
        """Go on only if no process has failed.

        Raises:
            SystemExit: one has, and tells why.
        """
        if self._end is not None:
            raise SystemExit(self._end["code"])

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Around what the processes do together: an exception that leaves this ends all of them.

        It is raised on the process where it came first. The others end with the same exit code, silently; those that do
        not notice in time are ended. Inside of another such context, nothing changes.

        Raises:
            SystemExit: another process failed, and tells why.
        """
        self._depth += 1
        try:
            yield
            self.check()
        except GeneratorExit:  # whoever asked for more has enough
            raise
        except BaseException as error:
            if self._depth > 1 or self._is_own_failure(error):
                raise
            raise SystemExit(self._end["code"] if self._end else 1) from error
        finally:
            self._depth -= 1

    def _is_own_failure(self, error: BaseException) -> bool:
        """Tell the others, and hear whether this error was the first."""
        if self._end is None and self._is_watching:
            self._is_settling = True
            code, text = exit_code(error), describe(error)
            self._say(failed(text, code=code, waits_in_vain=self._waits_in_vain))
            self._has_news.wait(NEWS)
            self._is_settling = False
        return self._end is None or self._end["rank"] == self.rank

    @property
    def stop_requested(self) -> str | None:
        """Who asked all processes to stop, such as ``"SIGTERM to process 1 (node-2)"``; None: nobody has."""
        if self._stop is None and not self._is_watching:
            self._stop = self.poll()
        return self._stop

    def ask_to_stop(self, reason: str) -> None:
        """Let all processes know, within about a second, that they are to stop. From any thread.

        Args:
            reason: such as ``"SIGTERM"``. The first counts.
        """
        if not self._is_watching:
            self._stop = self._stop or reason
        elif self._stop is None:
            text = f"{reason} to process {self.rank} ({self._me.host})"
            self._say({"kind": "stop", "reason": text})

    def _say(self, message: Message) -> None:
        self._outbox.append(message)
        if self._link is not None:
            self._link.ring()

    # ---- the thread -------------------------------------------------------------------------

    def _run(self, link: Hub | Spoke) -> None:
        try:
            while link.is_open and not self._is_closing:
                self._turn(link)
        except Exception:  # whatever it is, the training is worth more than its watch
            logger.exception(
                "the watch of process %d fails; the process goes on without it", self.rank
            )
        finally:
            link.close()
            self._has_news.set()

    def _turn(self, link: Hub | Spoke) -> None:
        if self._stop is None and (reason := self.poll()):
            self.ask_to_stop(reason)
        while self._outbox:
            link.send(self._outbox.popleft())
        if link.is_report_due():
            link.send({"kind": "report", "report": self._report(link.now).to_dict()})
        for message in link.turn():
            if message["kind"] == "stop":
                self._stop = message["reason"]
            elif message["kind"] == "end":
                self._take_the_end(message)

    def _report(self, now: float) -> Report:
        seen = (self._where(), self._label, self._num_waits)
        if seen != self._seen:
            self._seen, self._moved_at = seen, now
        return Report(
            *seen,
            still=now - self._moved_at,
            is_guarded=self._depth > 0,
            stack=stack_of(self._main),
        )

    # ---- ending because of another process -----------------------------------------------------

    def _take_the_end(self, end: Message) -> None:
        self._end = end
        if end["rank"] != self.rank:
            threading.Thread(target=self._force, args=[end["code"]], daemon=True).start()
            if self._depth and not self._is_settling:
                interrupt(self._main, end["code"])
        self._has_news.set()

    def _force(self, code: int) -> None:
        """End this process, unless it ends by itself in time."""
        begin = time.monotonic()
        while time.monotonic() - begin < (GRACE if self._depth else LAST_GRACE):
            time.sleep(0.1)
        flushing = threading.Thread(target=flush, daemon=True)  # may wait for the main thread
        flushing.start()
        flushing.join(1.0)
        os._exit(code)


def exit_code(error: BaseException) -> int:
    """With which a process ends that does not catch this error."""
    code = getattr(error, "code" if isinstance(error, SystemExit) else "exit_code", 1)
    if code is None:
        return 0
    return code if isinstance(code, int) else 1


def describe(error: BaseException) -> str:
    """What is told of an error: its text where it was made for people, else its traceback."""
    if hasattr(error, "exit_code"):
        return str(error)[:MAX_TEXT]
    return "".join(traceback.format_exception(error))[-MAX_TEXT:].rstrip()


def interrupt(thread: int, code: int) -> None:
    """Raise SystemExit in a thread, as soon as it runs code of Python."""

    class EndedElsewhere(SystemExit):
        """Another process failed, and has told why."""

        def __init__(self) -> None:
            super().__init__(code)

    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), ctypes.py_object(EndedElsewhere)
    )


def flush() -> None:
    """Bring out what is still to be shown or written."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
