"""What the page on scores shows is run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch

from audiozen.cli import score_audio, score_signals
from audiozen.cli.main import main
from audiozen.data.audio import write_audio
from audiozen.metrics import METRICS
from audiozen.tables.files import write_csv
from recipes.debian_noisy_speech.data import SAMPLE_RATE, FrozenMixtures
from tests.docs.pages import ROOT, console_examples

PATH = ROOT / "docs" / "scores.md"
PAGE = PATH.read_text()
NUM_SIGNALS = 12
NUMBER = re.compile(r"-?\d+\.\d+")


def spectral_subtraction(noisy: torch.Tensor) -> torch.Tensor:
    """The floor of each band is taken off; a sixth of what there was is left at least."""
    window = torch.hann_window(512)
    spectrum = torch.stft(noisy, 512, 128, window=window, return_complex=True)
    magnitude = spectrum.abs().clamp(min=1e-9)
    floor = 1.2 * magnitude.quantile(0.2, dim=1, keepdim=True)
    gain = (1 - floor / magnitude).clamp(min=0.15)
    return torch.istft(gain * spectrum, 512, 128, window=window, length=len(noisy)).clamp(-1, 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of the page: the second estimate is too short, the fifth is silent."""
    root = tmp_path_factory.mktemp("scores")
    mixtures = FrozenMixtures(
        "mixtures_test_unseen.jsonl", "noise_test_unseen.jsonl", num_mixtures=NUM_SIGNALS
    )
    labels = []
    for number in range(NUM_SIGNALS):
        noisy, clean, label = mixtures[number]
        enhanced = spectral_subtraction(noisy)
        write_audio(root / f"clean/{label['id']}.wav", clean, SAMPLE_RATE)
        write_audio(root / f"noisy/{label['id']}.wav", noisy, SAMPLE_RATE)
        write_audio(root / f"enhanced/{label['id']}.wav", enhanced, SAMPLE_RATE)
        broken = {1: enhanced[:-160], 4: torch.zeros(len(enhanced))}.get(number, enhanced)
        write_audio(root / f"broken/{label['id']}.wav", broken, SAMPLE_RATE)
        labels.append(label)
    write_csv(root / "labels.csv", labels)
    return root


@pytest.mark.pesq
def test_commands_print_what_the_page_shows(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(folder)
    examples = console_examples(PATH)
    assert len(examples) > 5
    for command, expected in examples:
        program, *arguments = shlex.split(command)
        if program == "head":
            output = "".join(Path(arguments[-1]).read_text().splitlines(keepends=True)[:3])
        else:
            assert program == "audiozen"
            assert main(arguments) == 0
            output = capsys.readouterr().out
        assert NUMBER.sub("0", output.strip()) == NUMBER.sub("0", expected.strip()), command
        found, shown = (list(map(float, NUMBER.findall(text))) for text in (output, expected))
        assert found == pytest.approx(shown, rel=0.01, abs=0.01), command
    [script] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(script, {})
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == [
        "0",
        "5",
        "10",
        "15",
    ]


def test_every_metric_and_every_reason_of_the_command_is_explained() -> None:
    named = set(re.findall(r"`(\w+)`", PAGE))
    assert {name for name in METRICS if not name.endswith("_full")} <= named
    assert {score_audio.LENGTH_MISMATCH, score_signals.MISSING_NOISY} <= named
    assert {f"unreadable_{role}" for role in ("reference", "estimate", "noisy")} <= named
