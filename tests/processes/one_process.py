"""One process of a run that is watched: ``one_process.py SCENARIO FOLDER [NAME=VALUE ...]``, with torchrun's variables.

Each scenario is a function below. There is no PyTorch here, so that processes start quickly: where processes meet, they
do it through files and sockets.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from audiozen.errors import AudioZENError, Preempted, RequestError
from audiozen.processes import hub, report, watch
from audiozen.processes.watch import Place, Watch

RANK, WORLD_SIZE = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
SCENARIO, FOLDER, *WORDS = sys.argv[1:] if __name__ == "__main__" else ["", ""]
SETTINGS = dict(word.split("=") for word in WORDS)
CULPRIT = int(SETTINGS.get("culprit", "1"))
IS_CULPRIT = RANK == CULPRIT
STEP = 0


def setting(name: str, default: float) -> float | None:
    value = SETTINGS.get(name, default)
    return None if value == "never" else float(value)


watch.GRACE = setting("grace", 1.0)
hub.SETTLE = setting("settle", 0.5)
report.DISAGREEMENT = setting("disagreement", 1.0)
report.LAG = setting("lag", 1.0)


# ---- what they do together ------------------------------------------------------------


def note(name: str, text: str = "") -> None:
    """Leave a file, all of it at once."""
    path = Path(FOLDER) / f"{name}_{RANK}"
    path.with_suffix(".tmp").write_text(text)
    path.with_suffix(".tmp").rename(path)


def wait_for(name: str, rank: int) -> str:
    path = Path(FOLDER) / f"{name}_{rank}"
    while not path.exists():
        time.sleep(0.01)
    return path.read_text()


def meet(label: str) -> None:
    """A barrier. Its waiting is code of Python, and so are all exceptions that come to it."""
    with RUN.waiting(label):
        note(label)
        for rank in range(WORLD_SIZE):
            wait_for(label, rank)


def stuck_meeting(label: str) -> None:
    """A barrier at which nobody else arrives, in a call of C that nothing interrupts."""
    with RUN.waiting(label):
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()


def step(seconds: float = 0.02) -> None:
    global STEP
    STEP += 1
    time.sleep(seconds)


def work(seconds: float) -> None:
    """Go on from step to step, in code of Python."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        step()


def slow_hook(seconds: float) -> None:
    time.sleep(seconds)


def connected() -> socket.socket:
    """What collectives go through: a line between processes 0 and 1 that breaks when one of them ends."""
    if RANK == 0:
        with socket.create_server(("127.0.0.1", 0)) as door:
            note("collective", str(door.getsockname()[1]))
            return door.accept()[0]
    return socket.create_connection(("127.0.0.1", int(wait_for("collective", 0))))


def collective(line: socket.socket) -> None:
    """Wait for the other one, as gloo does: when it is gone, that is an error."""
    with RUN.waiting("gradients"):
        if not line.recv(1):
            raise RuntimeError("Connection closed by peer")


# ---- scenarios --------------------------------------------------------------------------


def good_end():
    for number in range(3):
        work(0.1 * RANK)
        meet(f"meeting {number}")
    RUN.check()


def exception():
    meet("start")
    if IS_CULPRIT:
        raise ValueError("a mistake in a hook")
    try:
        work(30)
    finally:
        note("tidied_up")


def request_error():
    meet("start")
    if IS_CULPRIT:
        raise RequestError("there is no such thing")
    work(30)


def sys_exit():
    meet("start")
    if IS_CULPRIT:
        sys.exit(3)
    work(30)


def keyboard_interrupt():
    meet("start")
    if IS_CULPRIT:
        signal.raise_signal(signal.SIGINT)
    work(30)


def alike():
    meet("start")
    raise Preempted("stopped by SIGTERM; everything is saved")


def exception_among_stuck_processes():
    print("not shown yet", end="")
    meet("start")
    if IS_CULPRIT:
        raise ValueError("a mistake in a hook")
    stuck_meeting("scores")


def exception_breaks_a_collective():
    with connected() as line:
        meet("start")
        if IS_CULPRIT:
            line.shutdown(socket.SHUT_RDWR)  # so that the error of the other one comes first
            time.sleep(0.5)
            raise ValueError("a mistake in a hook")
        collective(line)


def death_breaks_a_collective():
    with connected() as line:
        meet("start")
        if IS_CULPRIT:
            os.kill(os.getpid(), signal.SIGKILL)
        collective(line)


def own_broken_collective():
    meet("start")
    if IS_CULPRIT:
        raise RuntimeError("Connection closed by peer")
    work(30)


def exception_while_logging_hangs():
    class Hanging(logging.Handler):
        def emit(self, record):
            if record.levelno == logging.CRITICAL:
                threading.Event().wait()

    meet("start")
    if IS_CULPRIT:
        time.sleep(0.3)
        raise ValueError("a mistake in a hook")
    logging.getLogger("audiozen").addHandler(Hanging())
    logging.getLogger("audiozen").critical("a message that nobody takes")


def swallowed():
    meet("start")
    if IS_CULPRIT:
        raise ValueError("a mistake in a hook")
    try:
        work(30)
    except SystemExit:
        note("swallowed")
    try:
        meet("the next")
    finally:
        note("heard_again")


def caught_inside():
    try:
        with RUN.guarded():
            raise ValueError("of no consequence")
    except ValueError:
        pass
    meet("end")


def killed():
    meet("start")
    work(0.3)
    if IS_CULPRIT:
        note("killed", str(time.time()))
        os.kill(os.getpid(), signal.SIGKILL)
    work(30)


def left_early():
    """Ends in good order by the system's measure, but without a goodbye."""
    meet("start")
    if IS_CULPRIT:
        os._exit(0)
    work(30)


def killed_with_children():
    meet("start")
    if IS_CULPRIT:
        if os.fork() == 0:  # it is there for longer than its parent
            os.close(1), os.close(2)
            time.sleep(6)
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)
    work(30)


def long_work():
    meet("start")
    note("started")
    work(setting("seconds", 30))


def stopped():
    meet("start")
    work(1.5)
    if IS_CULPRIT:
        note("stopped", str(os.getpid()))
        os.kill(os.getpid(), signal.SIGSTOP)
    work(30)


def slow_on_one():
    meet("start")
    if IS_CULPRIT:
        slow_hook(30)
    else:
        stuck_meeting("scores")


def one_moves():
    """Much longer than stall_timeout, on one process only."""
    if IS_CULPRIT:
        work(3.0)
    meet("end")


def parted():
    meet("start")
    stuck_meeting("gradients" if IS_CULPRIT else "scores")


def parted_as_one_left():
    meet("start")
    if not IS_CULPRIT:
        stuck_meeting("scores")


def stop():
    received = []
    signal.signal(signal.SIGTERM, lambda number, frame: received.append("SIGTERM"))
    RUN.poll = lambda: received[0] if received else None
    meet("start")
    if IS_CULPRIT:
        os.kill(os.getpid(), signal.SIGTERM)
    slow_hook(1.0)  # all of them are busy, and hear it all the same
    print(RUN.stop_requested)
    meet("end")


def many_stops():
    meet("start")
    if IS_CULPRIT:
        for number in range(1000):
            RUN.ask_to_stop(f"reason {number}")
    else:
        RUN.ask_to_stop("another reason")
    time.sleep(1.0)
    print(RUN.stop_requested)
    meet("end")


def forked_child_fails():
    """A child that comes to the end of the common work by itself is nobody's business."""
    meet("start")
    if IS_CULPRIT:
        child = os.fork()
        if child == 0:
            os.close(2)
            raise ValueError("in a child")
        os.waitpid(child, 0)
        note("child")
    wait_for("child", CULPRIT)
    meet("end")


# ---- the frame ----------------------------------------------------------------------------


def join() -> None:
    """Meet the others where process 0 has said it listens."""
    if RANK == 0:
        port, token = RUN.listen()
        note("address", f"{port} {token}")
        return
    port, token = wait_for("address", 0).split()
    if "port" in SETTINGS and IS_CULPRIT:
        port = SETTINGS["port"]
    RUN.connect("127.0.0.1", int(port), token)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def main() -> None:
    if RANK == 0:
        handler = logging.FileHandler(Path(FOLDER) / "log")
        handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        logging.getLogger("audiozen").addHandler(handler)
        logging.getLogger("audiozen").setLevel(logging.INFO)
        logging.getLogger("audiozen").addHandler(console())
    before = open_files()
    join()
    try:
        with RUN.guarded():
            globals()[SCENARIO]()
    finally:
        RUN.close()
        RUN.close()
    print(threading.active_count(), "thread,", open_files() - before, "files")


def console() -> logging.Handler:
    """As the trainer's: it shows all but what another process shows."""
    handler = logging.StreamHandler()
    handler.addFilter(lambda record: not getattr(record, "told_elsewhere", False))
    return handler


RUN = Watch(
    RANK,
    WORLD_SIZE,
    local_rank=RANK,
    where=lambda: Place("training", epoch=1, step=STEP),
    stall_timeout=setting("stall_timeout", 60.0),
    contact_timeout=setting("contact_timeout", 60.0),
)

if __name__ == "__main__":
    try:
        main()
    except AudioZENError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
