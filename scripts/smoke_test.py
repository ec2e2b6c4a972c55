"""Try an installed AudioZEN as a new user would.

    build/clean/bin/python scripts/smoke_test.py

Runs in a folder of its own, in less than a minute, and prints a line for each thing that works. `make package` runs it
where nothing is installed but the wheel and what it asks for.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import pkgutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHECKOUT = Path(__file__).parents[1]
OPTIONAL = ("g722", "onnx", "onnxruntime", "onnxscript", "optuna", "pesq", "speechmos")
NEEDS_OPTUNA = "audiozen.sweep."
QUICK = [
    "trainer.args.max_steps=2",
    "trainer.args.num_metric_workers=0",
    "train_dataset.args.num_signals=16",
    "validate_dataset.0.args.num_signals=4",
    "test_dataset.0.args.num_signals=4",
]


def main() -> int:
    """Try everything; 1 with a line on stderr for the first thing that does not work."""
    tries = (starts, imports, trains, enhances, misses_extras)
    try:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            for attempt in tries:
                attempt()
                print(f"{attempt.__name__}: good", flush=True)
    except AssertionError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def starts() -> None:
    """The command is there, under both of its names, and comes from the installed package."""
    import audiozen

    package = Path(audiozen.__file__).parent
    assert package != CHECKOUT / "audiozen", f"not installed, but taken from {CHECKOUT}"
    expected = f"audiozen {audiozen.__version__}\n"
    for command in ([Path(sys.executable).parent / "audiozen"], [sys.executable, "-m", "audiozen"]):
        said = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
        assert said.stdout == expected, f"{command}: {said.stdout}{said.stderr}"
    assert audiozen.__version__ in call("env")
    assert '"missing"' in call("env", "--json")


def imports() -> None:
    """Every module can be imported without the extras."""
    import audiozen

    with without(*OPTIONAL):
        for module in pkgutil.walk_packages(audiozen.__path__, "audiozen."):
            if not module.name.startswith(("audiozen.__main__", NEEDS_OPTUNA)):
                importlib.import_module(module.name)


def trains() -> None:
    """From nothing to a page about a run."""
    call("new", "recipe")
    for command in ("check", "train", "test"):
        call(command, "recipe/baseline.toml", *QUICK)
    call("report", "exp/baseline")
    assert Path("exp/baseline/report/index.html").stat().st_size > 10_000, "the report is empty"


def enhances() -> None:
    """The model that comes with the package has its weights."""
    import torch

    from audiozen.data.audio import audio_info, write_audio

    write_audio("noisy.wav", 0.1 * torch.randn(8000), 16_000)
    call("predict", "--model", "band_gain_gru", "noisy.wav", "--output", "enhanced")
    assert audio_info("enhanced/noisy.wav").num_samples == 8000, "the sound has another length"


def misses_extras() -> None:
    """What an extra has to bring says so, and names the extra."""
    import torch

    from audiozen.errors import MetricError
    from audiozen.metrics import dnsmos_ovrl, pesq_wb

    signal = torch.randn(16_000)
    needs = {
        "pesq": lambda: pesq_wb(signal, signal, sample_rate=16_000),
        "metrics": lambda: dnsmos_ovrl(signal, sample_rate=16_000),
    }
    with without(*OPTIONAL):
        for extra, compute in needs.items():
            said = refusal(compute, MetricError)
            assert f"audiozen[{extra}]" in said, f"extra {extra}: {said}"
        for words in (
            ["export", "--model", "band_gain_gru", "--output", "exported"],
            ["sweep", "recipe/baseline.toml"],
        ):
            extra = f"audiozen[{words[0]}]"
            assert extra in call(*words, code=2), f"{words[0]} does not name {extra}"


def refusal(compute: Callable[[], object], kind: type[Exception]) -> str:
    """What the error says that the call raises."""
    try:
        compute()
    except kind as error:
        return str(error)
    raise AssertionError("nothing was refused")


@contextlib.contextmanager
def without(*packages: str) -> Iterator[None]:
    """As if these were not installed."""
    before = dict(sys.modules)
    sys.modules.update(dict.fromkeys(packages))  # type: ignore[arg-type]  # None: cannot be imported
    try:
        yield
    finally:
        for name in packages:
            sys.modules.pop(name)
        sys.modules.update(before)


def call(*words: str, code: int = 0) -> str:
    """What the command says on both streams, with this exit code."""
    from audiozen.cli.main import main as audiozen

    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(said):
        end = audiozen(words)
    assert end == code, f"audiozen {' '.join(words)} ended with {end}:\n{said.getvalue()}"
    return said.getvalue()


if __name__ == "__main__":
    sys.exit(main())
