"""A run on two hosts that die, and whose network fails: what is told, how soon, and what becomes of the weights."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from audiozen.tracking.jsonl import read_metrics
from tests.distributed.launch import succeed
from tests.distributed.two_hosts import CABLE, HOSTS, TwoHosts, why_not

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

EXPERIMENT = Path(__file__).parent / "slow_recipe" / "slow.toml"
SECONDS_TO_END = 20.0
"""After an accident: contact_timeout of the experiment, and what torchrun needs on a busy machine."""


class Ended(NamedTuple):
    """How a host's part in a run ended.

    Attributes:
        returncode: of torchrun; negative for a signal.
        text: what torchrun and its process have said.
        seconds: from the accident to the end of the last process there.
    """

    returncode: int
    text: str
    seconds: float


class RunOnTwoHosts:
    """One process on each host, joined by torchrun's static rendezvous.

    Args:
        hosts: where.
        exp_dir: folder of the run; where there is something in it, that is gone on with.
        folder: of what the processes write.
    """

    def __init__(self, hosts: TwoHosts, exp_dir: Path, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.popen = [
            hosts.popen(
                rank, [*torchrun(rank), *audiozen(exp_dir)], self._output(rank), env(folder)
            )
            for rank in range(len(HOSTS))
        ]

    def _output(self, rank: int) -> Path:
        return self.folder / f"output_{rank}"

    def wait_for_step(self, step: int) -> None:
        """Return in the middle of a step."""
        wait_until(lambda: (self.folder / str(step)).exists() or self._ended())
        assert not self._ended(), [self._output(rank).read_text() for rank in self._ended()]

    def _ended(self) -> list[int]:
        return [rank for rank, process in enumerate(self.popen) if process.poll() is not None]

    def wait(self, timeout: float = 60.0) -> list[Ended]:
        """How it ended on both hosts; what is still there after ``timeout`` seconds is killed."""
        begin, seconds = time.monotonic(), [timeout, timeout]
        for rank in self._as_they_end(begin + timeout):
            seconds[rank] = time.monotonic() - begin
        for process in self.popen:
            process.kill()
        return [
            Ended(process.wait(), self._output(rank).read_text(), seconds[rank])
            for rank, process in enumerate(self.popen)
        ]

    def _as_they_end(self, deadline: float) -> Iterator[int]:
        told: list[int] = []
        while len(told) < len(self.popen) and time.monotonic() < deadline:
            new = [rank for rank in self._ended() if rank not in told]
            told += new
            yield from new
            time.sleep(0.02)


def torchrun(rank: int) -> list[str]:
    nodes = ["--nnodes", "2", "--nproc-per-node", "1", "--node-rank", str(rank)]
    master = ["--master-addr", HOSTS[0].address, "--master-port", "29500"]
    return [sys.executable, "-m", "torch.distributed.run", *nodes, *master]


def audiozen(exp_dir: Path) -> list[str | Path]:
    where = [f"meta.save_dir={exp_dir.parent}", f"meta.exp_id={exp_dir.name}"]
    return ["-m", "audiozen", "train", EXPERIMENT, *where, "--resume"]


def env(folder: Path) -> dict[str, str]:
    return {"STEPS_FOLDER": str(folder), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": CABLE}


def wait_until(condition: Callable[[], object], timeout: float = 60.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def hosts() -> Iterator[TwoHosts]:
    if reason := why_not():
        pytest.skip(reason)
    with TwoHosts() as hosts:
        yield hosts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def undisturbed(hosts: TwoHosts, folder: Path) -> Path:
    """Folder of a run without accidents."""
    exp_dir = folder / "undisturbed"
    for ended in RunOnTwoHosts(hosts, exp_dir, folder / "undisturbed_output").wait():
        assert ended.returncode == 0, ended.text
    return exp_dir


Accident = Callable[[TwoHosts, list["subprocess.Popen[bytes]"]], object]

ACCIDENTS: dict[str, Accident] = {
    "death of the right host": lambda hosts, popen: popen[1].kill(),
    "cut": lambda hosts, popen: hosts.cut(),
    "death of the left host": lambda hosts, popen: popen[0].kill(),
}


@pytest.fixture(scope="module")
def unlucky(folder: Path) -> Path:
    """Folder of a run that meets with all accidents."""
    return folder / "unlucky"


@pytest.fixture(scope="module")
def ends(hosts: TwoHosts, folder: Path, unlucky: Path) -> dict[str, list[Ended]]:
    """How that run ended each time; it is started again after each accident."""
    ends = {}
    for step, (name, happen) in zip((5, 11, 17), ACCIDENTS.items()):
        run = RunOnTwoHosts(hosts, unlucky, folder / name)
        run.wait_for_step(step)
        happen(hosts, run.popen)
        ends[name] = run.wait()
        hosts.heal()
    ends["none"] = RunOnTwoHosts(hosts, unlucky, folder / "none").wait()
    return ends


def weights(exp_dir: Path) -> bytes:
    return (exp_dir / "checkpoints" / "latest" / "model.safetensors").read_bytes()


def rows(exp_dir: Path) -> list[dict[str, object]]:
    found = read_metrics(exp_dir / "metrics" / "metrics.jsonl")
    return [{key: value for key, value in row.items() if key != "time"} for row in found]


def test_two_hosts_give_the_weights_and_scores_of_one_host(undisturbed, folder):
    exp_dir = folder / "one_host"
    succeed(audiozen(exp_dir), 2, folder / "output", env(folder) | {"GLOO_SOCKET_IFNAME": "lo"})
    assert weights(exp_dir) == weights(undisturbed)
    assert rows(exp_dir) == rows(undisturbed)


LEFT, RIGHT = (f"process {rank} on {host.name} " for rank, host in enumerate(HOSTS))


@pytest.mark.parametrize(
    ("accident", "survivor", "message"),
    [
        pytest.param(*case, id=f"{case[0]}, host {case[1]}")
        for case in [
            ("death of the right host", 0, f"{RIGHT}.* ended without a word"),
            ("death of the left host", 1, f"{LEFT}.* ended without a word"),
            ("cut", 0, f"{RIGHT}.* gave no sign of life for 5 s"),
            ("cut", 1, f"{LEFT}.* gave no sign of life for 5 s"),
        ]
    ],
)
def test_who_is_left_says_who_is_gone_and_ends(ends, accident, survivor, message):
    ended = ends[accident][survivor]
    assert ended.returncode == 1
    assert len(re.findall(message, ended.text)) == 1, ended.text
    assert "Start the run again with --resume" in ended.text
    assert "[rank" not in ended.text, "a traceback of PyTorch's besides"
    assert ended.seconds < SECONDS_TO_END


def test_run_that_was_started_again_after_each_accident_ends_as_if_there_had_been_none(
    ends, unlucky, undisturbed
):
    assert [ended.returncode for ended in ends["none"]] == [0, 0]
    assert re.search("resumed at epoch 4, step 1[46]", ends["none"][0].text)
    assert weights(unlucky) == weights(undisturbed)
    assert rows(unlucky) == rows(undisturbed)


def test_all_that_runs_on_a_host_dies_at_once(hosts, tmp_path):
    ticks = tmp_path / "ticks"
    command = "while sleep 0.01; do echo tick; done & sleep 60"
    process = hosts.popen(1, ["sh", "-c", command], ticks, {})
    wait_until(lambda: "tick" in ticks.read_text())
    process.kill()
    process.wait()
    time.sleep(0.1)
    left_behind = ticks.stat().st_size
    time.sleep(0.1)
    assert ticks.stat().st_size == left_behind
