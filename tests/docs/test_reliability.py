from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "reliability.md").read_text()


def test_tests_and_benchmarks_that_are_named_exist():
    named = set(re.findall(r"(?:tests|benchmarks)/[\w/]+\.py", PAGE))
    assert len(named) > 10
    assert [path for path in named if not (ROOT / path).is_file()] == []


def test_every_promise_names_its_test():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    promises = [row for row in rows if not re.match(r"\| (---|promise|fault) ", row)]
    assert len(promises) > 15
    assert [row for row in promises if "`tests/" not in row] == []


def test_script_for_slurm_is_a_shell_script_that_requeues_what_was_stopped(tmp_path):
    script = re.search(r"```sh\n(#!/bin/bash.*?)```", PAGE, re.DOTALL)[1]
    calls = tmp_path / "calls"
    for code, expected in ((75, "requeue 7"), (0, ""), (1, "")):
        stubs = f"srun() {{ return {code}; }}\nscontrol() {{ echo $* > {calls}; }}\n"
        calls.write_text("")
        done = subprocess.run(
            ["bash", "-c", stubs + script], env={"SLURM_JOB_ID": "7"}, check=False
        )
        assert done.returncode == code
        assert calls.read_text().strip() == expected
