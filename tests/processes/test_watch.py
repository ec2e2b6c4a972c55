from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from audiozen.errors import TrainingError
from audiozen.processes.watch import Place, Watch
from tests.distributed.launch import Ended, Processes, free_port, run

SCRIPT = Path(__file__).with_name("one_process.py")
HOST = re.escape(socket.gethostname())
# name: (scenario, number of processes, settings)
SCENARIOS = {
    "good end": ("good_end", 3, ""),
    "good end of 8": ("good_end", 8, ""),
    "no limits": ("good_end", 2, "stall_timeout=never contact_timeout=never"),
    "caught inside": ("caught_inside", 2, ""),
    "forked child fails": ("forked_child_fails", 2, ""),
    "one moves": ("one_moves", 2, "stall_timeout=2"),
    "exception on 0": ("exception", 3, "culprit=0"),
    "exception on 1": ("exception", 3, "culprit=1"),
    "request error": ("request_error", 2, ""),
    "sys.exit": ("sys_exit", 2, ""),
    "keyboard interrupt": ("keyboard_interrupt", 2, ""),
    "alike": ("alike", 3, ""),
    "stuck, 0 fails": ("exception_among_stuck_processes", 3, "culprit=0"),
    "stuck, 1 fails": ("exception_among_stuck_processes", 3, "culprit=1"),
    "broken by exception on 0": ("exception_breaks_a_collective", 2, "culprit=0 settle=2"),
    "broken by exception on 1": ("exception_breaks_a_collective", 2, "culprit=1 settle=2"),
    "broken by death of 0": ("death_breaks_a_collective", 2, "culprit=0"),
    "broken by death of 1": ("death_breaks_a_collective", 2, "culprit=1"),
    "own broken collective": ("own_broken_collective", 2, "culprit=1"),
    "logging hangs": ("exception_while_logging_hangs", 2, "culprit=1"),
    "swallowed": ("swallowed", 2, ""),
    "killed 0 of 2": ("killed", 2, "culprit=0"),
    "killed 1 of 2": ("killed", 2, "culprit=1"),
    "killed 0 of 3": ("killed", 3, "culprit=0"),
    "killed 2 of 3": ("killed", 3, "culprit=2"),
    "left early": ("left_early", 3, "culprit=2"),
    "killed 0 with children": ("killed_with_children", 2, "culprit=0"),
    "killed 1 with children": ("killed_with_children", 2, "culprit=1"),
    "slow on 0": ("slow_on_one", 2, "culprit=0 stall_timeout=2"),
    "slow on 1": ("slow_on_one", 3, "culprit=1 stall_timeout=2"),
    "parted": ("parted", 3, "culprit=1"),
    "parted as one left": ("parted_as_one_left", 3, "culprit=2"),
    "SIGTERM to 0": ("stop", 2, "culprit=0"),
    "SIGTERM to 2": ("stop", 3, "culprit=2"),
    "many stops": ("many_stops", 3, "culprit=1"),
}


class Outcome:
    """What has become of the processes of a scenario, and what they left."""

    def __init__(self, ended: list[Ended], folder: Path) -> None:
        self.ended = ended
        self.codes = [process.returncode for process in ended]
        self.stderr = [process.stderr for process in ended]
        self.stdout = [process.stdout for process in ended]
        self.seconds = max(process.seconds for process in ended)
        self.log = (folder / "log").read_text()
        self.folder = folder

    def told_by(self, text: str) -> list[int]:
        """Ranks whose stderr has the text, each as often as it is there."""
        return [rank for rank, err in enumerate(self.stderr) for _ in range(err.count(text))]


def command(scenario: str, folder: Path, settings: str) -> list[str | Path]:
    return ["-W", "error", SCRIPT, scenario, folder, *settings.split()]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory, request):
    """The scenarios that are asked for, several at a time: they wait more than they work."""
    root = tmp_path_factory.mktemp("runs")

    def play(name: str) -> Outcome:
        scenario, world_size, settings = SCENARIOS[name]
        folder = root / name
        buffered = {"PYTHONUNBUFFERED": ""}
        ended = run(command(scenario, folder, settings), world_size, folder, buffered, timeout=25)
        return Outcome(ended, folder)

    wanted = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    names = dict.fromkeys(params["outcome"] for params in wanted if "outcome" in params)
    with ThreadPoolExecutor(6) as pool:
        yield {name: pool.submit(play, name) for name in names}


@pytest.fixture
def outcome(outcomes: dict[str, Future[Outcome]], request) -> Outcome:
    return outcomes[request.param].result()


def of(*names: str):
    return pytest.mark.parametrize("outcome", names, indirect=True)


# ---- in good order -----------------------------------------------------------------------


@of("good end", "good end of 8", "no limits", "caught inside", "forked child fails", "one moves")
def test_good_end_says_nothing_and_leaves_nothing(outcome):
    assert set(outcome.codes) == {0}
    assert set(outcome.stderr) == {""}
    assert set(outcome.stdout) == {"1 thread, 0 files\n"}
    assert outcome.log == ""


# ---- exceptions ----------------------------------------------------------------------------


@of("exception on 0", "exception on 1", "stuck, 0 fails", "stuck, 1 fails")
def test_exception_on_one_process_ends_all_and_is_told_once(outcome):
    culprit = 0 if "Traceback" in outcome.stderr[0] else 1
    assert outcome.codes == [1, 1, 1]
    assert outcome.told_by("ValueError: a mistake in a hook") == [culprit]
    assert [err for rank, err in enumerate(outcome.stderr) if rank != culprit] == ["", ""]
    assert outcome.seconds < 15


@of("exception on 0", "exception on 1")
def test_process_that_can_be_interrupted_tidies_up(outcome):
    culprit = 0 if "Traceback" in outcome.stderr[0] else 1
    assert sorted(path.name for path in outcome.folder.glob("tidied_up_*")) == [
        f"tidied_up_{rank}" for rank in range(3) if rank != culprit
    ]


@of("exception on 1", "stuck, 1 fails", "broken by exception on 1")
def test_log_of_process_0_has_the_traceback_of_another(outcome):
    assert re.match(rf"INFO process 1 on {HOST} \(pid \d+\) failed: Traceback", outcome.log)
    assert "one_process.py" in outcome.log
    assert outcome.log.endswith("ValueError: a mistake in a hook\n")


@of("stuck, 0 fails", "stuck, 1 fails")
def test_process_that_is_ended_by_force_brings_out_what_it_printed(outcome):
    assert outcome.stdout == ["not shown yet"] * 3


@of("request error", "sys.exit", "keyboard interrupt")
def test_all_have_the_exit_code_of_the_first(outcome):
    assert outcome.codes in ([2, 2], [3, 3], [1, -signal.SIGINT])
    assert outcome.stderr[0] == ""


@of("alike")
def test_what_all_raise_is_told_by_the_first(outcome):
    assert outcome.codes == [75, 75, 75]
    assert outcome.told_by("stopped by SIGTERM") == [0]
    assert outcome.stderr[1:] == ["", ""]


@of("broken by exception on 0", "broken by exception on 1")
def test_what_comes_of_an_exception_elsewhere_is_not_told(outcome):
    assert outcome.codes == [1, 1]
    assert len(outcome.told_by("ValueError: a mistake")) == 1
    assert outcome.told_by("Connection closed by peer") == []


@of("broken by death of 0", "broken by death of 1")
def test_what_comes_of_a_death_elsewhere_is_not_told(outcome):
    culprit = outcome.codes.index(-signal.SIGKILL)
    assert outcome.codes[1 - culprit] == 1
    assert outcome.told_by(f"process {culprit} on ") == [1 - culprit]
    assert outcome.told_by("Connection closed by peer") == []


@of("own broken collective")
def test_what_comes_of_nothing_elsewhere_is_told(outcome):
    assert outcome.codes == [1, 1]
    assert outcome.told_by("RuntimeError: Connection closed by peer") == [1]


@of("logging hangs")
def test_end_does_not_wait_for_a_log_that_hangs(outcome):
    assert outcome.codes == [1, 1]
    assert outcome.seconds < 15


@of("swallowed")
def test_process_that_swallows_the_end_hears_of_it_again(outcome):
    assert (outcome.folder / "swallowed_0").exists()
    assert (outcome.folder / "heard_again_0").exists()
    assert outcome.codes == [1, 1]
    assert outcome.told_by("ValueError: a mistake") == [1]


# ---- deaths --------------------------------------------------------------------------------


@of(
    *("killed 0 of 2", "killed 1 of 2", "killed 0 of 3", "killed 2 of 3"),
    *("killed 0 with children", "killed 1 with children", "left early"),
)
def test_death_is_told_once_and_ends_all_at_once(outcome):
    culprit = next(rank for rank, code in enumerate(outcome.codes) if code != 1)
    teller = 0 if culprit else 1
    text = f"process {culprit} on {socket.gethostname()} (pid "
    assert outcome.told_by(text) == outcome.told_by("ended without a word") == [teller]
    assert "Last seen in training, epoch 1, step " in outcome.stderr[teller]
    assert "--resume" in outcome.stderr[teller]
    assert "".join(outcome.stderr) == outcome.stderr[teller]
    assert [code for code in outcome.codes if code != 1] in ([-signal.SIGKILL], [0])
    assert outcome.seconds < 10


# ---- silence -------------------------------------------------------------------------------


@pytest.fixture
def start(tmp_path):
    """Starts the processes of a scenario, and leaves none behind."""
    started = []

    def start(world_size: int, scenario: str, settings: str) -> Processes:
        words = command(scenario, tmp_path, settings)
        started.append(Processes(words, world_size, tmp_path))
        return started[-1]

    yield start
    for processes in started:
        processes.wait(timeout=0)


@pytest.mark.parametrize("culprit", [0, 1])
def test_process_that_stands_still_is_named_and_ends_when_it_goes_on(culprit, start, tmp_path):
    processes = start(3, "stopped", f"culprit={culprit} contact_timeout=3")
    for rank in {0, 1, 2} - {culprit}:
        assert processes.popen[rank].wait(timeout=20) == 1
    processes.send_signal(culprit, signal.SIGCONT)
    outcome = Outcome(processes.wait(timeout=20), tmp_path)
    teller = 0 if culprit else 1
    assert outcome.codes == [1, 1, 1]
    assert outcome.told_by("gave no sign of life for 3 s (contact_timeout)") == [teller]
    assert outcome.stderr[teller].startswith(f"process {culprit} on ")
    assert "in work: step()\n" in outcome.stderr[teller]
    assert "".join(outcome.stderr) == outcome.stderr[teller]


def test_what_nobody_could_tell_is_told_by_process_0_when_it_goes_on(start, tmp_path):
    processes = start(3, "long_work", "contact_timeout=3")
    processes.wait_for(tmp_path / "started_2")
    # On their machine, process 2 leaves it to process 1 to say that process 0 is gone.
    for rank in (0, 1):
        processes.send_signal(rank, signal.SIGSTOP)
    assert processes.popen[2].wait(timeout=20) == 1
    for rank in (0, 1):
        processes.send_signal(rank, signal.SIGCONT)
    outcome = Outcome(processes.wait(timeout=20), tmp_path)
    assert outcome.codes == [1, 1, 1]
    assert outcome.told_by("gave no sign of life for 3 s (contact_timeout)") == [0]


def test_time_in_which_all_stood_still_does_not_count(start, tmp_path):
    processes = start(2, "long_work", "contact_timeout=3 seconds=5")
    for rank in range(2):
        processes.wait_for(tmp_path / f"started_{rank}")
    for rank in range(2):  # as a laptop that is closed
        processes.send_signal(rank, signal.SIGSTOP)
    time.sleep(4)
    for rank in range(2):
        processes.send_signal(rank, signal.SIGCONT)
    outcome = Outcome(processes.wait(timeout=20), tmp_path)
    assert outcome.codes == [0, 0]
    assert outcome.stderr == ["", ""]


class Switchboard:
    """Stands between process 0 and another one, and can be cut: from then on no end hears anything, as if unplugged."""

    def __init__(self, address: Path) -> None:
        self.address = address
        self.is_cut, self._unplugged = threading.Event(), threading.Event()
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = self._door.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        one = self._door.accept()[0]
        port = int(self.address.read_text().split()[0])
        with one, socket.create_connection(("127.0.0.1", port)) as other:
            both = [(one, other), (other, one)]
            for line in (one, other):
                line.settimeout(0.01)
            while not self.is_cut.is_set():
                for source, target in both:
                    with suppress(TimeoutError):
                        target.sendall(source.recv(1 << 16))
            self._unplugged.wait()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.is_cut.set()
        self._unplugged.set()
        self._thread.join()
        self._door.close()


def test_cut_line_is_told_at_both_ends(start, tmp_path):
    with Switchboard(tmp_path / "address_0") as board:
        processes = start(2, "long_work", f"culprit=1 contact_timeout=3 port={board.port}")
        for rank in range(2):
            processes.wait_for(tmp_path / f"started_{rank}")
        begin = time.monotonic()
        board.is_cut.set()
        outcome = Outcome(processes.wait(timeout=20), tmp_path)
        assert time.monotonic() - begin < 10
    assert outcome.codes == [1, 1]
    assert outcome.told_by("process 1 on ") == [0]
    assert outcome.told_by("process 0 on ") == [1]
    assert outcome.told_by("gave no sign of life for 3 s") == [0, 1]


# ---- processes that lose each other ----------------------------------------------------------


@of("slow on 0", "slow on 1")
def test_standstill_names_all_processes_the_busy_ones_first(outcome):
    culprit = 1 if len(outcome.codes) == 3 else 0
    assert set(outcome.codes) == {1}
    assert outcome.told_by("no process has moved for 2 s (stall_timeout)") == [0]
    assert set(outcome.stderr[1:]) == {""}
    _, _, message = outcome.stderr[0].partition("(stall_timeout)")
    entries = re.findall(rf"  process (\d) on {HOST} \(pid \d+\): (\w+) .* for (\d+) s\n", message)
    others = [(str(rank), "waiting") for rank in range(len(outcome.codes)) if rank != culprit]
    assert [entry[:2] for entry in entries] == [(str(culprit), "busy"), *others]
    assert {entry[2] for entry in entries} <= {"2", "3"}
    assert re.search(
        r"busy in training, epoch 1, step 0, .*\n(      .*\n)+      .* in slow_hook: time.sleep",
        message,
    )
    assert "waiting for the others in scores (training, epoch 1, step 0), for" in message
    assert "in stuck_meeting: lock.acquire()" in message
    assert outcome.seconds < 15


@of("slow on 0", "slow on 1")
def test_standstill_is_warned_of_once(outcome):
    warning, _, rest = outcome.stderr[0].partition("(stall_timeout)")
    assert len(re.findall(r"no process has moved for \d s:", warning)) == 1
    assert "one_process.py" not in warning
    assert "s:\n" in warning
    assert "has moved" not in rest


@of("parted")
def test_processes_that_wait_in_different_places_are_told_soon(outcome):
    assert outcome.codes == [1, 1, 1]
    assert outcome.told_by("processes went different ways") == [0]
    assert set(outcome.stderr[1:]) == {""}
    assert len(re.findall(r"waiting for the others in scores", outcome.stderr[0])) == 2
    assert (
        len(re.findall(r"process 1 on .* waiting for the others in gradients", outcome.stderr[0]))
        == 1
    )
    assert outcome.seconds < 15


@of("parted as one left")
def test_waiting_for_one_that_has_left_is_told(outcome):
    assert outcome.codes == [1, 1, 0]
    assert outcome.told_by("processes went different ways") == [0]
    assert re.search(r"process 2 on .*: has ended\n", outcome.stderr[0])


# ---- requests to stop ------------------------------------------------------------------------


@of("SIGTERM to 0", "SIGTERM to 2")
def test_signal_to_one_process_reaches_all_while_they_are_busy(outcome):
    rank = len(outcome.codes) - 1 if len(outcome.codes) == 3 else 0
    reason = f"SIGTERM to process {rank} ({socket.gethostname()})"
    assert set(outcome.codes) == {0}
    assert [out.splitlines()[0] for out in outcome.stdout] == [reason] * len(outcome.codes)
    assert set(outcome.stderr) == {""}


@of("many stops")
def test_many_requests_are_one_and_the_same_everywhere(outcome):
    assert outcome.codes == [0, 0, 0]
    (reason,) = {out.splitlines()[0] for out in outcome.stdout}
    assert re.fullmatch(
        rf"(reason 0 to process 1|another reason to process [02]) \({HOST}\)", reason
    )


# ---- one process, in this one ----------------------------------------------------------------


def alone(world_size: int = 1, **settings) -> Watch:
    return Watch(0, world_size, where=lambda: Place("training"), **settings)


LISTEN_FOR_LONG = """
import sys, threading, time
from audiozen.processes.watch import Place, Watch

def work():
    watch = Watch(0, 2, where=lambda: Place("training"), contact_timeout=0.5)
    try:
        with watch.guarded():
            watch.listen()
            for _ in range(1000):
                time.sleep(0.01)
    except SystemExit as error:
        print(error.code)
    watch.close()
"""


def listen_for_long(then: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, as one that was ended because of another has not long to live."""
    command = [sys.executable, "-W", "error", "-c", f"{LISTEN_FOR_LONG}\n{then}"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)


def test_single_process_is_let_pass():
    watch = alone()
    with watch.guarded(), watch.waiting("scores"):
        watch.check()
    with pytest.raises(ValueError, match="mine"), watch.guarded():
        raise ValueError("mine")
    watch.close()


def test_single_process_stops_on_request():
    watch = alone()
    assert watch.stop_requested is None
    watch.poll = lambda: "SIGTERM"
    assert watch.stop_requested == "SIGTERM"
    other = alone()
    other.ask_to_stop("an hour is over")
    assert other.stop_requested == "an hour is over"


def test_process_0_that_is_not_there_is_an_error_in_time():
    watch = Watch(1, 2, where=lambda: Place("training"), contact_timeout=0.5)
    port, begin = free_port(), time.monotonic()
    text = rf"process 1 on {HOST} could not reach process 0 at 127.0.0.1, port {port}, within 0.5 s.*MASTER_ADDR"
    with pytest.raises(TrainingError, match=text):
        watch.connect("127.0.0.1", port, "token")
    assert time.monotonic() - begin < 2


def test_who_does_not_know_the_token_stays_outside():
    first = alone(2, contact_timeout=1.0)
    port, _ = first.listen()
    second = Watch(1, 2, where=lambda: Place("training"), contact_timeout=0.5)
    with pytest.raises(TrainingError, match="hung up"):
        second.connect("127.0.0.1", port, "wrong")
    first.close()


def test_strangers_hold_up_nobody():
    first = alone(2)
    port, token = first.listen()
    strangers = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    strangers[0].sendall(b"GET / HTTP/1.1\r\n\r\n")
    strangers[1].sendall(b'{"kind": "end"}\n[1]\n')
    strangers[2].sendall(b"x" * 100_000)
    second = Watch(1, 2, where=lambda: Place("training"))
    begin = time.monotonic()
    second.connect("127.0.0.1", port, token)
    assert time.monotonic() - begin < 2
    for stranger in strangers:  # the door is closed when all are in
        stranger.settimeout(2)
        with stranger, suppress(ConnectionResetError):
            assert stranger.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    first.close()
    second.close()


def test_who_never_calls_is_missed():
    ended = listen_for_long("work()")
    assert ended.stdout == "1\n"
    missed = f"process 1 did not call process 0 on {socket.gethostname()} within 0.5 s"
    assert missed in ended.stderr


def test_watch_that_fails_is_told_and_the_process_goes_on(caplog):
    watch = alone(2)
    watch.poll = lambda: 1 / 0
    with watch.guarded():
        watch.listen()
        time.sleep(0.3)
    watch.close()
    assert "the watch of process 0 fails; the process goes on without it" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_thread_that_is_no_main_thread_can_be_watched():
    then = "thread = threading.Thread(target=work); thread.start(); thread.join(5)"
    assert listen_for_long(then).stdout == "1\n"
