from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from audiozen.config.locate import locate
from audiozen.pretrained import catalogue
from audiozen.pretrained.band_gain_gru.model import BandGainGRU

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script, on a copy of the models of the package."""
    shutil.copytree(catalogue.FOLDER, tmp_path / "pretrained")
    function = locate("publish_model.publish", [SCRIPTS])
    monkeypatch.setattr(catalogue, "FOLDER", tmp_path / "pretrained")
    monkeypatch.setitem(function.__globals__, "FOLDER", tmp_path / "pretrained")
    return function


def checkpoint(folder: Path, **weights: torch.Tensor) -> Path:
    safetensors.torch.save_file(BandGainGRU().state_dict() | weights, folder / "new.safetensors")
    return folder / "new.safetensors"


def test_what_was_published_is_what_is_loaded(publish: Any, tmp_path: Path) -> None:
    bias = torch.arange(32.0)
    assert publish(checkpoint(tmp_path, **{"decoder.bias": bias}), "band_gain_gru") == 29_216
    assert catalogue.load("band_gain_gru").model.decoder.bias.equal(bias)


def test_weights_that_do_not_fit_leave_the_model_as_it_was(publish: Any, tmp_path: Path) -> None:
    before = catalogue.load("band_gain_gru").model.state_dict()
    with pytest.raises(RuntimeError, match=r"size mismatch for decoder.bias"):
        publish(checkpoint(tmp_path, **{"decoder.bias": torch.zeros(31)}), "band_gain_gru")
    after = catalogue.load("band_gain_gru").model.state_dict()
    assert all(before[name].equal(after[name]) for name in before)


def test_more_than_5_megabytes_are_refused(publish: Any, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"more than the 5000000 allowed"):
        publish(checkpoint(tmp_path, extra=torch.zeros(1_250_000)), "band_gain_gru")
