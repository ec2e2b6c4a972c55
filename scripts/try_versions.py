"""Run the tests with other versions of Python and PyTorch, and print the rows of the table in docs/versions.md.

    python scripts/try_versions.py 3.12:2.13 3.13:2.14.1
    python scripts/try_versions.py --oldest 3.11:2.9.0                # and the oldest of everything else
    python scripts/try_versions.py 3.12:2.13 -- tests/data -k queue   # other tests than the usual ones

Each combination gets an environment of its own in build/versions, which is deleted afterwards (``--keep`` keeps it for
the next call). Everything but PyTorch has the version of constraints.txt. The package index has builds of PyTorch for
CUDA, which do not start without its libraries, also where there is no GPU: 3 GB to download and 7 GB on disk.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENTS = ROOT / "build" / "versions"
EXTRAS = ("metrics", "export", "sweep")
"""What is tried at its oldest besides the dependencies. Tools of the tests come as they are."""
LEFT_OUT = {"benchmarks", "distributed", "docs", "faults", "recipes"}
"""Folders of tests that take long and would find what the others find."""
TWO_PROCESSES = (
    "tests/distributed/test_training.py"
    "::test_a_run_goes_on_with_another_number_of_processes_and_strategy"
)
HEADER = """\
| Python | PyTorch | other packages | date | passed | failed | skipped | notes |
|---|---|---|---|---|---|---|---|"""


class ImpossibleError(Exception):
    """A combination cannot be installed, or its tests do not start."""


@dataclass(frozen=True)
class Combination:
    """What is tried together. Of ``2.13`` it is the newest release, ``2.13.0`` is that one."""

    python: str
    torch: str
    is_oldest: bool = False

    @property
    def environment(self) -> Path:
        """Folder of its virtual environment."""
        return ENVIRONMENTS / f"{self.python}-{self.torch}{'-oldest' * self.is_oldest}"

    @property
    def log(self) -> Path:
        """What the tests print, which is kept."""
        return self.environment.with_name(f"{self.environment.name}.txt")


@dataclass(frozen=True)
class Outcome:
    """Numbers of tests, and the names of those that failed."""

    passed: int
    failed: tuple[str, ...]
    skipped: int


def run(command: Sequence[str | Path], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, and return what it printed."""
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # noqa: S603 - our words


# ---- what is installed ------------------------------------------------------------------------


def find_python(version: str) -> Path:
    """The interpreter: of the folder of pyenv, or ``python3.12`` on the PATH."""
    of_pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    on_path = shutil.which(f"python{version}")
    for python in [*of_pyenv, *([Path(on_path)] if on_path else [])]:
        told = run([python, "--version"]).stdout  # nothing, where it is only pyenv's stub
        if told.startswith(f"Python {version}."):
            return python
    raise ImpossibleError(f"there is no python{version}")


def pins(is_oldest: bool) -> list[str]:
    """Constraints for all but PyTorch: those of ``constraints.txt``, or the oldest that ``pyproject.toml`` takes."""
    if is_oldest:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        extras = [line for extra in EXTRAS for line in project["optional-dependencies"][extra]]
        lines = [line.replace(">=", "==") for line in (*project["dependencies"], *extras)]
    else:
        lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith(("torch==", "#"))]


def install(tried: Combination) -> None:
    """Make the environment, unless it is there."""
    ready = tried.environment / ".ready"
    if ready.exists():
        return
    succeed([find_python(tried.python), "-m", "venv", "--clear", tried.environment])
    torch = f"torch=={tried.torch}{'.*' if tried.torch.count('.') == 1 else ''}"
    constraints = tried.environment / "constraints.txt"
    constraints.write_text("\n".join([torch, *pins(tried.is_oldest), ""]), encoding="utf-8")
    pip = (tried.environment / "bin/python", "-m", "pip", "install", "--quiet", "--no-cache-dir")
    succeed([*pip, torch])  # first, so that what comes after it chooses no other
    extras = ",".join([*EXTRAS, "recipes", "test", "lint"])
    succeed([*pip, "--constraint", constraints, "--editable", f"{ROOT}[{extras}]"])
    ready.touch()


def succeed(command: Sequence[str | Path]) -> None:
    """Run a command, and raise what it says if it fails."""
    done = run(command)
    if done.returncode:
        lines = done.stderr.splitlines() or ["failed"]
        raise ImpossibleError(next((x for x in lines if x.startswith("ERROR")), lines[-1]))


# ---- what is tested ---------------------------------------------------------------------------


def usual_tests() -> list[str]:
    """Everything that is quick, and a training on two processes."""
    paths = [path for path in sorted(ROOT.glob("tests/*")) if path.name not in LEFT_OUT]
    names = [
        str(path.relative_to(ROOT)) for path in paths if path.match("test_*.py") or is_tests(path)
    ]
    return ["-m", "not browser", *names, "audiozen", TWO_PROCESSES]


def is_tests(folder: Path) -> bool:
    """Whether there are tests in a folder."""
    return any(folder.glob("test_*.py"))


def test(tried: Combination, arguments: Sequence[str]) -> Outcome:
    """Run tests in an environment."""
    binaries = tried.environment / "bin"
    done = run(
        [binaries / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"},
    )
    tried.log.write_text(done.stdout + done.stderr, encoding="utf-8")
    return read_summary(done.stdout)


def read_summary(text: str) -> Outcome:
    """What pytest printed at the end. A test that fails, and then cannot be cleared away either, has failed once."""
    last = (text.splitlines() or [""])[-1]
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|skipped)", last)}
    failed = re.findall(r"^(?:FAILED|ERROR) (\S.*?)(?: - .*)?$", text, re.MULTILINE)
    if not counts and not failed:
        raise ImpossibleError("the tests did not start")
    return Outcome(counts.get("passed", 0), tuple(dict.fromkeys(failed)), counts.get("skipped", 0))


# ---- the table --------------------------------------------------------------------------------


def attempt(tried: Combination, tests: Sequence[str]) -> str:
    """Install and test a combination; its row of the table."""
    try:
        install(tried)
        return row(tried, test(tried, tests), torch_in(tried.environment))
    except ImpossibleError as error:
        return row(tried, None, tried.torch, str(error))


def torch_in(environment: Path) -> str:
    """The release of PyTorch that was installed."""
    code = "import importlib.metadata; print(importlib.metadata.version('torch'))"
    return run([environment / "bin/python", "-c", code]).stdout.strip()


def row(tried: Combination, outcome: Outcome | None, torch: str, note: str = "") -> str:
    """One row of the table."""
    others = "oldest" if tried.is_oldest else "constraints.txt"
    counts = (outcome.passed, len(outcome.failed), outcome.skipped) if outcome else ("-",) * 3
    notes = note or ", ".join(f"`{name}`" for name in (outcome.failed if outcome else ()))
    cells = (tried.python, torch, others, datetime.now(UTC).date(), *counts, notes)
    return f"| {' | '.join(map(str, cells))} |"


def combination(text: str) -> tuple[str, str]:
    """Read ``3.12:2.13``."""
    found = re.fullmatch(r"(3\.\d+):(\d+\.\d+(?:\.\d+)?)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 3.12:2.13 (Python:PyTorch)")
    return found[1], found[2]


def main() -> None:
    """Read the command line, and try one combination after the other."""
    place = [*sys.argv, "--"].index("--")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("combinations", nargs="+", type=combination, metavar="PYTHON:PYTORCH")
    parser.add_argument("--oldest", action="store_true", help="the oldest of all dependencies")
    parser.add_argument("--keep", action="store_true", help="do not delete the environments")
    options = parser.parse_args(sys.argv[1:place])
    sys.stdout.write(f"{HEADER}\n")
    for python, torch in options.combinations:
        tried = Combination(python, torch, options.oldest)
        sys.stdout.write(f"{attempt(tried, sys.argv[place + 1 :] or usual_tests())}\n")
        sys.stdout.flush()
        if not options.keep:
            shutil.rmtree(tried.environment, ignore_errors=True)


if __name__ == "__main__":
    main()
