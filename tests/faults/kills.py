"""Runs that are killed, resumed, and compared with one that was left alone.

Starting Python with PyTorch takes seconds, so this process imports everything, trains nothing, and forks a child for
each attempt. An interruption is written as in a report of failures, and can be repeated::

    python -m tests.faults.kills SCENARIO KILL@0.31 TERM@0.6+INT@0.7 "in a training step#3"

Each word is one attempt. ``SIGNAL@FRACTION`` sends a signal after this fraction of the duration of an undisturbed run;
``PLACE#N`` kills the run where it comes by a place for the n-th time.
"""

from __future__ import annotations

import faulthandler
import json
import os
import select
import shlex
import signal
import sys
import tempfile
import time
import traceback
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from audiozen.errors import Preempted
from audiozen.tracking.jsonl import read_metrics
from audiozen.trainer.checkpoint import MANIFEST, VALIDATION, CheckpointStore
from tests.faults.scenarios import FILE_OPERATION, SCENARIOS, TRAINED, Places

if TYPE_CHECKING:
    from collections.abc import Sequence

PATIENCE = 60.0
"""Seconds after which a run that should have ended is taken for one that hangs."""
STOPS = {signal.SIGTERM, signal.SIGINT, signal.SIGUSR1}
TELL_STACKS = signal.SIGUSR2
NAMES = "names of the checkpoints"
MEMORY = Path("/dev/shm")  # disks make other processes wait for each other


class Interruption(NamedTuple):
    """How a run is disturbed.

    Attributes:
        signal: what is sent.
        after: when, as a fraction of the undisturbed duration; None where the place decides.
        place: where the run kills itself.
        visit: at which of its visits there, counted by each attempt from 1.
    """

    signal: signal.Signals = signal.SIGKILL
    after: float | None = None
    place: str = ""
    visit: int = 0

    def __str__(self) -> str:
        if self.after is None:
            return f"{self.place}#{self.visit}"
        return f"{self.signal.name.removeprefix('SIG')}@{self.after:.4f}"

    @classmethod
    def of(cls, text: str) -> Interruption:
        """The opposite of ``str``."""
        if "@" in text:
            name, after = text.split("@")
            return cls(signal.Signals[f"SIG{name}"], float(after))
        place, visit = text.split("#")
        return cls(place=place, visit=int(visit))


class Ended(NamedTuple):
    """How an attempt ended.

    Attributes:
        code: exit code; negative for a signal.
        sent: whether it was disturbed.
        places: where it came by.
        was_training: whether it had begun to train or validate when a signal was sent.
    """

    code: int
    sent: bool
    places: list[str]
    was_training: bool


# ---- one attempt -------------------------------------------------------------------------------------


class Attempts:
    """All attempts at one run, in a folder of its own. Processes that they leave behind end with this context."""

    def __init__(self, scenario: str) -> None:
        self.scenario = SCENARIOS[scenario]
        self._folder = tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)
        self.folder = Path(self._folder.name)
        self.exp_dir = self.folder / "run"
        self.groups: list[int] = []

    def __enter__(self) -> Attempts:
        return self

    def __exit__(self, *error: object) -> None:
        for group in self.groups:
            kill_group(group)
        self._folder.cleanup()

    def attempt(self, interruptions: Sequence[Interruption] = (), seconds: float = 0.0) -> Ended:
        """Go on with the run; disturb it, once or quickly more than once."""
        trace = self.folder / f"trace_{len(self.groups)}.txt"
        fatal = next(((i.place, i.visit) for i in interruptions if i.after is None), None)
        child = self._start(trace, fatal)
        sent = was_training = False
        begin = time.monotonic()
        for interruption in interruptions:
            if interruption.after is not None:
                has_ended(child, begin + interruption.after * seconds - time.monotonic())
                was_training = was_training or is_training(places(trace))
                sent = send(child, interruption.signal) or sent
        if not has_ended(child, PATIENCE):
            os.kill(child, TELL_STACKS)
            has_ended(child, 1)
            kill_group(child)
            os.waitpid(child, 0)
            raise AssertionError(f"it hangs after {places(trace)[-1:]}")
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if fatal:
            sent = code == -signal.SIGKILL
        return Ended(code, sent, places(trace), was_training)

    def _start(self, trace: Path, fatal: tuple[str, int] | None) -> int:
        # A signal that comes before the child is ready for it must not let it go on as its parent.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
        child = os.fork()
        if child == 0:
            try:
                os.setpgid(0, 0)
                end(self.scenario, self.exp_dir, self.folder / "output.txt", trace, fatal)
            finally:
                os._exit(1)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        self.groups.append(child)
        return child

    def output(self) -> str:
        """The last words of all attempts."""
        return (self.folder / "output.txt").read_text()[-3000:]


def end(scenario: Any, exp_dir: Path, output: Path, trace: Path, fatal: Any) -> None:
    """All that a child does. Exit codes are those of the command line."""
    code = 1
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        warnings.simplefilter("error")
        faulthandler.register(TELL_STACKS)
        scenario.run(exp_dir, Places(trace, fatal))
        code = 0
    except Preempted as error:
        code = error.exit_code
    except KeyboardInterrupt:
        code = 130
    except BaseException:  # noqa: BLE001 - the child must end here, whatever happened
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def has_ended(child: int, seconds: float) -> bool:
    """Wait for a child so long."""
    descriptor = os.pidfd_open(child)
    try:
        return bool(select.select([descriptor], [], [], max(0.0, seconds))[0])
    finally:
        os.close(descriptor)


def send(child: int, number: signal.Signals) -> bool:
    """Whether a child, which nobody has waited for, was still there to receive a signal."""
    if has_ended(child, 0):
        return False
    os.kill(child, number)
    return True


def kill_group(group: int) -> None:
    """End a child and the workers that it left behind."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def living(group: int) -> list[int]:
    """Processes of a group that have not ended."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ends while it is looked at
            state, _parent, its_group = file.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state != "Z":
                found.append(int(file.parent.name))
    return found


def places(trace: Path) -> list[str]:
    return trace.read_text().splitlines() if trace.exists() else []


def is_training(visited: Sequence[str]) -> bool:
    """Whether hooks were called, and the training has not ended."""
    hooks = [place for place in visited if place != FILE_OPERATION and "row" not in place]
    return bool(hooks) and TRAINED not in hooks


# ---- what must hold ------------------------------------------------------------------------------------


def check_folder(exp_dir: Path) -> None:
    """Nothing but whole checkpoints is found, at any instant."""
    root = exp_dir / "checkpoints"
    store = CheckpointStore(root)
    names = store.names()
    visible = {path.name for path in root.glob("[!.]*")} - {"latest", "best"}
    assert visible == set(names), f"found {sorted(visible)}, listed as checkpoints: {names}"
    for name in names:
        assert not store.verify(root / name), store.verify(root / name)
    for link in ("latest", "best"):
        if (root / link).is_symlink():
            assert (root / link).exists(), f"{link} points to {(root / link).readlink()}"
            assert store.load_models(store.find(link))


def check_code(ended: Ended, signals: Sequence[signal.Signals]) -> None:
    """How a run may end that was sent these signals."""
    if not ended.sent:
        allowed = {0}
    elif signal.SIGKILL in signals:
        allowed = {-signal.SIGKILL, 0, 75, 130, *(-s for s in signals)}
    elif len(signals) == 1 and ended.was_training and TRAINED not in ended.places:
        allowed = {75}
    else:  # before and after the training, nobody listens
        allowed = {0, 75, 130, *(-s for s in signals)}
    assert ended.code in allowed, f"exit code {ended.code} after {signals}; allowed {allowed}"


def outcome(exp_dir: Path) -> dict[str, Any]:
    """All that must be as if nothing had happened."""
    store = CheckpointStore(exp_dir / "checkpoints")
    found: dict[str, Any] = {"rows": rows(exp_dir), NAMES: store.names()}
    for which in ("latest", "best"):
        path = (store.root / which).resolve()
        found[which] = path.name
        found[f"{which}/validation"] = store.load_validation(path)
        for file in path.iterdir():
            if file.name not in (MANIFEST, VALIDATION):  # they say when
                found[f"{which}/{file.name}"] = file.read_bytes()
    for file in (exp_dir / "metrics").iterdir():
        if file.suffix != ".jsonl":
            found[f"metrics/{file.name}"] = file.read_bytes()
    return found


def rows(exp_dir: Path) -> list[dict[str, Any]]:
    """What was logged, without when."""
    logged = read_metrics(exp_dir / "metrics" / "metrics.jsonl")
    return [{name: value for name, value in row.items() if name != "time"} for row in logged]


def difference(found: dict[str, Any], expected: dict[str, Any]) -> str:
    """Names of what differs, with the first values where they can be read. Empty if nothing does."""
    names = sorted(n for n in found.keys() | expected if found.get(n) != expected.get(n))
    told = [f"{n}: {brief(found.get(n), expected.get(n))}" for n in names]
    return "; ".join(told)


def brief(found: Any, expected: Any) -> str:
    if isinstance(found, bytes) and isinstance(expected, bytes):
        try:
            found, expected = (json.dumps(json.loads(part)) for part in (found, expected))
        except ValueError:
            return f"{len(found)} bytes differ from {len(expected)}"
    if isinstance(found, (list, str)) and isinstance(expected, (list, str)):
        place = next((i for i, (f, e) in enumerate(zip(found, expected)) if f != e), None)
        if place is not None and isinstance(found, str):
            start = max(0, place - 40)
            return f"…{found[start : place + 40]}… instead of …{expected[start : place + 40]}…"
        if place is not None:
            return f"number {place} is {found[place]} instead of {expected[place]}"
        return f"{len(found)} instead of {len(expected)}, last {found[-1:]}"
    return f"{found!r} instead of {expected!r}"


# ---- whole cases -----------------------------------------------------------------------------------------


class Reference(NamedTuple):
    """An undisturbed run.

    Attributes:
        outcome: what it left behind.
        seconds: how long it took.
        places: where it came by, in this order.
    """

    outcome: dict[str, Any]
    seconds: float
    places: list[str]


@cache
def reference(scenario: str) -> Reference:
    """Run undisturbed."""
    warm_up()
    with Attempts(scenario) as attempts:
        begin = time.monotonic()
        ended = attempts.attempt()
        seconds = time.monotonic() - begin
        assert ended.code == 0, attempts.output()
        check_folder(attempts.exp_dir)
        return Reference(outcome(attempts.exp_dir), seconds, ended.places)


class Case(NamedTuple):
    """A scenario, and how each of its attempts is disturbed before the last one, which is not."""

    scenario: str
    attempts: tuple[tuple[Interruption, ...], ...]

    @property
    def command(self) -> str:
        """What repeats it."""
        attempts = ["+".join(map(str, attempt)) for attempt in self.attempts]
        return shlex.join(["python", "-m", "tests.faults.kills", self.scenario, *attempts])

    @property
    def signals(self) -> set[signal.Signals]:
        return {i.signal for attempt in self.attempts for i in attempt}


class Result(NamedTuple):
    """Attempts that were disturbed, and what was wrong; empty if nothing was."""

    num_disturbed: int
    problem: str = ""


def try_case(case: Case) -> Result:
    """Disturb a run, let it end, and compare."""
    undisturbed = reference(case.scenario)
    num_disturbed = 0
    with Attempts(case.scenario) as attempts:
        try:
            for interruptions in (*case.attempts, ()):
                ended = attempts.attempt(interruptions, undisturbed.seconds)
                num_disturbed += ended.sent
                check_code(ended, [i.signal for i in interruptions])
                check_folder(attempts.exp_dir)
                if not ended.sent:  # it has ended, however many interruptions were still to come
                    break
            check_outcome(case, attempts, undisturbed)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told with how to repeat it
            told = f"{type(error).__name__}: {error}"
            return Result(num_disturbed, f"{told}\n{attempts.output()}\nrepeat: {case.command}")
    return Result(num_disturbed)


def check_outcome(case: Case, attempts: Attempts, undisturbed: Reference) -> None:
    """Compare with the run that was left alone. Where signals or a clock ask for checkpoints, there may be others."""
    found, expected = outcome(attempts.exp_dir), dict(undisturbed.outcome)
    if attempts.scenario.is_timed or case.signals - {signal.SIGKILL}:
        del found[NAMES], expected[NAMES]
    problem = difference(found, expected)
    assert not problem, f"not what an undisturbed run leaves behind: {problem}"


@cache
def warm_up() -> None:
    """Import all that a child needs, and start no thread."""
    torch.set_num_threads(1)
    torch.optim.AdamW([torch.zeros(1)])  # imports much more than its module


def main(scenario: str, *attempts: str) -> int:
    """Repeat one case."""
    plan = tuple(tuple(map(Interruption.of, attempt.split("+"))) for attempt in attempts)
    result = try_case(Case(scenario, plan))
    print(result.problem or f"survived; {result.num_disturbed} times disturbed")
    return bool(result.problem)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
