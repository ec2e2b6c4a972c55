from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from audiozen.config.schema import TrainerConfig
from audiozen.config.settings import kinds_of

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "scaling.md").read_text()


def test_tests_and_benchmarks_that_are_named_exist():
    named = set(re.findall(r"(?:tests|benchmarks)/[\w/]+\.py", PAGE))
    assert len(named) > 7
    assert [path for path in named if not (ROOT / path).is_file()] == []


def test_every_promise_names_its_test():
    tables = re.findall(r"\| (?:promise|what happens) \|.*?\n\n", PAGE, re.DOTALL)
    rows = [row for table in tables for row in table.splitlines()[2:] if row]
    assert len(rows) > 10
    assert [row for row in rows if "`tests/" not in row] == []


def test_settings_that_are_named_exist_and_defaults_are_those_of_the_page():
    for name in re.findall(r"^\| `(\w+)", PAGE, re.MULTILINE):
        if name != "manifest":
            assert name in kinds_of(TrainerConfig)
    assert TrainerConfig().contact_timeout == 60
    assert TrainerConfig().stall_timeout == 30 * 60


SCRIPTS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("script", SCRIPTS, ids=range(len(SCRIPTS)))
def test_scripts_are_scripts(script):
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


STUBS = """
srun() {{ touch {folder}/started; while [ ! -e {folder}/stop ]; do sleep 0.02; done; return {code}; }}
scontrol() {{ if [ $1 = requeue ]; then echo $2 >> {folder}/requeued; else echo node0; fi; }}
scancel() {{ echo "$@" > {folder}/stop; }}
"""


@pytest.mark.parametrize("code", [0, 1])
def test_script_for_slurm_puts_back_what_was_stopped_and_nothing_else(tmp_path, code):
    script = next(text for text in SCRIPTS if text.startswith("#!/bin/bash"))
    for is_stopped in (False, True):
        folder = tmp_path / str(is_stopped)
        folder.mkdir()
        job = subprocess.Popen(
            ["bash", "-c", STUBS.format(folder=folder, code=code) + script],
            env=os.environ | {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node[0-3]"},
        )
        wait_for(folder / "started")
        if is_stopped:
            time.sleep(0.2)  # until it waits
            job.send_signal(signal.SIGUSR1)
        else:
            (folder / "stop").touch()
        assert job.wait(20) == code
        requeued = folder / "requeued"
        assert (requeued.read_text().split() if requeued.exists() else []) == ["7"] * is_stopped
    assert (tmp_path / "True" / "stop").read_text() == "--signal=TERM 7.0\n"


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_arithmetic_of_the_large_corpus():
    processes, batch_size, seconds_per_step = 512, 32, 0.5
    per_step = processes * batch_size
    steps = -(-(10**9) // per_step)
    hours = steps * seconds_per_step / 3600
    read = 10**9 * 4 * 16_000 * 2
    per_second = per_step / seconds_per_step
    for text in (
        f"A step is of {per_step:,} samples, an epoch of\n{steps:,} steps and {hours:.1f} hours",
        f"{10**9 * 6 * 16_000 * 2 / 1e12:.0f} TB",
        f"{read / 1e12:.0f} TB: {read / hours / 3600 / 1e9:.1f} GB/s in all",
        f"{read / hours / 3600 / 64 / 1e6:.0f} MB/s per machine",
        f"{per_second:,.0f} per second in all, {per_second / 64:.0f} per machine",
        f"{(196 + 8) * 10**9 / 1e9:.0f} GB on a disk",
        f"{2 * 4 * 10**8 / 1e9:.1f} GB per process and step",
        f"{12 * 10**8 / 1e9:.1f} GB, written by one process",
        f"{processes * 12 * 10**8 / 1e9:.0f} GB asked for; {64 * 12 * 10**8 / 1e9:.0f} GB leave",
    ):
        assert text in PAGE
