"""How much faster is a whole batch mixed than one signal after the other?

    python benchmarks/mixing_on_the_batch.py --rounds 31

16 x 4 s of speech and of noise at 16 kHz are in memory. Both ways mix them at the same ratios and levels, with and
without a random equalizer on the noise, and end with a noisy and a clean batch: by item, as a dataset does in
``__getitem__`` and ``collate_fn`` after it, and on the batch, as ``training_step`` does. One thread, in turn.

Prints items per second of processor time (which is wall time on a machine that does nothing else), and the ratio to
mixing by item, round by round: medians. On a GPU, if there is one, items per second of wall time, with the way of
speech and noise there. Ends with 1 where a batch has not the same numbers as its items, within 1e-5 of full scale.

The process keeps memory that was freed, as a training does (``audiozen.processes.memory``). ``--plain-malloc`` leaves
it to glibc, which gives some of it back and fetches it anew: for a batch, that takes longer than mixing does.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import time
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import torch
from torch import Tensor

from audiozen.data.mixing import mix_at_snr, random_equalizer
from audiozen.processes.memory import keep_freed_memory

if TYPE_CHECKING:
    from collections.abc import Callable

SAMPLE_RATE = 16000
BATCH_SIZE, NUM_SAMPLES = 16, 4 * SAMPLE_RATE
TOLERANCE = 1e-5

Batch: TypeAlias = tuple[Tensor, Tensor]


class Work(NamedTuple):
    """What is to be mixed: signals, ratios and levels."""

    speech: Tensor
    noise: Tensor
    snr_db: Tensor
    level_dbfs: Tensor


def drawn() -> Work:
    """Noise with pauses, which is as good as speech here, and noise."""
    speech, noise = 0.1 * torch.randn(2, BATCH_SIZE, NUM_SAMPLES)
    speech[:, NUM_SAMPLES // 4 : NUM_SAMPLES // 2] *= 1e-4
    uniform = torch.rand(2, BATCH_SIZE)
    return Work(speech, noise, 25 * uniform[0] - 5, 20 * uniform[1] - 35)


def by_item(work: Work, equalizes: bool) -> Batch:
    """One signal after the other, and a batch of them."""
    noisy, clean = [], []
    ratios_and_levels = zip(work.snr_db.tolist(), work.level_dbfs.tolist())
    for speech, noise, (snr_db, level_dbfs) in zip(work.speech, work.noise, ratios_and_levels):
        coloured = random_equalizer(noise, SAMPLE_RATE) if equalizes else noise
        mixture = mix_at_snr(
            speech, coloured, snr_db, sample_rate=SAMPLE_RATE, level_dbfs=level_dbfs
        )
        noisy.append(mixture.noisy)
        clean.append(mixture.clean)
    return torch.stack(noisy), torch.stack(clean)


def by_batch(work: Work, equalizes: bool) -> Batch:
    """All at once."""
    speech, noise, snr_db, level_dbfs = work
    coloured = random_equalizer(noise, SAMPLE_RATE) if equalizes else noise
    mixture = mix_at_snr(speech, coloured, snr_db, sample_rate=SAMPLE_RATE, level_dbfs=level_dbfs)
    return mixture.noisy, mixture.clean


def by_gpu(work: Work, equalizes: bool) -> Batch:
    """All at once on a GPU, where nothing is waited for but the end."""
    speech, noise = (part.to("cuda", non_blocking=True) for part in work[:2])
    batch = by_batch(work._replace(speech=speech, noise=noise), equalizes)
    torch.cuda.synchronize()
    return batch


WAYS: dict[str, Callable[[Work, bool], Batch]] = {"by item": by_item, "on the batch": by_batch}


def seconds(
    mix: Callable[[Work, bool], Batch], work: Work, equalizes: bool, clock: Callable[[], float]
) -> float:
    """Time that a batch takes."""
    begin = clock()
    mix(work, equalizes)
    return clock() - begin


def measured(work: Work, equalizes: bool, num_rounds: int) -> dict[str, list[float]]:
    """Seconds of each way in each round; in another order each time."""
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    for number in range(num_rounds):
        for name in random.Random(number).sample(list(WAYS), len(WAYS)):
            found[name].append(seconds(WAYS[name], work, equalizes, time.process_time))
    return found


def difference(work: Work, first: Callable[[Work, bool], Batch], equalizes: bool) -> float:
    """Greatest difference to mixing by item, with the same draws."""
    batches = []
    for mix in (first, by_item):
        torch.manual_seed(0)
        batches.append(mix(work, equalizes))
    return max(float((a.cpu() - b).abs().max()) for a, b in zip(*batches))


def show(title: str, found: dict[str, list[float]]) -> None:
    """The rows of one table."""
    for name, times in found.items():
        ratio = statistics.median(base / own for base, own in zip(found["by item"], times))
        rate = BATCH_SIZE / statistics.median(times)
        print(f"{f'{title}, {name}':<34}{rate:>10.0f}{ratio:>12.2f}")


def show_gpu(title: str, work: Work, equalizes: bool, num_rounds: int) -> None:
    """The row of a GPU."""
    name = f"{title}, on a GPU"
    if not torch.cuda.is_available():
        print(f"{name:<34}{'not measured: there is none':>30}")
        return
    pinned = work._replace(speech=work.speech.pin_memory(), noise=work.noise.pin_memory())
    times = [seconds(by_gpu, pinned, equalizes, time.perf_counter) for _ in range(num_rounds + 3)]
    print(f"{name:<34}{BATCH_SIZE / statistics.median(times[3:]):>10.0f}")


def parse() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--plain-malloc", action="store_true", help="see above")
    return parser.parse_args()


def main() -> int:
    """Measure, and print the table."""
    options = parse()
    if not options.plain_malloc:
        keep_freed_memory()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    work = drawn()
    load = os.getloadavg()[0]
    print(f"{options.rounds} rounds of {BATCH_SIZE} items, load {load:.1f} at the start")
    ways = [by_batch, by_gpu] if torch.cuda.is_available() else [by_batch]
    greatest = max(difference(work, way, equalizes) for way in ways for equalizes in (False, True))
    print(f"{'':<34}{'items/s':>10}{'to by item':>12}")
    for title, equalizes in (("mixed", False), ("equalized and mixed", True)):
        show(title, measured(work, equalizes, options.rounds))
        show_gpu(title, work, equalizes, options.rounds)
    is_same = greatest <= TOLERANCE
    print(f"a batch has the numbers of its items: {'yes' if is_same else 'NO'} ({greatest:.1e})")
    return 0 if is_same else 1


if __name__ == "__main__":
    sys.exit(main())
