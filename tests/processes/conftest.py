from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from audiozen.processes.line import Line

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def ends() -> Iterator[tuple[Line, socket.socket]]:
    """A line, and a socket that hears what it says."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        near = Line(socket.create_connection(door.getsockname()))
        far = door.accept()[0]
    far.settimeout(5)
    yield near, far
    near.close()
    far.close()
