"""What the fault tests share."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def fresh_process() -> Iterator[ProcessPoolExecutor]:
    """A process that nothing was trained in, for drills that fork: threads of other tests do not survive that."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        yield pool
