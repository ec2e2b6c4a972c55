"""What all tests share."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest
import torch

torch.set_num_threads(1)  # the tests run on all cores already
# Shells ignore it for what runs in the background.
signal.signal(signal.SIGINT, signal.default_int_handler)

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE = 30_000  # ms

REQUIREMENTS = {
    "browser": (CHROMIUM is not None, "needs Chromium; on Debian: apt-get install chromium"),
    "gpu": (torch.cuda.is_available(), "needs a CUDA device"),
    "pesq": (find_spec("pesq") is not None, "needs pesq, which a C compiler builds"),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for marker, (is_met, reason) in REQUIREMENTS.items():
        for item in items:
            if not is_met and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A Chromium: one for all tests of a process, as there cannot be two."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(
            executable_path=CHROMIUM, args=list(OPTIONS), timeout=2 * PATIENCE
        )
        yield chromium
        chromium.close()
