"""Python processes that have PyTorch imported when they start: importing it costs more than what most tests do.

For each rank, one process imports it and from then on forks. Each rank has one of its own, so that processes of one run
hash strings differently, as real ones do.
"""

from __future__ import annotations

import atexit
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import IO, Any

IMPORTED = (
    "torch.distributed.fsdp",
    "torch.distributed.tensor",
    "torch.distributed.checkpoint.state_dict",
    "torch._dynamo",  # which the first optimizer would import
    "audiozen.experiment",
    "audiozen.testing",
    "audiozen.trainer.base_trainer",
)


class WarmProcess:
    """As :class:`subprocess.Popen`, in the parts that the tests need."""

    def __init__(self, server: Server, request: dict[str, Any]) -> None:
        self.pid, self._ended = server.start(request)
        self._server = server
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """How it ended, or None while it runs; minus the number of the signal that killed it."""
        if self.returncode is None and self._ended.exists():
            self.returncode = os.waitstatus_to_exitcode(int(self._ended.read_text()))
        return self.returncode

    def wait(self) -> int:
        """Return when it has ended."""
        while (code := self.poll()) is None:
            assert self._server.process.poll() is None, "the process that starts others is gone"
            time.sleep(0.005)
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


class Server:
    """Starts processes for one rank."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            text=True,
        )

    def start(self, request: dict[str, Any]) -> tuple[int, Path]:
        """The number of the new process, and the file that is there when it has ended."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(request) + "\n")
        stdin.flush()
        pid = int(stdout.readline())
        return pid, Path(request["ended"])

    def stop(self) -> None:
        """End it; processes that it has started go on."""
        self.process.communicate()


@cache
def server_of(rank: int) -> Server:
    """Started when it is first needed; it ends with the process that started it."""
    server = Server()
    atexit.register(server.stop)
    return server


def start(
    command: list[str], env: dict[str, str], stdout: Path, stderr: Path, rank: int
) -> WarmProcess:
    """Start ``python *command`` with these variables."""
    ended = stdout.with_name(f"ended_{rank}")
    ended.unlink(missing_ok=True)
    request = {
        "command": command,
        "env": env,
        "cwd": str(Path.cwd()),
        "stdout": str(stdout),
        "stderr": str(stderr),
        "ended": str(ended),
    }
    return WarmProcess(server_of(rank), request)


# ---- what the process of a rank does -------------------------------------------------------------------


def serve(requests: IO[bytes]) -> dict[str, Any]:
    """Fork for each request. Returns in the children, with the request."""
    children: dict[int, tuple[int, str]] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is requests:
                    line = requests.readline()
                    if not line:
                        sys.exit()
                    request: dict[str, Any] = json.loads(line)
                    pid = os.fork()
                    if pid == 0:
                        for handle in children:
                            os.close(handle)
                        return request
                    handle = os.pidfd_open(pid)
                    children[handle] = pid, request["ended"]
                    selector.register(handle, selectors.EVENT_READ)
                    os.write(1, f"{pid}\n".encode())
                else:
                    selector.unregister(key.fileobj)
                    os.close(key.fd)
                    pid, ended = children.pop(key.fd)
                    _, status = os.waitpid(pid, 0)
                    Path(f"{ended}.partial").write_text(str(status))
                    Path(f"{ended}.partial").rename(ended)


def become(request: dict[str, Any]) -> None:
    """Take on everything that the new process has of its own."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    for number, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(file, number)
        os.close(file)
    os.close(null)


def execute(command: list[str]) -> None:
    """As ``python *command``."""
    import runpy

    if command[0] == "-m":
        sys.argv = command[1:]
        sys.path[0] = str(Path.cwd())
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = command
        sys.path[0] = str(Path(command[0]).parent)
        sys.path[1:1] = [path for path in os.environ.get("PYTHONPATH", "").split(":") if path]
        runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    import importlib

    for name in IMPORTED:
        importlib.import_module(name)
    todo = serve(sys.stdin.buffer)
    become(todo)
    execute(todo["command"])
