from __future__ import annotations

import gc
import multiprocessing
import signal

import pytest


@pytest.fixture(autouse=True)
def workers_end_with_their_test():
    """The traceback of an error keeps its loader alive, and PyTorch waits seconds for the workers of such a loader."""
    before = multiprocessing.active_children()
    yield
    workers = [child for child in multiprocessing.active_children() if child not in before]
    if workers:
        handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's would raise
        for worker in workers:
            worker.kill()
            worker.join()
        gc.collect()
        signal.signal(signal.SIGCHLD, handler)
