from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from audiozen.acoustics import STFT
from audiozen.inference import standalone
from audiozen.inference.standalone import ChunkedSTFT, Enhancer, make_window
from tests.inference.frame_models import recorded

WINDOWS = ["hann", "sqrt_hann", "hamming"]
GRIDS = [(512, 256), (512, 200), (90, 19)]
"""Length of the transform and hop; the window is two hops."""


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    return recorded(3).numpy()


def through(transform: ChunkedSTFT, sound: np.ndarray, dtype: type = np.complex64) -> np.ndarray:
    """All frames of a signal, zeros after it, as STFT has them."""
    padding = -len(sound) % transform.hop_length + transform.hop_length
    chunks = np.pad(sound, (0, padding)).reshape(-1, transform.hop_length)
    return np.stack([transform.analyse(chunk) for chunk in chunks]).astype(dtype)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(("n_fft", "hop_length"), GRIDS)
def test_frames_are_those_of_the_transform_that_models_are_trained_with(
    n_fft: int, hop_length: int, window: Any, sound: np.ndarray
) -> None:
    expected = STFT(n_fft, hop_length, 2 * hop_length, window)(torch.from_numpy(sound)).mT.numpy()
    found = through(ChunkedSTFT(n_fft, hop_length, window), sound)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(("n_fft", "hop_length"), GRIDS)
def test_inverse_gives_the_signal_back_one_hop_late(
    n_fft: int, hop_length: int, window: str, sound: np.ndarray
) -> None:
    transform = ChunkedSTFT(n_fft, hop_length, window)
    spectra = through(transform, sound, np.complex128)
    signal = np.concatenate([transform.synthesise(spec) for spec in spectra])
    late = signal[hop_length : hop_length + len(sound)]
    assert np.abs(signal[:hop_length]).max() < 1e-7
    assert np.abs(late - sound).max() < 1e-6


def test_inverse_of_other_spectra_is_that_of_the_transform() -> None:
    """Also of those that belong to no signal, which a mask makes."""
    spectra = torch.randn(1, 257, 9, dtype=torch.complex64, generator=torch.manual_seed(0))
    expected = STFT(512, 256, window="hamming").inverse(spectra, 2048)[0].numpy()
    transform = ChunkedSTFT(512, 256, "hamming")
    signal = np.concatenate([transform.synthesise(spec) for spec in spectra[0].mT.numpy()])
    assert np.abs(signal[256:] - expected).max() < 1e-6


@pytest.mark.parametrize("window", WINDOWS)
def test_window_is_the_same(window: Any) -> None:
    expected = STFT(512, 256, window=window).window.numpy()
    assert np.abs(make_window(window, 512) - expected).max() < 1e-7


SETTINGS: dict[str, Any] = {
    "sample_rate": 16_000,
    "n_fft": 64,
    "hop_length": 32,
    "window": "sqrt_hann",
    "delay": 32,
    "states": [
        {"shape": [2, 3], "dtype": "float32", "initial": 0.5},
        {"shape": [], "dtype": "int64", "initial": 0},
        {"shape": [2], "dtype": "bool", "initial": [True, False]},
    ],
}


def counting(inputs: Any) -> Any:
    """A network that halves the frame and counts the calls in its second state."""
    frame, first, count, flags = inputs
    assert (frame.shape, frame.dtype) == ((1, 2, 1, 33), np.float32)
    return [0.5 * frame, first, count + 1, flags]


def test_states_start_as_the_settings_say() -> None:
    first, count, flags = Enhancer(SETTINGS, counting).states
    assert first.dtype == np.float32
    assert first.tolist() == [[0.5] * 3] * 2
    assert (count.dtype, count.shape, count.item()) == (np.int64, (), 0)
    assert flags.tolist() == [True, False]


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 1000])
def test_whole_signal_comes_back_in_its_place(length: int, sound: np.ndarray) -> None:
    noisy = sound[5000 : 5000 + length]
    enhanced = Enhancer(SETTINGS, counting).enhance(noisy)
    assert enhanced.shape == noisy.shape
    assert enhanced.dtype == np.float32
    np.testing.assert_allclose(enhanced, 0.5 * noisy, rtol=0, atol=1e-6)


def test_chunks_come_out_late_by_the_delay(sound: np.ndarray) -> None:
    enhancer = Enhancer(SETTINGS, counting)
    first, second = (enhancer.process(chunk) for chunk in sound[5000:5064].reshape(2, 32))
    np.testing.assert_allclose(first, np.zeros(32), rtol=0, atol=1e-7)
    np.testing.assert_allclose(second, 0.5 * sound[5000:5032], rtol=0, atol=1e-6)
    assert enhancer.states[1] == 2


def test_every_signal_starts_from_the_beginning(sound: np.ndarray) -> None:
    enhancer = Enhancer(SETTINGS, counting)
    first = enhancer.enhance(sound[:1000])
    enhancer.process(sound[5000:5032])
    assert np.array_equal(enhancer.enhance(sound[:1000]), first)
    assert enhancer.states[1] == 33


def test_nothing_but_numpy_and_a_runtime_is_imported() -> None:
    """The file is copied into products."""
    nodes = list(ast.walk(ast.parse(Path(standalone.__file__).read_text())))
    modules = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    modules |= {a.name for node in nodes if isinstance(node, ast.Import) for a in node.names}
    standard = {"__future__", "argparse", "collections.abc", "json", "pathlib", "typing"}
    assert modules - standard == {"numpy", "numpy.typing", "onnxruntime", "soundfile"}
