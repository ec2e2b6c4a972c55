"""How much CPU do the slow metrics take?

    python benchmarks/metric_speed.py --rounds 15

Recorded speech in recorded noise at 16 kHz and an SNR of 0 dB, on one thread:

- STOI and ESTOI, each against pystoi, of 4 and 10 s, with the largest difference between both
- PESQ of the same, for comparison, where it is installed
- DNSMOS of 1, 2 and 4 s, which repeat until they fill a window, against computing every window

In each round, in turn. Prints medians of CPU time, and the median of the ratios round by round. Ends with 1 where
numbers differ by more than is allowed.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pystoi
import threadpoolctl
import torch

from audiozen.data.audio import read_audio
from audiozen.errors import MetricError
from audiozen.metrics import METRICS, dnsmos

if TYPE_CHECKING:
    from collections.abc import Callable

    from audiozen.metrics.measure import Samples

PACK = Path(__file__).parents[1] / "recipes" / "debian_noisy_speech" / "audio"
SAMPLE_RATE = 16000
SECONDS = (4, 10)
DNSMOS_SECONDS = (1, 2, 4)
WANTED = {"stoi": 5.0, "estoi": 2.5}
ALLOWED_DIFFERENCE = 1e-6


def recordings(kind: str) -> Samples:
    """All recordings of the test set, one after the other."""
    files = sorted((PACK / kind / "test").glob("*.flac"))
    return torch.cat([read_audio(path) for path in files]).double().numpy()


def noisy_and_clean(seconds: int) -> tuple[Samples, Samples]:
    """Speech in noise, and without."""
    clean = recordings("speech")[: seconds * SAMPLE_RATE]
    noise = np.resize(recordings("noise"), len(clean))
    return clean + noise * np.sqrt(np.mean(clean**2) / np.mean(noise**2)), clean


def every_window(signal: Samples) -> float:
    """DNSMOS OVRL, of every window of the repeated signal."""
    audio = dnsmos._repeat(signal)
    starts = dnsmos._official_starts(len(audio))
    windows = (audio[start : start + dnsmos._SEGMENT_LENGTH] for start in starts)
    return float(np.mean([dnsmos._score_segment(window) for window in windows], axis=0)[2])


def cpu_ms(function: Callable[[], object]) -> float:
    """CPU time of a call, of all threads."""
    start = time.process_time()
    function()
    return 1000 * (time.process_time() - start)


def in_turn(rounds: int, *functions: Callable[[], object]) -> list[list[float]]:
    """CPU times of each function in each round, after one round that does not count."""
    times = [[cpu_ms(function) for function in functions] for _ in range(rounds + 1)]
    return [list(column) for column in zip(*times[1:])]


def compare(
    what: str, rounds: int, ours: Callable[[], float], theirs: Callable[[], float], wanted: str
) -> float:
    """Print one line. Returns the difference."""
    first, second = in_turn(rounds, ours, theirs)
    ratio = statistics.median(b / a for a, b in zip(first, second))
    difference = abs(ours() - theirs())
    print(
        f"{what:14} {statistics.median(first):8.2f} ms {statistics.median(second):8.2f} ms "
        f"{ratio:6.2f} x {wanted:8} {difference:.0e}",
        flush=True,
    )
    return difference


def against_pystoi(rounds: int) -> list[float]:
    """Differences of STOI and ESTOI."""
    differences = []
    for seconds in SECONDS:
        noisy, clean = noisy_and_clean(seconds)
        for name, wanted in WANTED.items():
            measure = METRICS[name].measure
            package = functools.partial(pystoi.stoi, clean, noisy, SAMPLE_RATE, name == "estoi")
            differences.append(
                compare(
                    f"{name} {seconds} s",
                    rounds,
                    lambda m=measure, n=name: m(noisy, clean, SAMPLE_RATE)[n],  # noqa: B023
                    package,
                    f">= {wanted:.1f}",
                )
            )
    return differences


def against_every_window(rounds: int) -> list[float]:
    """Differences of DNSMOS."""
    differences = []
    for seconds in DNSMOS_SECONDS:
        noisy, _ = noisy_and_clean(seconds)
        ours = functools.partial(METRICS["dnsmos_ovrl"].measure, noisy, None, SAMPLE_RATE)
        differences.append(
            compare(
                f"DNSMOS {seconds} s",
                rounds,
                lambda ours=ours: ours()["dnsmos_ovrl"],
                functools.partial(every_window, noisy),
                "",
            )
        )
    return differences


def pesq(rounds: int) -> None:
    """Print what PESQ takes."""
    for seconds in SECONDS:
        call = functools.partial(METRICS["pesq_wb"].measure, *noisy_and_clean(seconds), SAMPLE_RATE)
        try:
            [times] = in_turn(rounds, call)
        except MetricError as error:
            print(f"pesq_wb: {error}")
            return
        print(f"{f'pesq_wb {seconds} s':14} {statistics.median(times):8.2f} ms")


def main() -> int:
    """Measure and print. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--dnsmos-rounds", type=int, default=3)
    options = parser.parse_args()

    torch.set_num_threads(1)
    threadpoolctl.threadpool_limits(1)
    print(f"{'':14} {'ours':>11} {'peer':>11} {'ratio':>8} {'wanted':8} difference")
    differences = against_pystoi(options.rounds)
    pesq(options.rounds)
    differences += against_every_window(options.dnsmos_rounds)
    print(
        f"1 thread, NumPy {np.__version__}, load {os.getloadavg()[0]:.1f}; largest difference "
        f"{max(differences):.0e} (allowed: {ALLOWED_DIFFERENCE:.0e})"
    )
    return 0 if max(differences) <= ALLOWED_DIFFERENCE else 1


if __name__ == "__main__":
    sys.exit(main())
