"""Run the benchmarks, one after the other, and write down what they print.

    make bench                                                      # in an environment that has what is compared with
    python benchmarks/run.py --quick --only calls_per_step start

Everything goes to ``benchmarks/RESULTS.md``; of a quick or partial run to ``build/benchmarks/RESULTS.md``. Each file of
this folder is a question; one that fails is listed with its reason. Ends with 1 where one has failed.
"""

from __future__ import annotations

import argparse
import ast
import os
import platform
import shlex
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import torch

HERE = Path(__file__).parent
ROOT = HERE.parent
TIME_LIMIT = 600
"""Seconds that one question may take."""
PACKAGES = [
    "audiozen",
    "torch",
    "numpy",
    "pytorch-ignite",
    "lightning",
    "accelerate",
    "speechbrain",
    "transformers",
    "tqdm",
    "tensorboard",
    "torchaudio",
]


class Arguments(NamedTuple):
    """Of one benchmark, where it is not to be run as it is: in full, and quickly. ``;`` is between several runs."""

    full: str = ""
    quick: str = ""


ARGUMENTS = {
    "batches_from_workers": Arguments("--rounds 5", "--rounds 2 --batches 20 --steps 10"),
    "calls_per_step": Arguments(quick="--steps 20"),
    "first_step": Arguments("--rounds 5", "--rounds 1"),
    "growth": Arguments("--rounds 3", "--quick"),
    "loading_checkpoints": Arguments("--rounds 5", "--megabytes 50 --rounds 2"),
    "long_recordings": Arguments(quick="--minutes 0.2 1"),
    "long_run": Arguments(
        "--steps 20000; --steps 20000 --single-epoch", "--steps 4000 --saves 25 --validations 10"
    ),
    "metric_speed": Arguments("--rounds 9", "--rounds 1 --dnsmos-rounds 1"),
    "metrics_beside_the_model": Arguments("--rounds 1", "--rounds 1 --utterances 8"),
    "mixing_on_the_batch": Arguments("--rounds 15", "--rounds 1"),
    "on_a_gpu": Arguments(quick="--quick"),
    "reading_sound": Arguments("--rounds 11", "--rounds 3"),
    "saving_stall": Arguments("--saves 6 --channels 16", "--megabytes 50 --saves 3"),
    "several_processes": Arguments(
        "--rounds 12 --evaluations 5", "--size tiny --rounds 4 --steps 10 --evaluations 2"
    ),
    "size_of_data": Arguments("--rounds 5", "--entries 20000 --rounds 3 --reads 4000"),
    "start": Arguments("--rounds 2", "--rounds 1 --kind bare --names raw audiozen"),
    "sweep": Arguments(quick="--rounds 1 --trials 1 --sizes 0"),
    "time_per_step": Arguments(
        "--size tiny --rounds 8; --size gru --rounds 6; --size tiny --rounds 5 --processes 2",
        "--size tiny --kind bare --rounds 3",
    ),
}


class Answer(NamedTuple):
    """What one run of a benchmark has given.

    Attributes:
        command: as it would be typed.
        seconds: that it took.
        text: what it has printed.
        failure: why it failed; empty where it did not.
    """

    command: str
    seconds: float
    text: str
    failure: str


def questions() -> list[str]:
    """Names of all benchmarks."""
    return sorted(path.stem for path in HERE.glob("*.py") if path.stem != "run")


def question_of(name: str) -> str:
    """The first line of its docstring."""
    return (ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text())) or name).splitlines()[0]


def ask(name: str, *, quick: bool) -> list[Answer]:
    """Run one benchmark, as often as ``ARGUMENTS`` says."""
    arguments = ARGUMENTS.get(name, Arguments())
    return [run(name, part.split()) for part in arguments[quick].split(";")]


def run(name: str, arguments: list[str]) -> Answer:
    """Run it once."""
    command = ["python", f"benchmarks/{name}.py", *arguments]
    print(f"==> {shlex.join(command)}", flush=True)
    begin = time.monotonic()
    try:
        done = subprocess.run(  # noqa: S603 - a benchmark
            [sys.executable, *command[1:]],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIME_LIMIT,
        )
        text, failure = done.stdout, reason(done)
    except subprocess.TimeoutExpired as expired:
        text = (expired.stdout or b"").decode(errors="replace")
        failure = f"not finished after {TIME_LIMIT} s"
    print(text + (f"FAILED: {failure}\n" if failure else ""), flush=True)
    return Answer(shlex.join(command), time.monotonic() - begin, text.strip("\n"), failure)


def reason(done: subprocess.CompletedProcess[str]) -> str:
    """Why it failed, as far as it says so; empty where it did not."""
    if done.returncode == 0:
        return ""
    lines = done.stderr.strip().splitlines()
    last = f": {lines[-1]}" if lines else "; see above"
    return f"exit code {done.returncode}{last}"


# ---- the report ----------------------------------------------------------------------------------


def machine() -> list[str]:
    """What was measured on, and with."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    load = ", ".join(f"{part:.1f}" for part in os.getloadavg())
    return [
        f"- {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {commit()}",
        f"- {processor()}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GB of memory, {platform.platform()}",
        f"- load of the machine at the start (1, 5, 15 minutes): {load}",
        f"- threads: 1 per process, unless a table says otherwise; PyTorch would take {torch.get_num_threads()}",
        f"- Python {platform.python_version()}, "
        + ", ".join(filter(None, map(installed, PACKAGES))),
    ]


def processor() -> str:
    """The model of the CPU."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def commit() -> str:
    """Of the code, with a note where files differ from it."""
    command = ["git", "describe", "--always", "--dirty= with changes"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - git
    return done.stdout.strip() or "unknown"


def installed(package: str) -> str:
    """A package and its version."""
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"no {package}"


def gpu() -> str:
    """What there is to say about GPUs."""
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}: see on_a_gpu and mixing_on_the_batch."
    return "Not measured: this machine has no GPU that PyTorch can use."


def write(path: Path, command: str, before: list[str], answers: dict[str, list[Answer]]) -> None:
    """The report."""
    failed = [name for name, runs in answers.items() if any(run.failure for run in runs)]
    lines = [
        "# Results of the benchmarks",
        "",
        f"Written by `{command}`. Ratios are paired: of two turns beside each other on the same machine. Where",
        "a figure is wanted, it is told beside the one that was measured. SpeechBrain runs with a stand-in for",
        "torchaudio where none is installed; what it trains here does not use it.",
        "",
        *before,
        f"- failed: {', '.join(failed) or 'none'}",
        "",
    ]
    for name, runs in answers.items():
        lines += [f"## {name}", "", question_of(name), ""]
        for run in runs:
            lines += [f"`{run.command}`, {run.seconds:.0f} s", "", "```text", run.text, "```", ""]
            if run.failure:
                lines += [f"**Failed**: {run.failure}", ""]
    lines += ["## GPU", "", gpu(), ""]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))
    print(f"written: {path}")


def parse() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=questions(), help="which of them")
    parser.add_argument(
        "--quick", action="store_true", help="see whether they run; figures say little"
    )
    return parser.parse_args()


def main() -> None:
    """Run them, and write the report."""
    options = parse()
    before = machine()
    answers = {name: ask(name, quick=options.quick) for name in options.only or questions()}
    is_whole = not (options.only or options.quick)
    folder = HERE if is_whole else ROOT / "build" / "benchmarks"
    command = shlex.join(["python", "benchmarks/run.py", *sys.argv[1:]])
    write(folder / "RESULTS.md", "make bench" if is_whole else command, before, answers)
    sys.exit(any(run.failure for runs in answers.values() for run in runs))


if __name__ == "__main__":
    main()
