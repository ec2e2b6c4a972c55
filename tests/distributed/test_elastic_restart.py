"""torchrun starts all processes again when one has died, and the run goes on where it was saved."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.distributed.launch import succeed

if TYPE_CHECKING:
    from collections.abc import Mapping

EXPERIMENT = Path(__file__).parent / "slow_recipe" / "slow.toml"
LAUNCH = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def audiozen(exp_dir: Path) -> list[str | Path]:
    where = [f"meta.save_dir={exp_dir.parent}", f"meta.exp_id={exp_dir.name}"]
    return ["-m", "audiozen", "train", EXPERIMENT, *where, "--resume"]


def environment(folder: Path) -> Mapping[str, str]:
    folder.mkdir()
    return {"STEPS_FOLDER": str(folder), "OMP_NUM_THREADS": "1"}


def weights(exp_dir: Path) -> bytes:
    return (exp_dir / "checkpoints" / "latest" / "model.safetensors").read_bytes()


def kill_at_step(process: subprocess.Popen[bytes], folder: Path, step: int, rank: int) -> None:
    deadline = time.monotonic() + 120
    while not (folder / str(step)).exists():
        assert process.poll() is None, f"torchrun ended before step {step}"
        assert time.monotonic() < deadline, f"step {step} did not come"
        time.sleep(0.01)
    os.kill(int((folder / f"process_{rank}").read_text()), signal.SIGKILL)


def test_run_goes_on_after_each_death_and_ends_as_if_there_had_been_none(tmp_path):
    succeed(audiozen(tmp_path / "calm"), 2, tmp_path / "a", environment(tmp_path / "calm_steps"))
    folder, output = tmp_path / "steps", tmp_path / "output"
    with output.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, *LAUNCH, "--max-restarts", "2", *audiozen(tmp_path / "restarted")],
            env=os.environ | environment(folder),
            stdout=file,
            stderr=file,
        )
    try:
        kill_at_step(process, folder, step=7, rank=0)
        kill_at_step(process, folder, step=15, rank=1)
        assert process.wait(120) == 0, output.read_text()
    finally:
        process.terminate()
        process.wait()
    assert output.read_text().count("resumed at epoch") == 2
    assert weights(tmp_path / "restarted") == weights(tmp_path / "calm")
