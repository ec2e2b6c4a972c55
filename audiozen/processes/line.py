"""A line between two processes: short messages over TCP, and never a wait for the other end."""

from __future__ import annotations

import hmac
import json
import os
import socket
import time
from typing import Any

from audiozen.errors import TrainingError

Message = dict[str, Any]

MAX_BYTES = 1 << 18
"""Of one message. Nobody who means well sends more."""
RETRY = 0.2
"""Seconds between two calls to a process that does not answer yet."""


class Line:
    """One end of a connection. Messages are JSON, one on each line: data, never code.

    Neither :meth:`send` nor :meth:`receive` waits, so that a process which stands still holds up nobody.

    Args:
        connection: a connected socket; it belongs to the line from now on.

    Attributes:
        is_open: whether the other end can still be heard.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = connection
        self._received = bytearray()
        self._unsent = bytearray()
        self.is_open = True
        keep(connection)

    def fileno(self) -> int:
        """For a selector."""
        return self._connection.fileno()

    @property
    def is_clear(self) -> bool:
        """Whether all that was sent has left."""
        return not self._unsent

    def send(self, message: Message) -> None:
        """Send a message, or keep it until :meth:`flush` can."""
        self._unsent += json.dumps(message).encode() + b"\n"
        self.flush()

    def flush(self) -> None:
        """Send what was kept, as far as that goes."""
        try:
            while self._unsent:
                del self._unsent[: self._connection.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent.clear()  # what the other end has said before is still to be read

    def receive(self) -> list[Message]:
        """The messages that have arrived. An end of the connection, or nonsense, sets ``is_open`` to False."""
        self._read()
        *complete, rest = bytes(self._received).split(b"\n")
        self._received = bytearray(rest)
        messages = []
        try:
            messages = [as_message(line) for line in complete]
        except ValueError:
            self.is_open = False
        if len(self._received) > MAX_BYTES:
            self.is_open = False
        return messages

    def _read(self) -> None:
        try:
            while len(self._received) <= MAX_BYTES:
                data = self._connection.recv(1 << 16)
                if not data:
                    self.is_open = False
                    return
                self._received += data
        except BlockingIOError:
            pass
        except OSError:
            self.is_open = False

    def finish(self) -> None:
        """Tell the other end that nothing more will be sent."""
        self.flush()
        try:
            self._connection.shutdown(socket.SHUT_WR)
        except OSError:
            self.is_open = False

    def close(self) -> None:
        """End the connection."""
        self.is_open = False
        forget(self._connection)


def as_message(line: bytes) -> Message:
    """What was sent.

    Raises:
        ValueError: it is no message.
    """
    match json.loads(line):
        case {"kind": str()} as message:
            return dict(message)
    raise ValueError(line)


def knows(message: Message, token: str) -> bool:
    """Whether the sender knows the token."""
    return hmac.compare_digest(str(message.get("token")).encode(), token.encode())


def open_door() -> socket.socket:
    """A socket that listens on a free port of all interfaces."""
    try:
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        door = socket.create_server(("", 0), family=family, backlog=1024, dualstack_ipv6=both)
    except OSError:  # a machine may know IPv6 and have it switched off
        door = socket.create_server(("", 0), backlog=1024)
    door.setblocking(False)
    keep(door)
    return door


def call(host: str, port: int, greeting: Message, timeout: float) -> tuple[Line, list[Message]]:
    """A line to process 0, and its answer to the greeting: one message or more.

    Raises:
        TrainingError: it could not be reached, or did not answer, within ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            return _call_once(host, port, greeting, deadline)
        except OSError as error:
            if time.monotonic() + RETRY > deadline:
                raise TrainingError(
                    f"process {greeting['rank']} on {greeting['host']} could not reach process 0 at {host}, "
                    f"port {port}, within {timeout:g} s: {error}. Every port of process 0's machine must be open "
                    "to the machines of the run; MASTER_ADDR is its address"
                ) from error
        time.sleep(RETRY)


def _call_once(
    host: str, port: int, greeting: Message, deadline: float
) -> tuple[Line, list[Message]]:
    left = max(deadline - time.monotonic(), RETRY)
    line = Line(socket.create_connection((host, port), timeout=left))
    try:
        line.send(greeting)
        return line, _answer(line, deadline)
    except BaseException:
        line.close()
        raise


def _answer(line: Line, deadline: float) -> list[Message]:
    while time.monotonic() < deadline:
        messages = line.receive()
        if messages:
            return messages
        if not line.is_open:
            raise ConnectionError("it hung up; something else may listen there")
        time.sleep(0.01)
    raise TimeoutError("no answer")


# ---- forked children -------------------------------------------------------------------

_sockets: set[socket.socket] = set()
"""A child that is forked would keep them open, and nobody would see its parent die."""


def keep(connection: socket.socket) -> None:
    """Take note of a socket that no forked child may have."""
    _sockets.add(connection)


def forget(connection: socket.socket) -> None:
    """Close a socket that was kept."""
    _sockets.discard(connection)
    connection.close()


def _close_in_child() -> None:
    for connection in list(_sockets):
        forget(connection)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
