"""What does a trial of `audiozen sweep` cost above the same run by `audiozen train`?

    python benchmarks/sweep.py --rounds 5 --trials 3 --sizes 0 100

Trains the recipe of `audiozen new` for a moment, by both commands in turn in one process, and prints medians over the
rounds of the CPU time per run, and their ratio. Then fills studies with made-up trials of three settings, and prints
the CPU time to open one of some size, and to choose the values of a trial there, report three scores, ask the median
pruner after each, and finish it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from audiozen.cli.main import main as audiozen
from audiozen.sweep.plan import Plan
from audiozen.sweep.space import Choices, Range
from audiozen.sweep.study import Study

if TYPE_CHECKING:
    from collections.abc import Callable

QUICK = [
    *("trainer.args.max_epochs=3", "trainer.args.num_threads=1"),
    *("train_dataset.args.num_signals=80", "validate_dataset.0.args.num_signals=8"),
]
PLAN = Plan(
    space={
        "optimizer.args.lr": Range(low=1e-4, high=1e-1, log=True),
        "model.args.hidden_size": Range(low=16, high=128, step=16),
        "trainer.args.max_grad_norm": Choices([1.0, 5.0, 100.0]),
    },
    settings={},
    best_metric="si_sdr",
    higher_is_better=True,
    sampler="tpe",
    pruner="median",
    seed=0,
)


def cpu_seconds(do: Callable[[], object]) -> float:
    """CPU time of this process."""
    start = time.process_time()
    do()
    return time.process_time() - start


def quietly(*words: str) -> None:
    """Run a command that must not fail."""
    with (
        Path(os.devnull).open("w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        code = audiozen(words)
    if code:
        raise SystemExit(f"audiozen {' '.join(words)} ended with {code}")


def seconds_per_run(name: str, num_trials: int) -> tuple[float, float]:
    """CPU time of one run by ``train``, and by ``sweep``; with the same settings, each in a folder of its own."""
    settings = ["recipe/baseline.toml", *QUICK]
    trained = cpu_seconds(
        lambda: [
            quietly("train", *settings, f"meta.exp_id={name}_{number}")
            for number in range(num_trials)
        ]
    )
    swept = cpu_seconds(
        lambda: quietly("sweep", *settings, f"meta.exp_id={name}", "--trials", str(num_trials))
    )
    return trained / num_trials, swept / num_trials


def make_trial(study: Study) -> None:
    """All that a worker does for a trial, but for training."""
    with study.claimed(10**9) as trial:
        assert trial is not None
        score = -abs(study.values(trial)["optimizer.args.lr"] - 3e-3)
        for step in range(1, 4):
            study.report(trial, score, step)
            trial.should_prune()
        study.complete(trial.number, score)


def tell_size(num_trials: int, rounds: int) -> None:
    """What a study of this size takes."""
    folder = Path(f"size_{num_trials}")
    study = Study(folder, PLAN)
    for _ in range(num_trials):
        make_trial(study)
    opening = statistics.median(cpu_seconds(lambda: Study(folder)) for _ in range(rounds))
    making = statistics.median(cpu_seconds(lambda: make_trial(study)) for _ in range(rounds))
    size = (folder / "study.journal").stat().st_size / 1000
    print(
        f"{num_trials:5} trials: {1000 * opening:7.1f} ms to open, {1000 * making:6.1f} ms per trial, "
        f"journal {size:.0f} kB"
    )


def main() -> None:
    """Run, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="*", default=[0, 100])
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        quietly("new", "recipe")
        Path("recipe/sweep.toml").write_text("optimizer.args.lr = [2e-3]\n", encoding="utf-8")
        seconds_per_run("warm", 1)
        pairs = [seconds_per_run(f"round_{n}", options.trials) for n in range(options.rounds)]
        trained, swept = (statistics.median(column) for column in zip(*pairs))
        ratio = statistics.median(sweep / train for train, sweep in pairs)
        print(
            f"CPU time per run, {options.trials} runs in a row: audiozen train {trained:.3f} s, audiozen sweep "
            f"{swept:.3f} s, ratio {ratio:.3f}"
        )
        for size in options.sizes:
            tell_size(size, options.rounds)


if __name__ == "__main__":
    main()
