from __future__ import annotations

import errno
import fcntl
import json
import logging
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audiozen.errors import AudioZENError
from audiozen.tracking import jsonl
from audiozen.tracking.jsonl import JsonlTracker, read_metrics


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics" / "metrics.jsonl"


def log(path: Path, steps: range, value: float = 0.5) -> None:
    with JsonlTracker(path) as tracker:
        for step in steps:
            tracker.log_scalars({"loss": value}, step=step, epoch=1)


def names_at(path: Path, step: int) -> list[set[str]]:
    """Names of the scalars in each row of this step."""
    rows = [row for row in read_metrics(path) if row["step"] == step]
    return [row.keys() - {"step", "epoch", "time"} for row in rows]


def run(program: str, path: Path) -> subprocess.Popen[str]:
    """Another process, at work from the moment at which it has printed a line."""
    command = [sys.executable, "-c", program, str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def test_a_line_has_step_epoch_utc_time_and_the_scalars(path: Path) -> None:
    with JsonlTracker(path) as tracker:
        tracker.log_scalars({"train/loss": 0.25, "lr": 1e-3}, step=7, epoch=2)
    (row,) = read_metrics(path)
    time = datetime.fromisoformat(row.pop("time"))
    assert time.utcoffset() == timedelta(0)
    assert abs((datetime.now(time.tzinfo) - time).total_seconds()) < 60
    assert row == {"step": 7, "epoch": 2, "train/loss": 0.25, "lr": 1e-3}


def test_values_of_numpy_and_torch_become_numbers(path: Path) -> None:
    with JsonlTracker(path) as tracker:
        tracker.log_scalars({"a": np.float32(0.5), "b": torch.tensor(2.0)}, step=1, epoch=1)  # type: ignore[dict-item]
    assert '"a": 0.5, "b": 2.0' in path.read_text()


def test_nan_and_infinities_are_valid_json_and_come_back(path: Path) -> None:
    with JsonlTracker(path) as tracker:
        tracker.log_scalars({"a": math.nan, "b": math.inf, "c": -math.inf}, step=1, epoch=1)
    row = json.loads(path.read_text(), parse_constant=refuse_constant)
    assert (row["a"], row["b"], row["c"]) == ("NaN", "Infinity", "-Infinity")
    (read,) = read_metrics(path)
    assert math.isnan(read["a"])
    assert (read["b"], read["c"]) == (math.inf, -math.inf)


@given(st.lists(st.tuples(st.text(min_size=1), st.floats()), max_size=4))
@settings(max_examples=40, deadline=None)
def test_any_names_and_floats_come_back_as_they_were(scalars: list[tuple[str, float]]) -> None:
    wanted = {f"/{name}": value for name, value in scalars}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "metrics.jsonl"
        with JsonlTracker(path) as tracker:
            tracker.log_scalars(wanted, step=1, epoch=1)
        (row,) = read_metrics(path)
    assert repr({name: row[name] for name in wanted}) == repr(wanted)


def test_a_second_tracker_appends(path: Path) -> None:
    log(path, range(1, 3))
    log(path, range(3, 5))
    assert [row["step"] for row in read_metrics(path)] == [1, 2, 3, 4]


@pytest.mark.parametrize("torn", [b'{"step": 4, "epo', b"\0" * 100, b'{"step": 4, "epoch": 1}'])
def test_half_a_line_at_the_end_is_ignored_and_repaired(
    path: Path, torn: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    log(path, range(1, 4))
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    assert [row["step"] for row in read_metrics(path)] == [1, 2, 3]
    with caplog.at_level(logging.WARNING):
        JsonlTracker(path).close()
    assert path.read_bytes() == whole
    assert f"removed half a line ({len(torn)} bytes)" in caplog.text


def test_half_a_line_longer_than_a_block_is_removed(path: Path) -> None:
    log(path, range(1, 3))
    whole = path.read_bytes()
    path.write_bytes(whole + b"x" * 200_000)
    JsonlTracker(path).close()
    assert path.read_bytes() == whole


def test_file_of_nothing_but_half_a_line_becomes_empty(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b'{"step"')
    JsonlTracker(path).close()
    assert path.read_bytes() == b""


def test_rewind_cuts_what_is_beyond_the_step_and_nothing_else(path: Path) -> None:
    log(path, range(1, 11))
    kept = path.read_bytes().splitlines(keepends=True)[:6]
    with JsonlTracker(path) as tracker:
        tracker.rewind(6)
        assert path.read_bytes() == b"".join(kept)
        tracker.log_scalars({"loss": 0.7}, step=7, epoch=1)
    assert [(row["step"], row["loss"]) for row in read_metrics(path)] == [
        *((step, 0.5) for step in range(1, 7)),
        (7, 0.7),
    ]
    assert list(path.parent.iterdir()) == [path]


def test_rewind_that_meets_a_broken_line_changes_nothing(path: Path) -> None:
    log(path, range(1, 3))
    broken = path.read_bytes() + b"oops\n" + path.read_bytes()
    path.write_bytes(broken)
    with JsonlTracker(path) as tracker:
        with pytest.raises(AudioZENError, match=r"metrics\.jsonl, line 3: not JSON"):
            tracker.rewind(1)
        assert path.read_bytes() == broken
        tracker.log_scalars({"loss": 1.0}, step=3, epoch=1)
    assert path.read_bytes().startswith(broken)
    assert list(path.parent.iterdir()) == [path]


def test_a_reader_never_sees_a_file_that_is_being_cut(path: Path) -> None:
    log(path, range(1, 11))
    with path.open("rb") as old, JsonlTracker(path) as tracker:
        tracker.rewind(2)
        assert len(old.readlines()) == 10


@pytest.mark.parametrize("name", ["step", "epoch", "time"])
def test_names_that_each_line_has_are_refused(path: Path, name: str) -> None:
    with JsonlTracker(path) as tracker, pytest.raises(AudioZENError, match=f"'train/{name}'"):
        tracker.log_scalars({name: 1.0}, step=1, epoch=1)
    assert path.read_bytes() == b""


@pytest.mark.parametrize(
    ("line", "problem"), [("oops", "not JSON"), ("[1]", "not an object"), ("{}", "not an object")]
)
def test_broken_line_is_named(path: Path, line: str, problem: str) -> None:
    log(path, range(1, 2))
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(AudioZENError, match=rf"metrics\.jsonl, line 2: {problem}"):
        read_metrics(path)


def test_missing_file_is_named(path: Path) -> None:
    with pytest.raises(AudioZENError, match=r"metrics\.jsonl: no such file"):
        read_metrics(path)


def test_killed_process_loses_nothing_that_was_logged(path: Path) -> None:
    program = (
        "import os, signal, sys; from audiozen.tracking.jsonl import JsonlTracker\n"
        "tracker = JsonlTracker(sys.argv[1])\n"
        "for step in range(1, 101): tracker.log_scalars({'loss': 0.5}, step=step, epoch=1)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program, path], check=False)
    assert done.returncode == -signal.SIGKILL
    assert [row["step"] for row in read_metrics(path)] == list(range(1, 101))


def test_line_for_which_there_is_no_room_leaves_nothing_behind(path: Path) -> None:
    program = (
        "import resource, signal, sys; from audiozen.tracking.jsonl import JsonlTracker\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "tracker = JsonlTracker(sys.argv[1])\n"
        "tracker.log_scalars({'loss': 0.5}, step=1, epoch=1)\n"
        "limit = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, limit[1]))\n"
        "try: tracker.log_scalars({'loss': 0.5}, step=2, epoch=1)\n"
        "except OSError as error: print('refused')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, limit)\n"
        "tracker.log_scalars({'loss': 0.5}, step=3, epoch=1)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, path], check=True, capture_output=True, text=True
    )
    assert done.stdout == "refused\n"
    assert [row["step"] for row in read_metrics(path)] == [1, 3]


def test_rewind_cuts_later_steps_that_stand_before_earlier_ones(path: Path) -> None:
    for steps in (range(1, 5), range(10, 13), range(2, 4), range(11, 12)):
        log(path, steps)
    with JsonlTracker(path) as tracker:
        tracker.rewind(10)
    assert [row["step"] for row in read_metrics(path)] == [1, 2, 3, 4, 10, 2, 3]


def test_superseded_numbers_are_gone_and_others_keep_their_bytes(path: Path) -> None:
    with JsonlTracker(path) as tracker:
        for step in (1, 2, 12):
            tracker.log_scalars({"train/loss": 0.5}, step=step, epoch=1)
            tracker.log_scalars({"valid/a": 1.0, "valid/b": 2.0}, step=step, epoch=1)
            tracker.log_scalars({"valid/a": math.nan, "my/größe": 1 / 3}, step=step, epoch=1)
        before = path.read_bytes().splitlines(keepends=True)
        tracker.supersede(["valid/a", "valid/b"], step=2)
        tracker.log_scalars({"valid/a": 7.0}, step=2, epoch=1)
    after = path.read_bytes().splitlines(keepends=True)
    assert after[:4] + after[5:8] == before[:4] + before[6:9]
    assert after[4] == before[5].replace(b'"valid/a": "NaN", ', b"")
    assert names_at(path, 2) == [{"train/loss"}, {"my/größe"}, {"valid/a"}]


@pytest.mark.parametrize("names", [["train"], ["loss/"], ["step", "epoch", "time"], []])
def test_nothing_to_supersede_leaves_the_same_file(path: Path, names: list[str]) -> None:
    log(path, range(1, 4))
    content = path.read_bytes()
    with path.open("rb") as before, JsonlTracker(path) as tracker:
        tracker.supersede(names, step=2)
        tracker.supersede(["loss"], step=4)
        assert os.path.samestat(os.fstat(before.fileno()), path.stat())
    assert path.read_bytes() == content


def test_supersede_leaves_lines_that_are_not_of_a_run_to_the_reader(path: Path) -> None:
    log(path, range(1, 2))
    foreign = (
        b'[{"step": 1, "loss": 2}]\n'
        b'{"step": 2, "nested": {"step": 1, "loss": 2}, "loss": 3}\n'
        b'{"step": 1, oops\n'
    )
    path.write_bytes(foreign + path.read_bytes())
    with JsonlTracker(path) as tracker:
        tracker.supersede(["loss"], step=1)
    assert path.read_bytes() == foreign


@pytest.mark.parametrize("size", [7, 100])  # a line has about 80
def test_lines_across_blocks_stay_whole(
    path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonl, "_BLOCK_SIZE", size)
    log(path, range(1, 31))
    with JsonlTracker(path) as tracker:
        tracker.supersede(["loss"], step=20)
        tracker.rewind(25)
    assert [row["step"] for row in read_metrics(path)] == [*range(1, 20), *range(21, 26)]


def test_flush_puts_the_file_on_the_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed, fsync = [], os.fsync
    with JsonlTracker(path) as tracker:
        tracker.log_scalars({"loss": 0.5}, step=1, epoch=1)
        monkeypatch.setattr(os, "fsync", lambda file: flushed.append(os.fstat(file)) or fsync(file))
        tracker.flush()
    assert [(status.st_ino, status.st_size) for status in flushed] == [
        (path.stat().st_ino, path.stat().st_size)
    ]


# Several processes


APPEND_UNTIL_STOPPED = """
import os, sys, time
from audiozen.tracking.jsonl import JsonlTracker
tracker, step = JsonlTracker(sys.argv[1]), 0
print("ready", flush=True)
while not os.path.exists(sys.argv[1] + ".stop"):
    step += 1
    tracker.log_scalars({f"name_{step % 7}": 0.5}, step=step, epoch=1)
    time.sleep(1e-4)  # lets others have the lock
print(step)
"""


def test_no_row_is_lost_or_torn_while_others_append_and_replace_the_file(path: Path) -> None:
    others = [run(APPEND_UNTIL_STOPPED, path) for _ in range(2)]
    with JsonlTracker(path) as tracker:
        for _ in range(15):
            tracker.rewind(10**9)
            tracker.log_scalars({"valid/score": 1.0}, step=0, epoch=1)
            tracker.supersede(["valid/score"], step=0)
            time.sleep(0.01)  # a lock is not fair: who takes it again at once may keep it
    path.with_name("metrics.jsonl.stop").touch()
    num_rows = [int(process.communicate()[0]) for process in others]
    assert min(num_rows) > 15
    steps = sorted(row["step"] for row in read_metrics(path))
    assert steps == sorted(step for num in num_rows for step in range(1, num + 1))


def test_half_a_line_of_a_writer_that_lives_is_not_cut(path: Path) -> None:
    log(path, range(1, 2))
    slow = run(
        "import fcntl, sys, time\n"
        "file = open(sys.argv[1], 'ab', buffering=0)\n"
        "fcntl.lockf(file, fcntl.LOCK_EX)\n"
        "file.write(b'{\"step\": 2, ')\n"
        "print('ready', flush=True)\n"
        "time.sleep(0.3)\n"
        'file.write(b\'"epoch": 1, "loss": 0.5}\\n\')\n',
        path,
    )
    log(path, range(3, 4))
    assert [row["step"] for row in read_metrics(path)] == [1, 2, 3]
    slow.communicate()


def test_half_a_line_of_another_writer_that_was_killed_is_cut_before_the_next(path: Path) -> None:
    with JsonlTracker(path) as tracker:
        tracker.log_scalars({"loss": 0.5}, step=1, epoch=1)
        with path.open("ab") as other:
            other.write(b'{"step": 2, ')
        tracker.log_scalars({"loss": 0.5}, step=3, epoch=1)
    assert [row["step"] for row in read_metrics(path)] == [1, 3]


@pytest.mark.timeout(30)  # the child lives for 60 s
def test_lock_of_a_killed_process_is_free_though_its_children_live(path: Path) -> None:
    killed = run(
        "import os, signal, sys, time\n"
        "from audiozen.tracking.jsonl import JsonlTracker\n"
        "tracker = JsonlTracker(sys.argv[1])\n"
        "with tracker._locked():\n"
        "    if os.fork() == 0:\n"
        "        print(f'ready\\n{os.getpid()}', flush=True)\n"
        "    time.sleep(60)\n",
        path,
    )
    assert killed.stdout is not None
    child = int(killed.stdout.readline())
    killed.kill()
    killed.wait()
    log(path, range(1, 2))
    os.kill(child, signal.SIGKILL)
    killed.communicate()
    assert [row["step"] for row in read_metrics(path)] == [1]


def test_rows_go_to_the_file_that_is_at_the_path(path: Path) -> None:
    with JsonlTracker(path) as tracker:
        tracker.log_scalars({"loss": 0.5}, step=1, epoch=1)
        path.unlink()
        tracker.log_scalars({"loss": 0.5}, step=2, epoch=1)
    assert [row["step"] for row in read_metrics(path)] == [2]


def test_a_folder_that_is_away_for_a_while_loses_only_the_rows_of_that_time(path: Path) -> None:
    away = path.parent.with_name("away")
    with JsonlTracker(path) as tracker:
        path.parent.rename(away)
        with pytest.raises(FileNotFoundError):
            tracker.log_scalars({"loss": 0.5}, step=1, epoch=1)
        away.rename(path.parent)
        tracker.log_scalars({"loss": 0.5}, step=2, epoch=1)
    assert [row["step"] for row in read_metrics(path)] == [2]


def test_file_systems_without_locks_are_written_to_without(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    log(path, range(1, 3))
    assert [row["step"] for row in read_metrics(path)] == [1, 2]


def test_new_content_of_a_killed_replacement_is_removed(path: Path) -> None:
    log(path, range(1, 3))
    leftover = path.with_name(".metrics.jsonl.123456789.partial")
    other = path.with_name(".other.csv.123456789.partial")
    for file in (leftover, other):
        file.touch()
    JsonlTracker(path).close()
    assert set(path.parent.iterdir()) == {path, other}
