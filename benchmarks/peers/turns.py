"""Frameworks that take turns: each trains in a process of its own, and stops after so many steps until it is told to
go on.

A turn begins and ends where a batch is fetched, so the frameworks know nothing of it. What a process writes goes to a
terminal of its own, so that bars are drawn as they are for a user. With several processes per framework, the first one
takes turns, and the others wait for it where gradients are exchanged.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import termios
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import torch

from peers import adapter
from peers.work import Result, Work, rank

if TYPE_CHECKING:
    from io import TextIOWrapper

WARM_UP = 30
"""Steps before the first turn."""
PATIENCE = 180.0
"""Seconds that a turn, or the start, may take."""
KEPT = 4000
"""Characters of what a process has written that are kept."""


class Turn(NamedTuple):
    """How long some steps have taken.

    Attributes:
        wall: seconds by the clock.
        cpu: seconds that all threads of the process have had of a core.
    """

    wall: float
    cpu: float


class WorkerError(Exception):
    """A process that trains has ended before its time, or does not answer."""


@dataclass(frozen=True)
class Plan:
    """What a process is to do, as far as it can be written as JSON.

    Attributes:
        name: of the framework.
        size: of the model.
        logged: as in ``Work``.
        num_turns: and then the training ends.
        num_steps: of a turn.
    """

    name: str
    size: str
    logged: bool
    num_turns: int
    num_steps: int

    def work(self, folder: Path) -> Work:
        """The same, as an adapter takes it."""
        total = WARM_UP + self.num_turns * self.num_steps + 2  # some fetch a batch ahead
        return Work(self.size, total, self.logged, folder=folder)


# ---- in the process that trains ------------------------------------------------------------------


class Gate:
    """Stops the training at the end of each turn.

    Args:
        plan: how long a turn is.
        reports: where each turn is told, and then what has come out of all.
    """

    def __init__(self, plan: Plan, reports: TextIOWrapper) -> None:
        self.plan, self.reports = plan, reports
        self.num_fetched = 0
        self.begin = Turn(0.0, 0.0)

    def on_fetch(self) -> None:
        """To be called for each batch."""
        made = self.num_fetched - WARM_UP
        self.num_fetched += 1
        if (
            made >= 0
            and made % self.plan.num_steps == 0
            and made // self.plan.num_steps <= self.plan.num_turns
        ):
            self._wait()

    def _wait(self) -> None:
        self.say([time.perf_counter() - self.begin.wall, time.process_time() - self.begin.cpu])
        sys.stdin.readline()
        self.begin = Turn(time.perf_counter(), time.process_time())

    def say(self, report: Any) -> None:
        """One line of JSON."""
        self.reports.write(json.dumps(report) + "\n")
        self.reports.flush()


def train(plan: Plan, folder: Path, descriptor: int) -> None:
    """What one process does."""
    torch.set_num_threads(1)
    work = plan.work(folder)
    if rank() > 0:
        adapter(plan.name)(work)
        return
    with os.fdopen(descriptor, "w") as reports:
        gate = Gate(plan, reports)
        result = adapter(plan.name)(replace(work, on_fetch=gate.on_fetch))
        torch.save(tuple(result), folder / "result.pt")
        gate.say("done")


# ---- in the process that measures ----------------------------------------------------------------


class Worker:
    """A framework in its processes, to be used in a ``with`` statement: it then waits for its first turn.

    Args:
        plan: what it trains.
        folder: for what it writes.
        num_processes: of its training.
    """

    def __init__(self, plan: Plan, folder: Path, num_processes: int = 1) -> None:
        self.plan, self.folder = plan, folder / f"{plan.name}_{plan.size}_{plan.logged}"
        self.num_processes = num_processes
        self.written = ""

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True)
        receiving, sending = os.pipe()
        self.reports = os.fdopen(receiving)
        self.terminal, terminal = new_terminal()
        arguments = [json.dumps(vars(self.plan)), str(self.folder), str(sending)]
        command = [sys.executable, "-m", "peers.turns", *arguments]
        self.processes = [
            subprocess.Popen(  # noqa: S603 - this file
                command,
                cwd=Path(__file__).parents[1],
                env=os.environ | variables,
                stdin=subprocess.PIPE,
                stdout=terminal,
                stderr=terminal,
                pass_fds=[sending],
                text=True,
                start_new_session=True,
            )
            for variables in process_variables(self.num_processes)
        ]
        os.close(sending)
        os.close(terminal)
        threading.Thread(target=self._drain, daemon=True).start()
        return self

    def __exit__(self, *_exception: object) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
            assert process.stdin is not None
            with suppress(OSError):
                process.stdin.close()
        self.reports.close()

    def _drain(self) -> None:
        with suppress(OSError), os.fdopen(self.terminal, "rb", buffering=0) as terminal:
            while text := terminal.read(65536):
                self.written = (self.written + text.decode(errors="replace"))[-KEPT:]

    def wait_until_ready(self) -> None:
        """Return when it waits for its first turn."""
        self._report()

    def turn(self) -> Turn:
        """Let it make its steps."""
        self._go_on()
        return Turn(*self._report())

    def result(self) -> Result:
        """What has come out of all its turns."""
        self._go_on()
        self._report()
        return Result(*torch.load(self.folder / "result.pt"))

    def _go_on(self) -> None:
        stdin = self.processes[0].stdin
        assert stdin is not None
        try:
            stdin.write("\n")
            stdin.flush()
        except BrokenPipeError as error:
            raise self._failure("ended") from error

    def _report(self) -> Any:
        if not select.select([self.reports], [], [], PATIENCE)[0]:
            raise self._failure("does not answer")
        line = self.reports.readline()
        if not line:
            raise self._failure("ended")
        return json.loads(line)

    def _failure(self, what: str) -> WorkerError:
        time.sleep(0.2)  # for its last words
        lines = [line.strip() for line in self.written.splitlines() if line.strip()]
        return WorkerError(f"{self.plan.name} {what}: {lines[-1] if lines else 'without a word'}")


def new_terminal() -> tuple[int, int]:
    """Both ends of a terminal of the usual size: what reads, and what is written to."""
    reading, writing = os.openpty()
    termios.tcsetwinsize(writing, (24, 100))
    return reading, writing


def process_variables(num_processes: int) -> list[dict[str, str]]:
    """Environment of each process, as torchrun sets it where there are several."""
    alone = {"OMP_NUM_THREADS": "1", "TERM": "xterm-256color", "TOKENIZERS_PARALLELISM": "false"}
    if num_processes == 1:
        return [alone]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    count = str(num_processes)
    shared = alone | address | {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    return [shared | {"RANK": str(k), "LOCAL_RANK": str(k)} for k in range(num_processes)]


if __name__ == "__main__":
    train(Plan(**json.loads(sys.argv[1])), Path(sys.argv[2]), int(sys.argv[3]))
