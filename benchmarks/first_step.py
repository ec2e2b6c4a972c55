"""How long is it until the first step of the demo has been made, and how much memory is taken, against a raw script?

    python benchmarks/first_step.py --rounds 7 --threads 1

Fresh processes in turn: a plain training script with the settings of the demo typed in, and ``audiozen train``. Both
end their clock when the first step of the optimizer has ended, which is noted by the same hook of PyTorch, and tell
their memory when the last one has. Both make the same samples (the raw script seeds each as AudioZEN does) and must
have the same first loss; it is printed, and a difference ends with 1. So does a figure that is beyond what is wanted.
One round before those that count warms the disk's caches and has Python write what it compiles.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

DEMO = Path(__file__).parents[1] / "recipes" / "debian_noisy_speech"
BASELINE = DEMO / "band_gain_gru" / "baseline.toml"
KEEPS_NOTHING = "PYTHONDONTWRITEBYTECODE"


class Wanted(NamedTuple):
    """A figure, and how large it may be."""

    name: str
    values: list[float]
    limit: float


# ---- the two that are compared, each in a process of its own ---------------------------------------


def run_raw(options: argparse.Namespace) -> None:
    """A plain script that trains the model of the demo."""
    import torch

    Watch(options).start()
    torch.set_num_threads(options.threads)
    sys.path[:0] = [str(BASELINE.parent), str(DEMO)]
    from data import FrozenMixtures, TrainingMixtures
    from model import BandGainGRU
    from torch.utils.data import DataLoader, Dataset

    from audiozen.data.sampler import Permutation, derive_seed, seed_generators
    from audiozen.losses.neg_si_sdr import neg_si_sdr
    from audiozen.trainer.schedules import warmup_cosine

    class Seeded(Dataset[Any]):
        """The samples of the first epoch, each with random numbers of its own."""

        def __init__(self) -> None:
            self.mixtures = TrainingMixtures(
                num_mixtures=4800, num_seconds=2.0, snr_db=(-5.0, 20.0), level_dbfs=(-35.0, -15.0)
            )

        def __getitem__(self, index: int) -> Any:
            seed_generators(0, 1, index)
            return self.mixtures[index]

    seed_generators(0, 0)
    model = BandGainGRU(sample_rate=16000, n_fft=512, hop_length=256, win_length=512)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    schedule = warmup_cosine(optimizer, num_warmup_steps=50, num_training_steps=3000)
    order = Permutation(4800, derive_seed(0, 1, "order"))
    loader = DataLoader(Seeded(), batch_size=8, sampler=order)
    FrozenMixtures("mixtures_valid.jsonl", "noise_valid.jsonl")  # as it would validate later
    for noisy, clean in loader:
        optimizer.zero_grad()
        loss = neg_si_sdr(model(noisy), clean)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()


def run_audiozen(options: argparse.Namespace) -> None:
    """``audiozen train``; the hook is set when the command has imported PyTorch itself."""
    from audiozen.cli import train
    from audiozen.cli.main import main

    read_experiment = train.read_experiment

    def read(*args: Any) -> Any:
        experiment = read_experiment(*args)
        Watch(options).start()
        return experiment

    train.read_experiment = read
    settings = [f"meta.save_dir={options.folder}", f"trainer.args.num_threads={options.threads}"]
    sys.exit(main(["train", str(BASELINE), *settings]))


class Watch:
    """Notes the first loss, when the first step has ended, and the memory after the last one; ends the process then."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.num_steps = options, 0
        self.facts: dict[str, float] = {}

    def start(self) -> None:
        """From now on."""
        import torch
        from torch.optim.optimizer import register_optimizer_step_post_hook

        register_optimizer_step_post_hook(self.after_step)
        backward = torch.Tensor.backward

        def noted(loss: torch.Tensor, *args: Any, **kwargs: Any) -> None:
            self.facts.setdefault("loss", loss.item())
            backward(loss, *args, **kwargs)

        torch.Tensor.backward = noted  # type: ignore[method-assign, assignment]

    def after_step(self, *_: Any) -> None:
        """What PyTorch calls after each step."""
        self.num_steps += 1
        if self.num_steps == 1:
            self.facts["seconds"] = time.monotonic() - self.options.started
            self.facts["cpu"] = time.process_time()
        if self.num_steps == self.options.steps:
            self.facts["megabytes"] = resident_megabytes()
            print(json.dumps(self.facts), flush=True)
            os._exit(0)


def resident_megabytes() -> float:
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


# ---- measuring ---------------------------------------------------------------------------------


def first_step(program: str, options: argparse.Namespace) -> dict[str, float]:
    """What one fresh process noted."""
    arguments = [f"--threads={options.threads}", f"--steps={options.steps}"]
    with tempfile.TemporaryDirectory() as folder:
        arguments += [f"--program={program}", f"--folder={folder}", f"--started={time.monotonic()}"]
        done = run(__file__, *arguments)
    if done.returncode != 0:
        sys.exit(f"{program} failed:\n{done.stderr}")
    facts: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return facts


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A fresh Python, which keeps what it compiles."""
    variables = {key: value for key, value in os.environ.items() if key != KEEPS_NOTHING}
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=variables)  # noqa: S603


def cpu_seconds(*arguments: str) -> float:
    """Of a fresh Python with these arguments."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(*arguments).check_returncode()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(options: argparse.Namespace) -> list[Wanted]:
    """All figures, with their limits."""
    rounds = []
    for number in range(options.rounds + 1):
        raw, own = first_step("raw", options), first_step("audiozen", options)
        if raw["loss"] != own["loss"]:
            sys.exit(f"not the same work: first loss {raw['loss']!r} and {own['loss']!r}")
        torch = cpu_seconds("-c", "import torch")
        trainer = cpu_seconds("-c", "import torch, audiozen.trainer.base_trainer")
        answer = cpu_seconds("-m", "audiozen", "--help")
        if number:
            rounds.append((raw, own, torch, trainer, answer))
    print(f"first loss of both: {rounds[0][0]['loss']:.9f}")
    for name, place in (("raw script", 0), ("audiozen train", 1)):
        facts = [r[place] for r in rounds]
        seconds, cpu, megabytes = (
            statistics.median(f[key] for f in facts) for key in ("seconds", "cpu", "megabytes")
        )
        print(f"{name:<16}{seconds:8.2f} s wall {cpu:8.2f} s of processor {megabytes:8.1f} MB")
    print(f"{'import torch':<16}{statistics.median(r[2] for r in rounds):24.2f} s of processor")
    return [
        Wanted("first step / raw, wall", [o["seconds"] / r["seconds"] for r, o, *_ in rounds], 1.1),
        Wanted("first step / raw, processor", [o["cpu"] / r["cpu"] for r, o, *_ in rounds], 1.1),
        Wanted("memory - raw, MB", [o["megabytes"] - r["megabytes"] for r, o, *_ in rounds], 15.0),
        Wanted("trainer - torch, s of processor", [r[3] - r[2] for r in rounds], 0.25),
        Wanted("--help / import torch, processor", [r[4] / r[2] for r in rounds], 0.3),
    ]


def report(figures: list[Wanted]) -> bool:
    """Print the table; whether all is as wanted."""
    for figure in figures:
        median = statistics.median(figure.values)
        values = " ".join(f"{value:.2f}" for value in figure.values)
        verdict = "" if median <= figure.limit else "   TOO MUCH"
        print(f"{figure.name:<34}{median:8.2f}   wanted <= {figure.limit:g}{verdict}   ({values})")
    return all(statistics.median(figure.values) <= figure.limit for figure in figures)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch")
    parser.add_argument("--steps", type=int, default=20, help="after which memory is looked at")
    parser.add_argument("--program", choices=["raw", "audiozen"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--started", type=float, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Run, and print."""
    options = parse()
    if options.program is not None:
        {"raw": run_raw, "audiozen": run_audiozen}[options.program](options)
        return
    print(f"medians of {options.rounds} rounds, {options.threads} thread(s) of PyTorch")
    if not report(measure(options)):
        sys.exit(1)


if __name__ == "__main__":
    main()
