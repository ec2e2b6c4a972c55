from __future__ import annotations

import csv
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from audiozen.config.locate import locate
from audiozen.data.audio import read_audio

RECIPE = Path(__file__).resolve().parents[3] / "recipes" / "debian_noisy_speech"


def others(name: str) -> Any:
    return locate(f"enhance.{name}", [RECIPE / "others", RECIPE])


@pytest.mark.parametrize("length", [1, 99, 100, 1000, 1001])
@pytest.mark.parametrize("delay", [0, 1, 96, 384])
def test_a_system_that_only_delays_gives_the_signal_back(length: int, delay: int) -> None:
    signal = np.arange(1, length + 1, dtype=np.float32)
    output = np.concatenate(list(others("frames_of")(signal, 100, delay)))
    delayed = np.concatenate([np.zeros(delay, np.float32), output])[: len(output)]
    np.testing.assert_array_equal(others("aligned")(delayed, delay, length), signal)


def test_length_is_fitted_without_moving_the_signal() -> None:
    signal = np.ones(5, np.float32)
    assert others("fitted")(signal, 3).tolist() == [1, 1, 1]
    assert others("fitted")(signal, 7).tolist() == [1, 1, 1, 1, 1, 0, 0]


def test_every_mixture_is_written_with_what_each_system_makes_of_it(tmp_path: Path) -> None:
    dataset = locate("data.FrozenMixtures", [RECIPE])(
        "mixtures_test_unseen.jsonl", "noise_test_unseen.jsonl", num_mixtures=2
    )
    factors = others("enhance_all")(dataset, tmp_path, {"halved": lambda noisy: noisy / 2})
    assert 0 <= factors["halved"] < 1
    rows = list(csv.DictReader((tmp_path / "labels.csv").read_text().splitlines()))
    for row, (noisy, clean, labels) in zip(rows, (dataset[0], dataset[1]), strict=True):
        assert row["id"] == labels["id"]
        for folder, expected in (("noisy", noisy), ("clean", clean), ("halved", noisy / 2)):
            written = read_audio(tmp_path / folder / f"{labels['id']}.wav")
            torch.testing.assert_close(written, expected, rtol=0, atol=1 / 32768)


def test_a_package_that_is_missing_is_named() -> None:
    with pytest.raises(
        SystemExit, match=r"no_such_package is not installed; see others/requirements.txt"
    ):
        others("package_file")("no_such_package", "x")


@pytest.mark.skipif(
    not importlib.util.find_spec("pyrnnoise"), reason="needs others/requirements.txt"
)
@pytest.mark.parametrize("system", ["noisereduce", "webrtc", "rnnoise", "dtln"])
def test_output_lies_where_the_input_was(system: str) -> None:
    clean = locate("data.FrozenMixtures", [RECIPE])(
        "mixtures_test_unseen.jsonl", "noise_test_unseen.jsonl", num_mixtures=1
    )[0][1].numpy()
    output = others(system)(clean)
    assert output.shape == clean.shape
    size = 2 * len(clean)
    products = np.fft.irfft(np.fft.rfft(output, size) * np.conj(np.fft.rfft(clean, size)))
    assert np.argmax(products) == 0
