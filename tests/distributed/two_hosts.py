"""Two hosts on one machine: namespaces of the kernel, joined by a cable that can be cut without either noticing.

Each has a network, a name and processes of its own; the file system is shared, as in a cluster. Root is not needed
where user namespaces are allowed. Nothing outlives the thread that opened it, however that ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

CABLE = "cable"
"""The interface of each host that the other one can be reached by."""

NOBODY = "02:00:00:00:00:99"
"""A hardware address that no host has: what is sent there gets lost without a word."""


class Host(NamedTuple):
    """What a host is called, and how it is reached."""

    name: str
    address: str
    hardware_address: str


HOSTS = (
    Host("left-host", "10.77.0.1", "02:00:00:00:00:01"),
    Host("right-host", "10.77.0.2", "02:00:00:00:00:02"),
)

# Entering a user namespace takes this back: it comes after that.
MORTAL = ("setpriv", "--pdeathsig", "KILL")

HOLDER = """
import signal, socket, sys
socket.sethostname(sys.argv[1])
print("ready", flush=True)
signal.pause()
"""

# A host whose command has ended goes on until all that it has started has ended: what is left behind is waited for.
FIRST_PROCESS = """
import os, sys
command, codes = os.spawnvp(os.P_NOWAIT, sys.argv[1], sys.argv[1:]), {}
try:
    while True:
        pid, status = os.wait()
        codes[pid] = os.waitstatus_to_exitcode(status)
except ChildProcessError:
    sys.exit(codes[command])
"""


class TwoHosts:
    """Two hosts, as long as this context lasts."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._holders: list[subprocess.Popen[str]] = []
        self._enter: list[list[str]] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._make_host(stack, 0, ["unshare", *user_namespace()])
            self._make_host(stack, 1, [*self._enter[0], "unshare"])
            self._lay_cable()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def popen(
        self, host: int, command: Sequence[str | Path], output: Path, env: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        """Start a command on a host. It ends when all processes there have; killed, all die at once.

        Args:
            host: 0 or 1.
            command: what, with its arguments.
            output: file of what is written to stdout and stderr.
            env: variables besides those of this process.
        """
        first = [*MORTAL, "unshare", "--pid", "--fork", "--kill-child"]
        with output.open("w") as file:
            process = subprocess.Popen(
                [*self._enter[host], *first, sys.executable, "-c", FIRST_PROCESS, *command],
                env=os.environ | env,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process

    def cut(self) -> None:
        """Lose whatever one host sends to the other: no connection is closed, no interface goes down."""
        self._send_to(NOBODY, NOBODY)

    def heal(self) -> None:
        """Let everything through again."""
        self._send_to(HOSTS[1].hardware_address, HOSTS[0].hardware_address)

    def _make_host(self, stack: ExitStack, number: int, unshare: list[str]) -> None:
        holder = stack.enter_context(
            subprocess.Popen(
                [
                    *unshare,
                    "--net",
                    "--uts",
                    *MORTAL,
                    sys.executable,
                    "-c",
                    HOLDER,
                    HOSTS[number].name,
                ],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(holder.kill)
        assert holder.stdout is not None
        assert holder.stderr is not None
        if not holder.stdout.readline():
            raise OSError(f"{HOSTS[number].name} cannot be made: {holder.stderr.read().strip()}")
        self._holders.append(holder)
        users = ["--user", "--preserve-credentials"] if user_namespace() else []
        self._enter.append(["nsenter", f"--target={holder.pid}", *users, "--net", "--uts"])

    def _lay_cable(self) -> None:
        other_end = ["peer", "name", CABLE, "address", HOSTS[1].hardware_address]
        other_host = ["netns", str(self._holders[1].pid)]
        first_end = ["name", CABLE, "address", HOSTS[0].hardware_address]
        self._ip(0, "link", "add", *first_end, "type", "veth", *other_end, *other_host)
        for number, host in enumerate(HOSTS):
            self._ip(number, "link", "set", CABLE, "addrgenmode", "none")  # no address besides
            self._ip(number, "address", "add", f"{host.address}/24", "dev", CABLE)
            self._ip(number, "link", "set", "lo", "up")
            self._ip(number, "link", "set", CABLE, "up")
        self.heal()

    def _send_to(self, *hardware_addresses: str) -> None:
        """Where each host sends what is for the other one."""
        for number, hardware_address in enumerate(hardware_addresses):
            other = HOSTS[1 - number].address
            self._ip(
                number, "neighbour", "replace", other, "lladdr", hardware_address, "dev", CABLE
            )

    def _ip(self, host: int, *arguments: str) -> None:
        done = subprocess.run(
            [*self._enter[host], "ip", *arguments], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


@cache
def user_namespace() -> tuple[str, ...]:
    """Options of unshare that make this user root of namespaces, where that is allowed; none, where it is not."""
    options = ("--user", "--map-root-user")
    done = subprocess.run(["unshare", *options, "true"], capture_output=True, check=False)
    return () if done.returncode else options


@cache
def why_not() -> str | None:
    """Why this machine cannot hold two hosts; None if it can."""
    try:
        with TwoHosts():
            return None
    except OSError as error:
        return f"needs two hosts: {error}"
