from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from audiozen.errors import RequestError
from audiozen.trainer.run_lock import run_lock

HOLD = """
import os, sys, time
from pathlib import Path
from audiozen.trainer.run_lock import run_lock
with run_lock(Path(sys.argv[1])):
    child = os.fork()  # as a worker of a dataloader
    if child == 0:
        time.sleep(30)
        os._exit(0)
    print(child, flush=True)
    time.sleep(30)
"""


def hold(folder) -> tuple[subprocess.Popen, int]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True
    )
    return process, int(process.stdout.readline())


def test_second_process_is_refused_with_who_is_there_until_the_first_is_killed(tmp_path):
    first, its_child = hold(tmp_path / "new" / "run")
    try:
        with (
            pytest.raises(
                RequestError, match=rf"run is in use by process {first.pid} on .+, started 20"
            ),
            run_lock(tmp_path / "new" / "run"),
        ):
            pass
        first.send_signal(signal.SIGKILL)
        first.wait()
        os.kill(its_child, 0)  # still lives
        with run_lock(tmp_path / "new" / "run"):
            pass
    finally:
        first.kill()
        os.kill(its_child, signal.SIGKILL)
        first.wait()
        first.stdout.close()


def test_lock_is_free_afterwards_and_may_be_taken_within_itself(tmp_path):
    for _ in range(2):
        with run_lock(tmp_path), run_lock(tmp_path / ".." / tmp_path.name):
            assert f"process {os.getpid()} on" in (tmp_path / ".lock").read_text()


def test_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(RequestError, match="file/run cannot be written: Not a directory"),
        run_lock(tmp_path / "file" / "run"),
    ):
        pass
