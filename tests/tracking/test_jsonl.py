from __future__ import annotations

import json
import logging
import math
import signal
import subprocess
import sys
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audiozen.errors import AudioZENError
from audiozen.tracking.jsonl import JsonlTracker, read_metrics


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics" / "metrics.jsonl"


def log(path: Path, steps: range, value: float = 0.5) -> None:
    with JsonlTracker(path) as tracker:
        for step in steps:
            tracker.log_scalars({"loss": value}, step=step, epoch=1)


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
