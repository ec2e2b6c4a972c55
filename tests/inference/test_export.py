from __future__ import annotations

import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from audiozen.errors import AudioZENError, RequestError
from audiozen.inference import formats, standalone
from audiozen.inference.export import export, made_up_sound
from audiozen.streaming import stream_through
from tests.inference.frame_models import Odd, Small, WithMemory, recorded

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason=f"needs {package}, of the extra export")

RATE = 1000
"""Low, so that a few seconds are few frames."""


class Written:
    """An export of both formats."""

    def __init__(self, model: Any, folder: Path) -> None:
        self.model, self.folder = model, folder
        both = ["onnx", "torch_export"]
        self.comparisons = export(model, folder, sample_rate=RATE, formats=both, origin={"step": 7})
        self.settings = json.loads((folder / "streaming.json").read_text())


@pytest.fixture(scope="module", params=[Small, Odd], ids=lambda make: make.__name__)
def written(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Written:
    torch.manual_seed(0)
    model = request.param()
    model.train()(torch.randn(4, 4000))
    return Written(model, tmp_path_factory.mktemp("export") / "deep" / "folder")


@pytest.mark.parametrize(("name", "limit"), [("onnx", 1e-4), ("torch_export", 1e-5)])
def test_files_do_what_the_model_does(written: Written, name: str, limit: float) -> None:
    fmt = formats.FORMATS[name]
    network = fmt.open(written.folder / fmt.file, written.settings)
    noisy = recorded(1)
    enhanced = standalone.Enhancer(written.settings, network).enhance(noisy.numpy())
    expected = stream_through(written.model.eval(), noisy[None])[0].numpy()
    assert np.abs(expected).max() > 0.05
    assert np.abs(enhanced - expected).max() < limit


def test_comparisons_tell_how_far_and_how_fast(written: Written) -> None:
    assert [comparison.file for comparison in written.comparisons] == ["model.onnx", "model.pt2"]
    for comparison, limit in zip(written.comparisons, (1e-4, 1e-5)):
        assert 0 <= comparison.difference < limit == comparison.limit
        assert comparison.real_time_factor > 0
        assert comparison.real_time_factor_of_pytorch > 0


def test_settings_say_what_the_network_takes(written: Written) -> None:
    import onnx

    settings = written.settings
    graph = onnx.load(written.folder / "model.onnx").graph
    assert [item.name for item in graph.input] == settings["inputs"]
    assert [item.name for item in graph.output] == settings["outputs"]
    states = settings["states"]
    assert settings["inputs"] == ["frame", *(state["input"] for state in states)]
    assert settings["outputs"] == ["enhanced", *(state["output"] for state in states)]
    shapes = [settings["frame"]["shape"], *(state["shape"] for state in states)]
    for items in (graph.input, graph.output):
        found = [[axis.dim_value for axis in item.type.tensor_type.shape.dim] for item in items]
        assert found == shapes


def test_settings_say_where_it_comes_from(written: Written) -> None:
    settings = written.settings
    assert settings["model"] == type(written.model).__name__
    assert settings["sample_rate"] == RATE
    assert settings["origin"] == {"step": 7}
    assert settings["parameters"] == sum(p.numel() for p in written.model.parameters())
    assert settings["versions"]["torch"] == version("torch")
    assert settings["opset"] >= 18


def test_files_name_no_folder_of_this_machine(written: Written) -> None:
    names = sorted(path.name for path in written.folder.iterdir())
    assert names == ["model.onnx", "model.pt2", "stream.py", "streaming.json"]
    for path in written.folder.iterdir():
        assert str(Path.cwd()).encode() not in path.read_bytes()
        assert b"frame_models" not in path.read_bytes()
    reference = Path(standalone.__file__).read_bytes()
    assert (written.folder / "stream.py").read_bytes() == reference


def test_small_constants_stay(tmp_path: Path) -> None:
    """The exporter's own optimizer takes 1e-8 for 0."""

    class Logarithmic(WithMemory):
        def step(self, spec: Tensor, memory: Any) -> tuple[Tensor, Any]:
            return spec * torch.log(spec.abs().square() + 1e-8), memory

    export(Logarithmic(), tmp_path / "out", sample_rate=RATE)
    enhanced = standalone.load(tmp_path / "out").enhance(np.zeros(100, np.float32))
    assert enhanced.tolist() == 100 * [0]


def test_odd_memory_is_told_with_its_place_and_values(tmp_path: Path) -> None:
    export(Odd(), tmp_path / "out", sample_rate=RATE, formats=["torch_export"])
    states = json.loads((tmp_path / "out" / "streaming.json").read_text())["states"]
    assert [(state["dtype"], state["place"]) for state in states] == [
        ("float32", "memory['mean'][0]"),
        ("int64", "memory['count']"),
        ("bool", "memory['is_first']"),
        ("float32", "memory['gains']"),
    ]
    assert [state["initial"] for state in states[:3]] == [0.5, 0, True]
    assert states[3]["initial"] == torch.linspace(0, 1, 33).tolist()


def test_model_stays_as_it_is(tmp_path: Path) -> None:
    model = Small().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    export(model, tmp_path / "out", sample_rate=RATE, formats=["torch_export"])
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_without_onnx_there_is_no_program_that_runs_it(tmp_path: Path) -> None:
    export(WithMemory(), tmp_path / "out", sample_rate=RATE, formats=["torch_export"])
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["model.pt2", "streaming.json"]
    assert "opset" not in (tmp_path / "out" / "streaming.json").read_text()


# What fails leaves nothing ------------------------------------------------------------------------


class Looks(WithMemory):
    def step(self, spec: Tensor, memory: Any) -> tuple[Tensor, Any]:
        return (spec if spec.abs().max() > 1 else 2 * spec), memory


class Counts(WithMemory):
    """Remembers something outside of its memory."""

    count = 0

    def step(self, spec: Tensor, memory: Any) -> tuple[Tensor, Any]:
        self.count += 1
        return spec * (self.count % 3), memory


class NoNumbers(WithMemory):
    def step(self, spec: Tensor, memory: Any) -> tuple[Tensor, Any]:
        return spec * float("nan"), memory


class Splits(WithMemory):
    """Does something to complex numbers that ONNX's exporter cannot."""

    def step(self, spec: Tensor, memory: Any) -> tuple[Tensor, Any]:
        return torch.cat(spec.unbind(1), 1)[:, None], memory


@pytest.mark.parametrize(
    ("model", "name", "text"),
    [
        (Looks, "torch_export", r"Looks could not be exported: \w+: .*enhance\(\) looks at values"),
        (Counts, "torch_export", r"model.pt2 is not the model: .* and 1e-05 would be rounding"),
        (NoNumbers, "torch_export", "values that are not finite"),
        (
            Splits,
            "onnx",
            r"Splits could not be exported: .*unbind.* work with spec.real and spec.i",
        ),
    ],
)
def test_what_fails_leaves_nothing(model: Any, name: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(AudioZENError, match=text) as caught:
        export(model(), tmp_path / "out", sample_rate=RATE, formats=[name])
    assert caught.value.exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_what_fails_leaves_the_earlier_export(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"sample_rate": RATE, "formats": ["torch_export"]}
    export(WithMemory(), tmp_path / "out", **settings)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    with pytest.raises(AudioZENError, match="is not the model"):
        export(Counts(), tmp_path / "out", overwrite=True, **settings)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before
    export(Odd(), tmp_path / "out", overwrite=True, **settings)
    assert '"Odd"' in (tmp_path / "out" / "streaming.json").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def refused(folder: Path, text: str, **settings: Any) -> None:
    with pytest.raises(RequestError, match=text):
        export(WithMemory(), folder, **{"sample_rate": RATE, "formats": ["onnx"]} | settings)


def test_nothing_of_others_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    refused(tmp_path, r"holds other things \(file\); choose another --output", overwrite=True)
    refused(tmp_path / "file", "file is a file; --output is the folder")
    refused(tmp_path / "file" / "out", "out cannot be written: Not a directory; choose another")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "streaming.json").write_text("{}")
    refused(tmp_path / "old", "holds an export already; .* or give --overwrite")
    assert (tmp_path / "old" / "streaming.json").read_text() == "{}"


def test_unknown_format_is_refused(tmp_path: Path) -> None:
    refused(
        tmp_path, "format 'tflite' is unknown; choose of onnx, torch_export", formats=["tflite"]
    )


def test_missing_packages_are_told_with_their_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = formats.find_spec
    missing = {"onnx", "onnxscript"}
    monkeypatch.setattr(formats, "find_spec", lambda name: None if name in missing else there(name))
    text = "needs onnx and onnxscript, which cannot be found; pip install 'audiozen[export]'"
    refused(tmp_path / "out", re.escape(text))
    export(WithMemory(), tmp_path / "out", sample_rate=RATE, formats=["torch_export"])


def test_empty_folder_may_be_there(tmp_path: Path) -> None:
    export(WithMemory(), tmp_path, sample_rate=RATE, formats=["torch_export"])
    assert (tmp_path / "model.pt2").is_file()


@pytest.mark.parametrize("sample_rate", [8000, 16_000, 44_100])
def test_sound_to_compare_on_has_silence_speech_and_full_scale(sample_rate: int) -> None:
    sound = made_up_sound(sample_rate, 3)
    tenth = 3 * sample_rate // 10
    assert sound.shape == (3 * sample_rate,)
    assert sound.dtype == np.float32
    assert np.abs(sound[: tenth - 1]).max() == 0
    assert 0.02 < np.sqrt(np.square(sound[tenth : 8 * tenth]).mean()) < 0.3
    assert np.abs(sound).max() == 1
