from __future__ import annotations

import os
import socket
import time

import pytest

from audiozen.processes import line as module
from audiozen.processes.line import Line, as_message, knows, open_door

MESSAGE = {"kind": "report", "text": "ü\n", "numbers": [1, 2.5, None]}


def received(line: Line, count: int) -> list[dict]:
    """Messages, as soon as there are so many."""
    messages, deadline = [], time.monotonic() + 5
    while len(messages) < count and line.is_open and time.monotonic() < deadline:
        messages += line.receive()
        time.sleep(0.001)
    return messages


def test_messages_arrive_as_they_were_sent(ends):
    near, other = ends
    far = Line(other)
    for number in range(100):
        near.send(MESSAGE | {"number": number})
    messages = received(far, 100)
    assert messages == [MESSAGE | {"number": number} for number in range(100)]
    far.close()


def test_messages_that_come_in_pieces_are_put_together(ends):
    near, far = ends
    for byte in b'{"kind": "bye"}\n{"kind"':
        far.sendall(bytes([byte]))
    assert received(near, 1) == [{"kind": "bye"}]
    assert near.receive() == []
    far.sendall(b': "stop"}\n')
    assert received(near, 1) == [{"kind": "stop"}]
    assert near.is_open


def test_what_was_said_before_the_end_is_heard(ends):
    near, far = ends
    far.sendall(b'{"kind": "bye"}\n')
    far.close()
    assert received(near, 1) == [{"kind": "bye"}]
    assert received(near, 1) == []
    assert not near.is_open


@pytest.mark.parametrize(
    "nonsense", [b"nonsense\n", b"[1]\n", b'{"king": 1}\n', b'{"kind": 1}\n', b"\xff\n"]
)
def test_nonsense_ends_the_line(ends, nonsense):
    near, far = ends
    far.sendall(nonsense)
    assert received(near, 1) == []
    assert not near.is_open


@pytest.mark.parametrize("text", [b"1", b"[]", b"{}", b'{"kind": null}', b"{"])
def test_only_what_has_a_kind_is_a_message(text):
    with pytest.raises(ValueError, match=r".+"):
        as_message(text)


def test_message_without_an_end_ends_the_line(ends):
    near, far = ends
    far.settimeout(0.1)
    with pytest.raises(TimeoutError):
        far.sendall(b"x" * 100_000_000)
    near.receive()
    assert not near.is_open
    assert len(near._received) < 2 * module.MAX_BYTES


def test_sending_waits_for_nobody(ends):
    near, far = ends
    begin = time.monotonic()
    for _ in range(200):
        near.send(MESSAGE | {"text": "x" * 100_000})
    assert time.monotonic() - begin < 2
    assert not near.is_clear
    count = 0
    while count < 200:  # nothing was lost
        count += far.recv(1 << 20).count(b"\n")
        near.flush()
    assert near.is_clear


def test_sending_to_one_that_is_gone_is_no_error(ends):
    near, far = ends
    far.close()
    for _ in range(10):
        near.send(MESSAGE)
        time.sleep(0.01)
    assert near.is_clear


def test_forked_child_holds_no_end(ends):
    near, far = ends
    child = os.fork()
    if child == 0:
        time.sleep(1.5)
        os._exit(0)
    near.close()
    begin = time.monotonic()
    assert far.recv(1) == b""
    assert time.monotonic() - begin < 1
    os.waitpid(child, 0)


def test_token_must_be_known():
    assert knows({"kind": "hello", "token": "abc"}, "abc")
    for message in ({"token": "ab"}, {"token": None}, {"token": ["abc"]}, {"token": "ü"}, {}):
        assert not knows(message, "abc")


def test_door_is_open_to_both_families():
    door = open_door()
    port = door.getsockname()[1]
    socket.create_connection(("127.0.0.1", port)).close()
    if door.family == socket.AF_INET6:
        socket.create_connection(("::1", port)).close()
    module.forget(door)
