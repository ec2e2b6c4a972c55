"""What the page on prediction shows is run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from audiozen.cli.main import main
from audiozen.data.audio import write_audio
from benchmarks import long_recordings
from tests.docs.pages import ROOT, console_examples

PATH = ROOT / "docs" / "predicting.md"
PAGE = PATH.read_text()
QUICK = ["max_steps=2", "num_threads=1"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the page."""
    monkeypatch.chdir(tmp_path)
    assert main(["new", "recipe"]) == 0
    settings = [*(f"trainer.args.{text}" for text in QUICK), "train_dataset.args.num_signals=16"]
    assert main(["train", "recipe/baseline.toml", *settings]) == 0
    for name, seconds in (("a.wav", 3.2), ("b.flac", 4.5), ("deep/c.wav", 1.0)):
        noise = 0.1 * torch.randn(round(seconds * 16000))
        write_audio(tmp_path / "recordings" / name, noise, 16000)
    (tmp_path / "empty.wav").touch()
    return tmp_path


def without_times(text: str) -> str:
    """Without what differs from run to run."""
    lines = [line for line in text.splitlines() if not re.match(r"\d\d:\d\d:\d\d ", line)]
    return re.sub(r"in [\d.]+ s: real-time factor [\d.]+", "in ... s", "\n".join(sorted(lines)))


@pytest.mark.usefixtures("folder")
def test_commands_print_what_the_page_shows_and_the_program_runs(
    capsys: pytest.CaptureFixture,
) -> None:
    capsys.readouterr()
    examples = console_examples(PATH)
    assert len(examples) == 4
    for command, expected in examples:
        program, *arguments = shlex.split(command)
        assert program == "audiozen"
        assert main(arguments) == ("failed: " in expected)
        output, messages = capsys.readouterr()
        assert without_times(output + messages) == without_times(expected), command
    [program] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(program, {})
    assert Path("halved/deep/c.wav").exists()


def test_live_commands_give_back_as_many_samples(tmp_path: Path) -> None:
    [script] = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "noisy.raw").write_bytes(torch.linspace(-0.1, 0.1, 800).numpy().tobytes())
    devices = "arecord() { head -c 3200 /dev/zero; }; aplay() { cat > heard.raw; }\n"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"}
    subprocess.run(["bash", "-ec", devices + script], cwd=tmp_path, env=environment, check=True)
    for name in ("heard.raw", "enhanced.raw"):
        assert (tmp_path / name).stat().st_size == 3200


def test_memory_does_not_grow_with_the_length_in_the_figures() -> None:
    def figures(way: str) -> list[int]:
        [row] = re.findall(rf"^\| {way}.*$", PAGE, re.MULTILINE)
        return [int(number) for number in re.findall(r"(\d+) MB", row)]

    short, *long = figures("block by block")
    assert len(long) == 3
    assert all(peak < 1.02 * short for peak in long)
    assert figures("in segments")[1] == figures("in segments")[2]
    assert figures("the whole file")[1] > 3 * max(long)


def test_benchmark_has_the_ways_of_the_page_and_measures_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    shown = re.findall(r"^\| ([\w ]+?) +\| \d+ MB", PAGE, re.MULTILINE)
    assert all(way in row for way, row in zip(long_recordings.WAYS, shown, strict=True))
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    source = tmp_path / "noise.wav"
    long_recordings.write_noise(source, 1 / 60)
    for number, way in enumerate(long_recordings.WAYS):
        long_recordings.measure(way, source, tmp_path / f"{number}.wav")
        assert (tmp_path / f"{number}.wav").stat().st_size == source.stat().st_size
        peak, seconds = map(float, capsys.readouterr().out.split())
        assert peak > 50
        assert seconds > 0
