from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from audiozen.cli.main import main
from audiozen.data.audio import audio_info, read_audio, write_audio
from audiozen.experiment import Experiment
from audiozen.inference import formats
from audiozen.trainer.checkpoint import CheckpointStore
from tests.inference.frame_models import recorded

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

MODELS = Path(__file__).parents[1] / "inference" / "frame_models.py"
RATE = 1000
"""Low, so that a few seconds are few frames."""
SETTINGS = [
    "model.path=frame_models.Small",
    f"acoustics.sample_rate={RATE}",
    "acoustics.n_fft=64",
    "acoustics.hop_length=32",
    "acoustics.win_length=64",
]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An experiment with a model that works frame by frame, and a checkpoint of it; the current folder is beside it."""
    folder, before = tmp_path_factory.mktemp("export"), Path.cwd()
    os.chdir(folder)
    assert main(["new", "recipe"]) == 0
    path = folder / "recipe" / "baseline.toml"
    shutil.copy(MODELS, path.parent)
    path.write_text(path.read_text().replace("[model.args]\nhidden_size = 64\n", ""))
    keep(path, SETTINGS)
    yield path
    os.chdir(before)


def keep(config: Path, settings: list[str]) -> Any:
    """Make a checkpoint of the weights that the model starts with."""
    experiment = Experiment.from_file(config, settings)
    [model] = experiment.build_trainer().modules.values()
    store = CheckpointStore(experiment.exp_dir / "checkpoints")
    store.save("epoch_0003", epoch=3, step=40, models={"": model.state_dict()})
    store.mark_best("epoch_0003")
    return model.eval()


def export(config: Path, output: Path, *options: str, settings: list[str] = SETTINGS) -> int:
    return main(["export", str(config), *settings, "--output", str(output), *options])


@pytest.fixture(scope="module")
def exported(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("exported") / "enhancer"
    assert export(config, output) == 0
    return output


def test_says_how_far_and_how_fast(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert export(config, tmp_path / "out", "--format", "torch_export") == 0
    captured = capsys.readouterr()
    assert re.fullmatch(
        r"model.pt2: differs from PyTorch by \d\.\de-\d\d of the peak at most \(allowed: 1e-05\); "
        r"real-time factor \d\.\d{4}, PyTorch frame by frame \d\.\d{4}, each on one thread\n",
        captured.out,
    )
    assert captured.err.endswith(f"in {tmp_path / 'out'}: model.pt2, streaming.json\n")


def test_settings_name_the_checkpoint(exported: Path) -> None:
    settings = json.loads((exported / "streaming.json").read_text())
    origin = settings["origin"]
    manifest = json.loads(Path("exp/baseline/checkpoints/epoch_0003/manifest.json").read_text())
    sha256 = manifest["files"]["model.safetensors"]["sha256"]
    assert origin == {
        "experiment": "baseline",
        "checkpoint": "epoch_0003",
        "epoch": 3,
        "step": 40,
        "weights_sha256": sha256,
    }
    names = ("model", "sample_rate", "n_fft", "hop_length", "win_length", "window", "delay")
    assert [settings[name] for name in names] == ["Small", RATE, 64, 32, 64, "sqrt_hann", 32]


PROGRAM = """
import runpy, sys
sys.modules["audiozen"] = sys.modules["torch"] = None  # cannot be imported
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""


def run_alone(folder: Path, *arguments: Path) -> subprocess.CompletedProcess[str]:
    """Run the program of an export, elsewhere and without AudioZEN and PyTorch."""
    command = [sys.executable, "-W", "error", "-c", PROGRAM, folder / "stream.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)


def test_program_beside_it_does_what_the_model_does(
    config: Path, exported: Path, tmp_path: Path
) -> None:
    noisy = torch.stack([recorded(1), recorded(1).flip(0)])[:, :9001]
    write_audio(tmp_path / "noisy.wav", noisy, RATE)
    copied = shutil.copytree(exported, tmp_path / "product")
    done = run_alone(copied, tmp_path / "noisy.wav", tmp_path / "enhanced.wav")
    assert (done.returncode, done.stderr) == (0, "")
    assert audio_info(tmp_path / "enhanced.wav") == (RATE, 9001, 2)
    trainer = Experiment.from_file(config, SETTINGS).build_trainer()
    trainer.load_checkpoint("best")
    for channel in range(2):
        read = {"sample_rate": RATE, "channel": channel}
        with torch.no_grad():
            expected = trainer.modules[""].eval()(read_audio(tmp_path / "noisy.wav", **read)[None])
        enhanced = read_audio(tmp_path / "enhanced.wav", **read)
        assert enhanced.abs().max() > 0.03
        torch.testing.assert_close(enhanced, expected[0], rtol=0, atol=1e-4)


def test_program_refuses_another_rate(exported: Path, tmp_path: Path) -> None:
    write_audio(tmp_path / "noisy.wav", torch.zeros(100), 8000)
    done = run_alone(exported, tmp_path / "noisy.wav", tmp_path / "enhanced.wav")
    assert done.returncode == 2
    assert f"noisy.wav is at 8000 Hz and the model at {RATE} Hz; resample it" in done.stderr
    assert not (tmp_path / "enhanced.wav").exists()


@pytest.mark.parametrize(
    ("settings", "options", "text"),
    [
        (SETTINGS, ["--format", "tflite"], "format 'tflite' is unknown; choose of onnx, torch_exp"),
        (SETTINGS, ["--ckpt", "epoch_0009"], "no checkpoint 'epoch_0009' in "),
        ([*SETTINGS, "meta.exp_id=none"], [], "Train first, or choose one with --ckpt"),
        ([*SETTINGS, "modle.path=x"], [], "modle"),
    ],
)
def test_wrong_request_writes_nothing(
    settings: list[str],
    options: list[str],
    text: str,
    config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    assert export(config, tmp_path / "out", *options, settings=settings) == 2
    assert text in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_model_that_is_no_stream_is_refused(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    settings = ["meta.exp_id=whole"]
    keep(config, settings)
    assert export(config, tmp_path / "out", settings=settings) == 2
    message = capsys.readouterr().err
    assert "error: Denoiser cannot be exported: it does not work frame by frame. Derive" in message
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_kept_unless_asked(
    config: Path, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    copied = shutil.copytree(exported, tmp_path / "out")
    before = {path.name: path.read_bytes() for path in copied.iterdir()}
    assert export(config, copied) == 2
    assert "holds an export already; choose another --output" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in copied.iterdir()} == before
    assert export(config, copied, "--overwrite", "--format", "torch_export") == 0
    assert sorted(path.name for path in copied.iterdir()) == ["model.pt2", "streaming.json"]


def test_missing_packages_are_told_with_their_extra(
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    assert export(config, tmp_path / "out") == 2
    message = capsys.readouterr().err
    assert "needs onnx and onnxscript and onnxruntime, which cannot be found" in message
    assert "pip install 'audiozen[export]'" in message
    assert list(tmp_path.iterdir()) == []


def test_file_that_differs_from_the_model_is_not_kept(
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    strict = formats.FORMATS["torch_export"]._replace(limit=-1.0)
    monkeypatch.setitem(formats.FORMATS, "torch_export", strict)
    assert export(config, tmp_path / "out", "--format", "torch_export") == 1
    assert "error: model.pt2 is not the model: on 3 s of sound" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_model_of_the_package_is_exported_by_its_name(tmp_path: Path) -> None:
    assert main(["export", "--model", "band_gain_gru", "--output", str(tmp_path / "out")]) == 0
    settings = json.loads((tmp_path / "out" / "streaming.json").read_text())
    assert settings["origin"] == {"pretrained": "band_gain_gru"}
    assert (settings["sample_rate"], settings["parameters"]) == (16000, 29_216)


@pytest.mark.parametrize("words", [[], ["x.toml", "--model", "band_gain_gru"]])
def test_one_model_is_asked_for(words: list[str], capsys: pytest.CaptureFixture) -> None:
    assert main(["export", *words, "--output", "out"]) == 2
    assert "give either an experiment's .toml file or --model NAME" in capsys.readouterr().err
