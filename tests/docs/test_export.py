"""What the page on exporting shows is run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from audiozen.cli.main import main
from audiozen.data.audio import audio_info, write_audio
from audiozen.experiment import Experiment
from audiozen.inference.export import export
from audiozen.inference.formats import FORMATS
from audiozen.trainer.checkpoint import CheckpointStore
from tests.inference.frame_models import WithMemory

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "export.md").read_text()
COMMAND, RUN = (shlex.split(block) for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL))
[PROGRAM] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the page, with a checkpoint of weights that were not trained, exported by the command."""
    root = tmp_path_factory.mktemp("export")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        Path("recipes").symlink_to(ROOT / "recipes")
        experiment = Experiment.from_file(COMMAND[2])
        [model] = experiment.build_trainer().modules.values()
        store = CheckpointStore(experiment.exp_dir / "checkpoints")
        store.save("epoch_0001", epoch=1, step=1, models={"": model.state_dict()})
        store.mark_best("epoch_0001")
        assert main(COMMAND[1:]) == 0
    return root


def test_folder_has_the_files_of_the_table(folder: Path) -> None:
    named = re.findall(r"^\| `([\w.]+)` \| [^0-9]", PAGE, re.MULTILINE)
    assert sorted(path.name for path in (folder / "enhancer").iterdir()) == sorted(named)


def test_command_for_a_file_runs(folder: Path) -> None:
    write_audio(folder / "noisy.wav", 0.1 * torch.randn(5000), 16_000)
    assert RUN[0] == "python"
    subprocess.run([sys.executable, *RUN[1:]], cwd=folder, check=True)
    assert audio_info(folder / "enhanced.wav") == (16_000, 5000, 1)


def test_program_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder / "enhancer")
    names: dict[str, Any] = {}
    exec(PROGRAM, names)
    assert names["output"].shape == (256,)
    assert names["enhanced"].shape == (16_000,)
    sys.modules.pop("stream")


class Complex(WithMemory):
    """Does all that the page says the exporter knows."""

    def step(self, spec: Tensor, memory: Any) -> tuple[Tensor, Any]:
        power = (spec * spec.conj()).real.sum(-1, keepdim=True)
        spec = torch.polar(spec.abs(), spec.angle()) / (1 + spec.conj() / (1 + power))
        spec = (spec.mT * 0.5).mT.flatten(1).reshape(spec.shape) + spec
        spec = torch.cat([spec[..., :9], spec[..., 9:] - 0.1 * spec[..., 9:]], -1)
        return torch.complex(spec.real, spec.imag.abs()) * (0.3 + 0.4j), memory


def test_exporter_knows_what_the_page_says(tmp_path: Path) -> None:
    [comparison] = export(Complex(), tmp_path / "out", sample_rate=1000)
    assert comparison.difference < 1e-5


def test_limits_are_those_of_the_code() -> None:
    assert "(1e-4 of the peak for ONNX,\n1e-5 for `torch.export`)" in PAGE
    assert [FORMATS[name].limit for name in ("onnx", "torch_export")] == [1e-4, 1e-5]
