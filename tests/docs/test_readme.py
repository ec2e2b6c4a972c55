"""What the README shows is run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parents[2] / "README.md").read_text()
ROOT = Path(__file__).parents[2]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_script_of_thirty_lines_trains_and_tests(tmp_path):
    (script,) = [block for block in blocks("python") if "BaseTrainer" in block]
    assert len(script.splitlines()) <= 30
    (tmp_path / "train.py").write_text(script)
    run = subprocess.run(
        [sys.executable, "-W", "error", "train.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "(10 signals)" in run.stdout
    assert "(7 signals)" in run.stdout
    assert (tmp_path / "exp/linear/checkpoints/best/model.safetensors").is_file()


def test_script_of_thirty_lines_runs_on_several_processes_as_it_is(tmp_path):
    (script,) = [block for block in blocks("python") if "BaseTrainer" in block]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    tables = []
    for command in (["train.py"], [*launch, "1", "train.py"], [*launch, "2", "train.py"]):
        folder = tmp_path / str(len(tables))
        folder.mkdir()
        (folder / "train.py").write_text(script)
        run = subprocess.run(
            [sys.executable, *command],
            cwd=folder,
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=False,
        )
        assert run.returncode == 0, run.stderr
        table = folder / "exp/linear/metrics/test_0.csv"
        tables.append(table.read_text())
    assert tables[0] == tables[1]
    assert tables[2].count("\n") == 11
    assert "each of 2 processes, ddp" in run.stderr


def test_metric_example_gives_what_it_says():
    (example,) = [block for block in blocks("python") if "si_sdr(" in block]
    code, expected = example.rsplit("# ", 1)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == expected.strip()


def test_commands_and_files_that_are_named_exist():
    for name in ["docs/settings.md", "CHANGELOG.md", "LICENSE"]:
        assert name in README
        assert (ROOT / name).is_file()
    targets = re.findall(r"(?:^|`)make (\w+)", README, flags=re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text()
    assert {"demo", "test"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)
