"""How close does a validation with slow metrics come to the time that its work takes at least?

    python benchmarks/metrics_beside_the_model.py --rounds 5

Scores 200 utterances of 2 to 10 s of recorded speech in noise by SI-SDR, PESQ-wb and STOI, in batches of one. In each
round, in turn:

- inference alone: the wall time I of a plain loop of the model over the utterances, on one thread
- metrics alone: the CPU time M that the metrics of these utterances take in one process, on one thread
- ``trainer.validate`` outside of a training, from its call to the score: with workers for the metrics, and without

On a machine with so many cores, the least that can be is max(I, (I + M) / cores) where the model runs on a core
itself, and max(I, M / cores) beside a GPU. The model is a GRU mask that takes about as long as the metrics do.

Prints medians and the ratio to the least, round by round. Ends with 1 where the scores are not the same bits with and
without workers.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import threadpoolctl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from audiozen.acoustics import STFT
from audiozen.data.audio import read_audio
from audiozen.data.mixing import mix_at_snr
from audiozen.metrics import Scorer
from audiozen.processes.cores import num_cores
from audiozen.tracking.console import SilentConsole
from audiozen.tracking.tracker import Tracker
from audiozen.trainer.base_trainer import BaseTrainer

PACK = Path(__file__).parents[1] / "recipes" / "debian_noisy_speech" / "audio"
SAMPLE_RATE = 16000
METRICS = ["si_sdr", "pesq_wb", "stoi"]
WANTED = 1.15
SHORTEST, LONGEST = 2.0, 10.0


class Utterances(Dataset[tuple[Tensor, Tensor]]):
    """Recorded speech of 2 to 10 s, evenly spread, in white noise: noisy and clean, each of shape ``(time,)``."""

    def __init__(self, num: int) -> None:
        files = sorted((PACK / "speech" / "train").glob("*.flac"))
        speech = torch.cat([read_audio(path) for path in files])
        generator = torch.Generator().manual_seed(0)
        self.pairs, start = [], 0
        for index in range(num):
            seconds = SHORTEST + (LONGEST - SHORTEST) * index / max(1, num - 1)
            length = int(seconds * SAMPLE_RATE)
            clean = speech.roll(-start)[:length]
            noise = torch.randn(length, generator=generator)
            mixture = mix_at_snr(clean, noise, 5.0, sample_rate=SAMPLE_RATE, level_dbfs=-25.0)
            self.pairs.append((mixture.noisy, mixture.clean))
            start = (start + length) % len(speech)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.pairs[index]


class Masking(nn.Module):
    """A GRU that masks each frequency of each frame."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.stft = STFT(512, 128, 512)
        self.gru = nn.GRU(257, hidden_size, num_layers=2, batch_first=True)
        self.mask = nn.Linear(hidden_size, 257)

    def forward(self, noisy: Tensor) -> Tensor:
        """Enhance the waveforms ``(batch, time)``."""
        spec = self.stft(noisy)
        hidden, _ = self.gru(spec.abs().transpose(1, 2))
        gains = self.mask(hidden).sigmoid().transpose(1, 2)
        return self.stft.inverse(spec * gains, length=noisy.shape[-1])


class Validation(BaseTrainer):
    """Scores what the model makes of each utterance."""

    scorer = Scorer(METRICS, SAMPLE_RATE)

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        """Scores of one batch, which are computed meanwhile."""
        del batch_idx
        noisy, clean = batch
        return {"scores": self.scorer.submit(self.metric_pool, self.model(noisy), clean)}


class Round(NamedTuple):
    """Seconds of one round."""

    inference: float
    metrics: float
    with_workers: float
    without: float

    def least(self, cores: int) -> float:
        """What the work takes at least, with the model on a core."""
        return max(self.inference, (self.inference + self.metrics) / cores)


def trainer_of(model: nn.Module, folder: Path, num_workers: int | None) -> Validation:
    """A quiet trainer with so many workers."""
    return Validation(
        model,
        config={
            "num_threads": 1,
            "device": "cpu",
            "best_metric": "si_sdr",
            "num_metric_workers": num_workers,
        },
        exp_dir=folder,
        tracker=Tracker(),
        console=SilentConsole(),
    )


def measure(model: nn.Module, loader: DataLoader[Any], folder: Path) -> tuple[Round, bool]:
    """One round, and whether workers changed no bit."""
    start = time.perf_counter()
    with torch.no_grad():
        outputs = [(model(noisy), clean) for noisy, clean in loader]
    inference = time.perf_counter() - start

    start = time.process_time()
    for enhanced, clean in outputs:
        Validation.scorer(enhanced, clean)
    metrics = time.process_time() - start
    del outputs

    seconds, tables = [], []
    for num_workers in (None, 0):
        trainer = trainer_of(model, folder / str(num_workers), num_workers)
        start = time.perf_counter()
        trainer.validate(loader)
        seconds.append(time.perf_counter() - start)
        [table] = trainer.metrics_dir.glob("*.csv")
        tables.append(table.read_bytes())
    return Round(inference, metrics, *seconds), tables[0] == tables[1]


def main() -> int:
    """Measure and print. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--utterances", type=int, default=200)
    parser.add_argument("--hidden-size", type=int, default=300)
    options = parser.parse_args()

    logging.disable(logging.INFO)
    torch.set_num_threads(1)
    threadpoolctl.threadpool_limits(1)
    torch.manual_seed(0)
    model = Masking(options.hidden_size).eval()
    loader = DataLoader(Utterances(options.utterances))
    cores = num_cores()
    rounds, are_equal = [], True
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            one, same = measure(model, loader, Path(folder) / str(number))
            are_equal = are_equal and same
            rounds.append(one)
            print(
                f"round {number + 1}: inference {one.inference:.1f} s, metrics {one.metrics:.1f} s of CPU, least "
                f"{one.least(cores):.1f} s, with workers {one.with_workers:.1f} s "
                f"({one.with_workers / one.least(cores):.2f} x), in turn {one.without:.1f} s",
                flush=True,
            )
    ratios = [one.with_workers / one.least(cores) for one in rounds]
    serial = [one.without / one.with_workers for one in rounds]
    print(
        f"{options.utterances} utterances of {SHORTEST:.0f} to {LONGEST:.0f} s, {', '.join(METRICS)}; {cores} cores, "
        f"1 thread per process, PyTorch {torch.__version__}, load {os.getloadavg()[0]:.1f}\n"
        f"with workers: {statistics.median(ratios):.2f} x the least there can be (wanted: {WANTED}), "
        f"{min(ratios):.2f} to {max(ratios):.2f}; in turn takes {statistics.median(serial):.2f} times as long\n"
        f"scores with and without workers: {'the same bits' if are_equal else 'DIFFERENT'}"
    )
    return 0 if are_equal else 1


if __name__ == "__main__":
    sys.exit(main())
