from __future__ import annotations

import resource
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

LimitFileSize: TypeAlias = Callable[[int | None], None]


@pytest.fixture
def limit_file_size() -> Iterator[LimitFileSize]:
    """Lets files grow to so many bytes and no more, as if the disk were full; None: as before."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def limit(num_bytes: int | None) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft if num_bytes is None else num_bytes, hard))

    yield limit
    limit(None)
    signal.signal(signal.SIGXFSZ, handler)
