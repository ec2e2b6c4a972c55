"""What systems that others made do with the frozen mixtures of this corpus: to stand beside ours in one table.

    pip install --no-deps -r recipes/debian_noisy_speech/others/requirements.txt
    python recipes/debian_noisy_speech/others/enhance.py --root corpus --output others
    audiozen score --reference others/clean --estimate others/rnnoise --noisy others/noisy --labels others/labels.csv

Each system gets the same signals, writes a folder of its own, and its delay is taken out. Those that work at 48 kHz
are resampled to and fro. Prints the real-time factor of each: CPU time, resampling included, over the length.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import importlib.util
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import soxr

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from data import SAMPLE_RATE, FrozenMixtures

from audiozen.data.audio import write_audio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Waveform = npt.NDArray[np.float32]

WEBRTC_DELAY, RNNOISE_DELAY, DTLN_DELAY = 96, 960, 384
"""In samples at the rate of each system: where its correlation with the input is greatest."""
RNNOISE_RATE, RNNOISE_FRAME = 48000, 480
DTLN_WINDOW, DTLN_HOP = 512, 128


def noisereduce(noisy: Waveform) -> Waveform:
    """Spectral gating, with the library's own settings (non-stationary). Sainburg et al., PLOS Comp. Biol. 2020."""
    import noisereduce as library

    return np.asarray(library.reduce_noise(y=noisy, sr=SAMPLE_RATE), np.float32)


def webrtc(noisy: Waveform) -> Waveform:
    """The noise suppression of WebRTC, at its strongest (level 4 of 4), in 10 ms of 16-bit samples."""
    from webrtc_noise_gain import AudioProcessor

    processor = AudioProcessor(0, 4)
    samples = np.clip(np.round(noisy * 32768), -32768, 32767).astype("<i2")
    output = b"".join(
        processor.Process10ms(frame.tobytes()).audio
        for frame in frames_of(samples, SAMPLE_RATE // 100, WEBRTC_DELAY)
    )
    return aligned(np.frombuffer(output, "<i2") / 32768, WEBRTC_DELAY, len(noisy))


def rnnoise(noisy: Waveform) -> Waveform:
    """RNNoise 0.2 with the weights that the package ships. Valin, MMSP 2018."""
    library = _rnnoise_library()
    state = ctypes.c_void_p(library.rnnoise_create(None))
    pointer = ctypes.POINTER(ctypes.c_float)
    output = []
    samples = soxr.resample(noisy, SAMPLE_RATE, RNNOISE_RATE) * 32768
    for frame in frames_of(samples.astype(np.float32), RNNOISE_FRAME, RNNOISE_DELAY):
        enhanced = np.empty(RNNOISE_FRAME, np.float32)
        library.rnnoise_process_frame(
            state, enhanced.ctypes.data_as(pointer), frame.ctypes.data_as(pointer)
        )
        output.append(enhanced)
    library.rnnoise_destroy(state)
    enhanced = aligned(np.concatenate(output) / 32768, RNNOISE_DELAY, len(samples))
    return fitted(soxr.resample(enhanced, RNNOISE_RATE, SAMPLE_RATE), len(noisy))


def dtln(noisy: Waveform) -> Waveform:
    """DTLN, 0.99 M parameters. Westhausen and Meyer, Interspeech 2020."""
    masking, synthesis = _dtln_sessions()
    first_state = second_state = np.zeros((1, 2, 128, 2), np.float32)
    window = np.zeros(DTLN_WINDOW, np.float32)
    overlap = np.zeros(DTLN_WINDOW, np.float32)
    output = []
    for chunk in frames_of(noisy, DTLN_HOP, DTLN_DELAY):
        window = np.concatenate([window[DTLN_HOP:], chunk])
        spectrum = np.fft.rfft(window)
        magnitude = np.abs(spectrum).astype(np.float32)[None, None]
        mask, first_state = masking.run(None, {"input_2": magnitude, "input_3": first_state})
        frame = np.fft.irfft(spectrum * mask[0, 0]).astype(np.float32)[None, None]
        frame, second_state = synthesis.run(None, {"input_4": frame, "input_5": second_state})
        overlap = np.concatenate([overlap[DTLN_HOP:], np.zeros(DTLN_HOP, np.float32)]) + frame[0, 0]
        output.append(overlap[:DTLN_HOP])
    return aligned(np.concatenate(output), DTLN_DELAY, len(noisy))


SYSTEMS: dict[str, Callable[[Waveform], Waveform]] = {
    "noisereduce": noisereduce,
    "webrtc": webrtc,
    "rnnoise": rnnoise,
    "dtln": dtln,
}


def frames_of(samples: npt.NDArray[Any], length: int, delay: int) -> Iterator[npt.NDArray[Any]]:
    """Consecutive frames of a signal, with as much silence behind it as brings all of it out again."""
    num_frames = -(-(len(samples) + delay) // length)
    padded = np.pad(samples, (0, num_frames * length - len(samples)))
    return iter(padded.reshape(num_frames, length))


def aligned(samples: npt.NDArray[Any], delay: int, length: int) -> Waveform:
    """The output without its delay."""
    return samples[delay : delay + length].astype(np.float32)


def fitted(samples: npt.NDArray[Any], length: int) -> Waveform:
    """Cut, or padded with zeros: resampling to and fro may round the length."""
    return np.pad(samples[:length], (0, max(0, length - len(samples)))).astype(np.float32)


def package_file(package: str, *path: str) -> Path:
    """A file that a package ships; the package itself is not imported, as it may ask for what is not there."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"{package} is not installed; see others/requirements.txt")
    return Path(spec.submodule_search_locations[0]).joinpath(*path)


def _rnnoise_library() -> Any:
    library = ctypes.CDLL(str(package_file("pyrnnoise", "librnnoise.so")))
    library.rnnoise_create.restype = ctypes.c_void_p
    library.rnnoise_create.argtypes = [ctypes.c_void_p]
    library.rnnoise_destroy.argtypes = [ctypes.c_void_p]
    pointer = ctypes.POINTER(ctypes.c_float)
    library.rnnoise_process_frame.argtypes = [ctypes.c_void_p, pointer, pointer]
    library.rnnoise_process_frame.restype = ctypes.c_float
    return library


def _dtln_sessions() -> list[Any]:
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    models = package_file("livekit", "plugins", "dtln", "models")
    return [
        InferenceSession(models / f"model_{k}.onnx", options, providers=["CPUExecutionProvider"])
        for k in (1, 2)
    ]


def enhance_all(
    dataset: FrozenMixtures, output: Path, systems: dict[str, Callable[[Waveform], Waveform]]
) -> dict[str, float]:
    """Write what went in, and what each system makes of it.

    Returns:
        Real-time factor of each system.
    """
    compute, audio = dict.fromkeys(systems, 0.0), 0.0
    rows = []
    for noisy, clean, labels in (dataset[i] for i in range(len(dataset))):
        rows.append(labels)
        audio += len(noisy) / SAMPLE_RATE
        for name, waveform in (("noisy", noisy), ("clean", clean)):
            write_audio(output / name / f"{labels['id']}.wav", waveform, SAMPLE_RATE)
        for name, system in systems.items():
            start = time.process_time()
            enhanced = system(noisy.numpy())
            compute[name] += time.process_time() - start
            write_audio(
                output / name / f"{labels['id']}.wav", noisy.new_tensor(enhanced), SAMPLE_RATE
            )
    with (output / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return {name: seconds / audio for name, seconds in compute.items()}


def main() -> None:
    """Read the command line, and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "systems", nargs="*", metavar="SYSTEM", help=f"some of {', '.join(SYSTEMS)}"
    )
    parser.add_argument("--root", help="folder of the corpus; if left out, the pack in audio/")
    parser.add_argument("--mixtures", default="mixtures_test.jsonl")
    parser.add_argument("--noise", default="noise_test.jsonl")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    options = parser.parse_args()
    if unknown := [name for name in options.systems if name not in SYSTEMS]:
        parser.error(f"no system is called {', '.join(unknown)}; there are {', '.join(SYSTEMS)}")
    dataset = FrozenMixtures(options.mixtures, options.noise, options.root)
    systems = {name: SYSTEMS[name] for name in options.systems or SYSTEMS}
    for name, factor in enhance_all(dataset, options.output, systems).items():
        print(f"{name:<12} real-time factor {factor:.4f}")


if __name__ == "__main__":
    main()
