"""What the README shows and the runner of pages leaves to others is run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def run_script(folder: Path, *launch: str) -> subprocess.CompletedProcess[str]:
    """Run the script of the page, in a folder of its own."""
    (script,) = [block for block in blocks("python") if "BaseTrainer" in block]
    assert len(script.splitlines()) <= 30
    folder.mkdir()
    (folder / "train.py").write_text(script)
    run = subprocess.run(
        [sys.executable, *launch, "train.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run


def test_script_of_thirty_lines_trains_and_tests(tmp_path):
    run = run_script(tmp_path / "run", "-W", "error")
    assert "(10 signals)" in run.stdout
    assert "(7 signals)" in run.stdout
    assert (tmp_path / "run/exp/linear/checkpoints/best/model.safetensors").is_file()


def test_script_of_thirty_lines_runs_on_several_processes_as_it_is(tmp_path):
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    run_script(tmp_path / "alone")
    run_script(tmp_path / "one", *launch, "1")
    run = run_script(tmp_path / "two", *launch, "2")
    alone, one, two = (
        (tmp_path / name / "exp/linear/metrics/test_0.csv").read_text()
        for name in ("alone", "one", "two")
    )
    assert alone == one
    assert two.count("\n") == alone.count("\n") == 11
    assert "each of 2 processes, ddp" in run.stderr


def test_metric_example_gives_what_it_says(capsys):
    (example,) = [block for block in blocks("python") if "si_sdr(" in block]
    code, expected = example.rsplit("# ", 1)
    exec(code, {})
    assert capsys.readouterr().out.strip() == expected.strip()


@pytest.mark.parametrize("name", ["README.md", "docs/first_run.md"])
def test_extras_that_are_named_exist(name):
    named = re.findall(r"\.\[([\w,]+)\]'", (ROOT / name).read_text())
    assert named
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for names in named:
        assert set(names.split(",")) <= project["optional-dependencies"].keys()
