"""Several real processes of one run, started as torchrun starts them: by the variables that it sets."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.distributed import warm_start

if TYPE_CHECKING:
    import signal
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    returncode: int
    stdout: str
    stderr: str
    seconds: float
    """From the start of all processes to the end of this one."""


class Processes:
    """Processes 0 … ``num_processes - 1`` of one run on this machine.

    Args:
        command: what each runs after ``python``, such as a script's path and its arguments.
        num_processes: how many.
        folder: where their output is kept.
        env: variables besides those of this process and of torchrun.
        is_warm: PyTorch is imported already, where the command has no options of Python. Else each process begins
            with nothing.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        num_processes: int,
        folder: Path,
        env: Mapping[str, str] | None = None,
        *,
        is_warm: bool = True,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.begin = time.monotonic()
        self.folder = folder
        shared = {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(free_port()),
            "WORLD_SIZE": str(num_processes),
            "LOCAL_WORLD_SIZE": str(num_processes),
            "OMP_NUM_THREADS": "1",
        }
        words = [str(word) for word in command]
        start = start_warm if is_warm and (words[0] == "-m" or words[0][0] != "-") else start_cold
        self.popen = []
        for rank in range(num_processes):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            every = os.environ | shared | own | dict(env or {})
            self.popen.append(start(words, every, folder, rank))

    def stderr(self, rank: int) -> str:
        """What a process has written to stderr so far."""
        return (self.folder / f"stderr_{rank}").read_text()

    def stdout(self, rank: int) -> str:
        """The same of stdout."""
        return (self.folder / f"stdout_{rank}").read_text()

    def send_signal(self, rank: int, number: signal.Signals) -> None:
        """Send a signal to one of them."""
        self.popen[rank].send_signal(number)

    def wait_for(self, path: Path, timeout: float = 60.0) -> None:
        """Return when there is such a file."""
        deadline = time.monotonic() + timeout
        while not path.exists():
            for rank, process in enumerate(self.popen):
                assert process.poll() is None, f"process {rank} ended:\n{self.stderr(rank)}"
            assert time.monotonic() < deadline, f"{path} did not come"
            time.sleep(0.01)

    def wait(self, timeout: float = 120.0, *, without: Collection[int] = ()) -> list[Ended]:
        """How all of them ended; those that are still there after ``timeout`` seconds are killed (code -9).

        Args:
            timeout: in seconds.
            without: processes that do not end by themselves; they are killed when the others have ended.
        """
        deadline, seconds = time.monotonic() + timeout, {}
        expected = set(range(len(self.popen))) - set(without)
        while not expected <= seconds.keys() and time.monotonic() < deadline:
            for rank, process in enumerate(self.popen):
                if rank not in seconds and process.poll() is not None:
                    seconds[rank] = time.monotonic() - self.begin
            time.sleep(0.01)
        for process in self.popen:
            process.kill()
        now = time.monotonic() - self.begin
        return [
            Ended(process.wait(), self.stdout(rank), self.stderr(rank), seconds.get(rank, now))
            for rank, process in enumerate(self.popen)
        ]


def start_cold(
    command: list[str], env: dict[str, str], folder: Path, rank: int
) -> subprocess.Popen[bytes]:
    """A new process, which writes to files in the folder."""
    with (
        (folder / f"stdout_{rank}").open("w") as stdout,
        (folder / f"stderr_{rank}").open("w") as stderr,
    ):
        return subprocess.Popen([sys.executable, *command], env=env, stdout=stdout, stderr=stderr)


def start_warm(
    command: list[str], env: dict[str, str], folder: Path, rank: int
) -> warm_start.WarmProcess:
    """The same, in a process that has PyTorch imported."""
    return warm_start.start(
        command, env, folder / f"stdout_{rank}", folder / f"stderr_{rank}", rank
    )


def run(
    command: Sequence[str | Path],
    num_processes: int,
    folder: Path,
    env: Mapping[str, str] | None = None,
    timeout: float = 120.0,
    *,
    without: Collection[int] = (),
) -> list[Ended]:
    """Start processes, and wait for all of them."""
    return Processes(command, num_processes, folder, env).wait(timeout, without=without)


def succeed(
    command: Sequence[str | Path],
    num_processes: int,
    folder: Path,
    env: Mapping[str, str] | None = None,
    timeout: float = 120.0,
) -> list[str]:
    """The same for processes that must end well; what each wrote to stdout."""
    ended = run(command, num_processes, folder, env, timeout)
    for rank, process in enumerate(ended):
        assert process.returncode == 0, f"process {rank} of {num_processes}:\n{process.stderr}"
    return [process.stdout for process in ended]


def documents(
    command: Sequence[str | Path], num_processes: int, folder: Path, timeout: float = 120.0
) -> list[Any]:
    """The same; the JSON document that is the last line of what each wrote to stdout."""
    outputs = succeed(command, num_processes, folder, timeout=timeout)
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def free_port() -> int:
    """A port that nobody uses at this moment."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
