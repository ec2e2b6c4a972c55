"""Enhance sound with ``model.onnx``, chunk by chunk. Needs NumPy and ONNX Runtime, and nothing of AudioZEN.

    python stream.py noisy.wav enhanced.wav        # needs soundfile as well

In a program, with one folder for this file, ``model.onnx`` and ``streaming.json``::

    enhancer = load("folder")
    for chunk in chunks:                           # float32 in [-1, 1], shape (enhancer.hop_length,)
        output = enhancer.process(chunk)           # as many samples, which are enhancer.delay samples late

This is a copy of ``audiozen/inference/standalone.py`` (MIT licence), to be changed and shipped as you like.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Network = Callable[[Sequence[Array]], Sequence[Array]]


class ChunkedSTFT:
    """The short-time Fourier transform, one hop after the other, and its exact inverse, one hop late.

    Args:
        n_fft: length of the Fourier transform, in samples.
        hop_length: samples of one chunk. The window is two of them long, and in the middle of the transform.
        window: ``"hann"``, ``"sqrt_hann"`` or ``"hamming"``; all periodic.
    """

    def __init__(self, n_fft: int, hop_length: int, window: str) -> None:
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.margin = n_fft // 2 - hop_length
        self.window = make_window(window, 2 * hop_length)
        self.overlap = np.square(self.window).reshape(2, hop_length).sum(0)
        self.reset()

    def reset(self) -> None:
        """Forget everything, as before the first chunk."""
        self.past = np.zeros(self.hop_length)
        self.tail = np.zeros(self.hop_length)

    def analyse(self, chunk: Array) -> Array:
        """From the next chunk ``(hop_length,)`` to the frame that ends with it: complex, ``(n_fft // 2 + 1,)``."""
        frame = np.concatenate([self.past, chunk]) * self.window
        self.past = np.array(chunk)
        spec: Array = np.fft.rfft(np.pad(frame, self.margin))
        return spec

    def synthesise(self, spec: Array) -> Array:
        """From the next frame to the chunk that it completes, which is the one before the last that was analysed."""
        signal = np.fft.irfft(spec, self.n_fft)
        first, second = signal[self.margin : self.n_fft - self.margin].reshape(2, -1)
        halves = self.window.reshape(2, -1)
        chunk: Array = ((self.tail + first * halves[0]) / self.overlap).astype(np.float32)
        self.tail = second * halves[1]
        return chunk


def make_window(name: str, length: int) -> Array:
    """A periodic window."""
    cosine: Array = np.cos(2 * np.pi * np.arange(length) / length)
    if name == "hamming":
        return 0.54 - 0.46 * cosine
    hann: Array = 0.5 - 0.5 * cosine
    return {"hann": hann, "sqrt_hann": np.sqrt(hann)}[name]


class Enhancer:
    """One stream of sound through the network.

    Args:
        settings: what ``streaming.json`` says.
        network: takes a frame and the states and returns the enhanced frame and the new states, in the order of the
            settings.
    """

    def __init__(self, settings: dict[str, Any], network: Network) -> None:
        self.settings = settings
        self.network = network
        self.sample_rate: int = settings["sample_rate"]
        self.hop_length: int = settings["hop_length"]
        self.delay: int = settings["delay"]
        self.stft = ChunkedSTFT(settings["n_fft"], self.hop_length, settings["window"])
        self.reset()

    def reset(self) -> None:
        """Forget everything, as before the first chunk."""
        self.stft.reset()
        self.states: Sequence[Array] = [
            np.full(state["shape"], state["initial"], state["dtype"])
            for state in self.settings["states"]
        ]

    def process(self, chunk: Array) -> Array:
        """Enhance the next chunk, shape ``(hop_length,)``. What comes out is ``delay`` samples late."""
        spec = self.stft.analyse(chunk)
        frame = np.stack([spec.real, spec.imag]).astype(np.float32)[None, :, None]
        enhanced, *self.states = self.network([frame, *self.states])
        return self.stft.synthesise(enhanced[0, 0, 0] + 1j * enhanced[0, 1, 0])

    def enhance(self, noisy: Array) -> Array:
        """Enhance a whole signal ``(time,)`` from the beginning, chunk by chunk, and take the delay out."""
        self.reset()
        padding = self.delay + -(len(noisy) + self.delay) % self.hop_length
        chunks = np.pad(noisy, (0, padding)).reshape(-1, self.hop_length)
        enhanced = np.concatenate([self.process(chunk) for chunk in chunks])
        return enhanced[self.delay : self.delay + len(noisy)]


def load(folder: str | Path, num_threads: int = 1) -> Enhancer:
    """An enhancer of the files in a folder.

    Args:
        folder: of ``model.onnx`` and ``streaming.json``.
        num_threads: that compute. More than one seldom pays for networks that run frame by frame.
    """
    settings = json.loads((Path(folder) / "streaming.json").read_text(encoding="utf-8"))
    return Enhancer(settings, onnx_network(Path(folder) / "model.onnx", settings, num_threads))


def onnx_network(path: Path, settings: dict[str, Any], num_threads: int = 1) -> Network:
    """The network of a file, on ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = num_threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def network(inputs: Sequence[Array]) -> Sequence[Array]:
        outputs: list[Array] = session.run(
            settings["outputs"], dict(zip(settings["inputs"], inputs))
        )
        return outputs

    return network


def main() -> None:
    """Enhance a sound file, each of its channels alone."""
    import soundfile

    parser = argparse.ArgumentParser(description="Enhance a sound file with model.onnx.")
    parser.add_argument("noisy", help="sound file at the rate of the model")
    parser.add_argument("enhanced", help="file to write")
    arguments = parser.parse_args()
    enhancer = load(Path(__file__).parent)
    noisy, sample_rate = soundfile.read(arguments.noisy, dtype="float32", always_2d=True)
    if sample_rate != enhancer.sample_rate:
        parser.error(
            f"{arguments.noisy} is at {sample_rate} Hz and the model at {enhancer.sample_rate} Hz; "
            "resample it first"
        )
    enhanced = np.stack([enhancer.enhance(channel) for channel in noisy.T], axis=-1)
    soundfile.write(arguments.enhanced, enhanced, sample_rate)


if __name__ == "__main__":
    main()
