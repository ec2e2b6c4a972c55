"""Does a longer recording take more memory?

    python benchmarks/long_recordings.py --minutes 1 20 40

A file of noise (44.1 kHz, 16 bits) goes through the band-gain GRU, which works at 16 kHz, and the result is written at
the rate of the file. Each way in a process of its own, with one thread:

- block by block: ``predict_files`` of ``audiozen predict``, as of any model that works frame by frame
- in segments: the same of a model that needs whole signals, 60 s at a time
- at once: the file is read as a whole, and so is everything that follows; where it is not too long

Prints the peak of the resident memory, and the real-time factor: seconds of everything, reading and writing too, per
second of sound. The weights are random.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile
import torch

from audiozen.data.audio import read_audio, resample, write_audio
from audiozen.inference.jobs import Job
from audiozen.inference.predictor import Predictor, predict_files
from audiozen.pretrained.band_gain_gru.model import BandGainGRU

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

FILE_RATE, MODEL_RATE = 44100, 16000
WAYS = ("block by block", "in segments", "at once")
MAX_MINUTES_AT_ONCE = 20
"""More would take gigabytes."""


def build_model() -> nn.Module:
    """The band-gain GRU, with random weights."""
    torch.manual_seed(0)
    return BandGainGRU().eval()


def write_noise(path: Path, minutes: float) -> None:
    """A file of any length, a second at a time."""
    draws = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", FILE_RATE, 1, "PCM_16") as file:
        for _ in range(round(60 * minutes)):
            file.write(draws.normal(0, 3000, FILE_RATE).astype(np.int16))


def enhance(way: str, source: Path, target: Path) -> None:
    """Run the model on one file."""
    model = build_model()
    if way == "at once":
        with torch.no_grad():
            enhanced = model(read_audio(source, sample_rate=MODEL_RATE)[None])[0]
        write_audio(target, resample(enhanced, MODEL_RATE, FILE_RATE), FILE_RATE)
    else:
        run = model if way == "block by block" else lambda noisy: model(noisy)
        summary = predict_files(Predictor(run, MODEL_RATE), [Job(source, target)])
        assert summary.num_written == 1


def measure(way: str, source: Path, target: Path) -> None:
    """Print what it took: megabytes and seconds."""
    torch.set_num_threads(1)
    begin = time.perf_counter()
    enhance(way, source, target)
    print(peak_megabytes(), time.perf_counter() - begin)


def peak_megabytes() -> float:
    """The most memory that this process has had. (``getrusage`` would count that of the process that started it.)"""
    lines = Path("/proc/self/status").read_text().splitlines()
    [peak] = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(peak) / 1024


def row(way: str, minutes: Sequence[float], folder: Path) -> str:
    """Figures of one way."""
    cells = ""
    for number in minutes:
        if way == "at once" and number > MAX_MINUTES_AT_ONCE:
            cells += f"{'-':>12}{'-':>10}"
            continue
        words = [sys.executable, __file__, "--way", way, "--folder", folder, "--minutes", number]
        done = subprocess.run(  # noqa: S603 - this very file
            list(map(str, words)), stdout=subprocess.PIPE, text=True, check=True
        )
        peak, seconds = map(float, done.stdout.split())
        cells += f"{peak:>12.0f}{seconds / (60 * number):>10.4f}"
    return f"{way:<18}{cells}"


def compare(ways: Sequence[str], minutes: Sequence[float], folder: Path) -> None:
    """The table."""
    heads = "".join(f"{f'{number:g} min':>12}{'factor':>10}" for number in minutes)
    print(f"{'peak memory, MB':<18}{heads}")
    for number in minutes:
        write_noise(folder / f"{number:g}.wav", number)
    for way in ways:
        print(row(way, minutes, folder), flush=True)


def parse() -> argparse.Namespace:
    """Options."""
    parser = argparse.ArgumentParser(description="Does a longer recording take more memory?")
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 20, 40])
    parser.add_argument("--ways", choices=WAYS, nargs="+", default=WAYS)
    parser.add_argument("--folder", type=Path, help="for the files; a temporary one if left out")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Compare; or, as one of the processes, measure."""
    arguments = parse()
    if arguments.way:
        [number] = arguments.minutes
        folder = arguments.folder
        measure(arguments.way, folder / f"{number:g}.wav", folder / "out" / f"{number:g}.wav")
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        compare(arguments.ways, arguments.minutes, Path(folder))


if __name__ == "__main__":
    main()
