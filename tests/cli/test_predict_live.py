"""``audiozen predict`` with a model that comes with the package, and live: with real pipes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from audiozen.cli.main import main
from audiozen.data.audio import audio_info, read_audio, write_audio
from audiozen.pretrained import catalogue

STREAM = [sys.executable, "-m", "audiozen", "predict", "--model", "band_gain_gru", "--stream"]
HOP = 256


@pytest.fixture(scope="module")
def noisy() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return 0.1 * torch.randn(16_001, generator=generator)


@pytest.fixture(scope="module")
def enhanced(noisy: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = catalogue.load("band_gain_gru").model(noisy[None])[0]
    return result


def test_a_file_goes_through_a_model_of_the_package(
    noisy: torch.Tensor,
    enhanced: torch.Tensor,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    write_audio(tmp_path / "noisy.wav", noisy, 16000)
    words = [str(tmp_path / "noisy.wav"), "--output", str(tmp_path / "out")]
    assert main(["predict", "--model", "band_gain_gru", *words]) == 0
    assert audio_info(tmp_path / "out" / "noisy.wav") == (16000, 16_001, 1)
    result = read_audio(tmp_path / "out" / "noisy.wav")
    torch.testing.assert_close(result, enhanced, rtol=0, atol=1e-3)
    assert "real-time factor" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("sample_format", "dtype", "scale"), [("s16le", "<i2", 32768), ("f32le", "<f4", 1)]
)
def test_samples_from_a_pipe_come_out_of_a_pipe(
    noisy: torch.Tensor, enhanced: torch.Tensor, sample_format: str, dtype: str, scale: int
) -> None:
    content = (noisy.numpy() * scale).astype(dtype).tobytes()
    done = subprocess.run(
        [*STREAM, "--format", sample_format], input=content, capture_output=True, check=True
    )
    result = np.frombuffer(done.stdout, dtype) / scale
    np.testing.assert_allclose(result, enhanced.numpy(), rtol=0, atol=1e-3)
    assert done.stderr.decode() == f"{sample_format}, one channel, 16000 Hz, on cpu\n"


def test_a_chunk_is_answered_while_the_next_has_not_come(noisy: torch.Tensor) -> None:
    chunks = (noisy.numpy() * 32768).astype("<i2")[: 4 * HOP].reshape(4, HOP)
    with subprocess.Popen(STREAM, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as live:
        assert live.stdin is not None
        assert live.stdout is not None
        live.stdin.write(chunks[0].tobytes())  # nothing yet: the output is one hop late
        for chunk in chunks[1:]:
            live.stdin.write(chunk.tobytes())
            answer = b""
            while len(answer) < 2 * HOP:
                answer += live.stdout.read(2 * HOP - len(answer))
        live.stdin.close()
        assert len(live.stdout.read()) == 2 * HOP
        assert live.wait() == 0


def test_a_reader_that_goes_away_ends_it_quietly() -> None:
    with subprocess.Popen(
        STREAM, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    ) as live:
        assert live.stdin is not None
        assert live.stdout is not None
        assert live.stderr is not None
        live.stdout.close()
        deadline = time.monotonic() + 60
        try:
            while live.poll() is None and time.monotonic() < deadline:
                live.stdin.write(bytes(20 * HOP))
        except BrokenPipeError:
            pass
        assert live.wait(timeout=60) == 141
        assert live.stderr.read().decode() == "s16le, one channel, 16000 Hz, on cpu\n"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "no model: give an experiment's .toml file first, or --model NAME"),
        (["--model", "band_gain_gru"], "no inputs: give wav or flac files"),
        (["--model", "band_gain_gru", "a.wav"], "no --output: say the folder"),
        (
            ["--model", "band_gain_gru", "a.toml", "--output", "x"],
            "a.toml and --model are two models",
        ),
        (["--model", "band_gain_gri", "a.wav", "--output", "x"], "did you mean 'band_gain_gru'?"),
        (
            ["--model", "band_gain_gru", "a.wav", "trainer.args.seed=1", "--output", "x"],
            "trainer.args.seed=1 is a setting of an experiment",
        ),
        (["--model", "band_gain_gru", "--stream", "a.wav"], "give no files and no --output"),
        (
            ["--model", "band_gain_gru", "--stream", "--output", "x"],
            "give no files and no --output",
        ),
        (["--model", "band_gain_gru", "--stream", "--format", "mp3"], "choose one of s16le, f32le"),
        (["--model", "band_gain_gru", "--device", "gpu0", "a.wav", "--output", "x"], "gpu0"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    words: list[str], text: str, capsys: pytest.CaptureFixture
) -> None:
    assert main(["predict", *words]) == 2
    assert text in capsys.readouterr().err


def test_a_model_that_cannot_stream_is_refused(
    trained: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["predict", str(trained), "--stream"]) == 2
    assert (
        "the model cannot answer while sound comes in: it has no stream()"
        in capsys.readouterr().err
    )


def test_what_is_said_for_frames_is_not_taken_for_a_model_that_does_more(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Its ``stream`` would leave out what its own ``forward`` does."""
    model = catalogue.load("band_gain_gru").model
    louder = type("Louder", (type(model),), {"forward": lambda self, noisy: 2 * noisy})()
    monkeypatch.setattr(
        catalogue, "load", lambda name: catalogue.Pretrained(name, louder, 16000, Path())
    )
    assert main(["predict", "--model", "louder", "--stream"]) == 2
    assert "the model cannot answer while sound comes in" in capsys.readouterr().err
