from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from audiozen.cli.main import main
from audiozen.cli.predict import Summary, as_waveform, write_result
from audiozen.data.audio import AudioInfo, audio_info, read_audio, write_audio
from audiozen.errors import ShapeError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two sound files in a tree, of two rates and formats; the odd lengths catch lost samples."""
    generator = torch.Generator().manual_seed(0)
    noise = 0.05 * torch.randn(30011, generator=generator)
    write_audio(tmp_path / "in" / "a.wav", noise, 44100)
    write_audio(tmp_path / "in" / "deep" / "b.flac", noise[:20003], 16000)
    return tmp_path / "in"


def predict(config: Path, *arguments: str | Path) -> int:
    words = ["predict", str(config), "trainer.args.num_threads=1", *map(str, arguments)]
    return main(words)


def test_tree_rate_and_length_are_those_of_the_input(
    trained: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    output = tmp_path / "out"
    assert predict(trained, folder, "--output", output) == 0
    assert audio_info(output / "a.wav") == (44100, 30011, 1)
    assert audio_info(output / "deep" / "b.flac") == (16000, 20003, 1)
    summary = capsys.readouterr().out
    assert "2 files, 1.9 s of audio in" in summary
    assert "real-time factor 0." in summary
    assert "on cpu, threads: 1" in summary


def test_result_is_what_the_model_makes_of_the_file(
    trained: Path, folder: Path, tmp_path: Path
) -> None:
    from audiozen.experiment import Experiment

    source = folder / "deep" / "b.flac"
    assert predict(trained, source, "--output", tmp_path / "out", "--ckpt", "latest") == 0
    trainer = Experiment.from_file(trained).build_trainer()
    trainer.load_checkpoint("latest")
    with torch.no_grad():
        expected = trainer.model(read_audio(source)[None])[0]
    result = read_audio(tmp_path / "out" / "b.flac")
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-4)
    assert result.abs().max() > 1e-3


def test_existing_results_are_kept_unless_asked(
    trained: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.wav").write_bytes(b"mine")
    assert predict(trained, folder, "--output", tmp_path / "out") == 2
    assert "a.wav exists already" in capsys.readouterr().err
    assert (tmp_path / "out" / "a.wav").read_bytes() == b"mine"
    assert not (tmp_path / "out" / "deep").exists()
    assert predict(trained, folder, "--output", tmp_path / "out", "--overwrite") == 0
    assert audio_info(tmp_path / "out" / "a.wav").num_samples == 30011


def test_input_is_never_written_over(
    trained: Path, folder: Path, capsys: pytest.CaptureFixture
) -> None:
    before = (folder / "a.wav").read_bytes()
    assert predict(trained, folder, "--output", folder, "--overwrite") == 2
    assert "is an input itself" in capsys.readouterr().err
    assert (folder / "a.wav").read_bytes() == before


def test_two_inputs_for_one_result_are_refused(
    trained: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    write_audio(tmp_path / "other" / "a.wav", torch.zeros(100), 16000)
    inputs = [folder / "a.wav", tmp_path / "other" / "a.wav"]
    assert predict(trained, *inputs, "--output", tmp_path / "out") == 2
    assert "would both be written to" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_broken_files_are_told_skipped_and_counted(
    trained: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (folder / "broken.wav").write_bytes(b"RIFF and nothing more")
    (folder / "empty.wav").write_bytes(b"")
    write_audio(folder / "stereo.wav", torch.zeros(2, 800), 16000)
    write_audio(folder / "tiny.wav", torch.zeros(1), 48000)
    assert predict(trained, folder, "--output", tmp_path / "out") == 1
    captured = capsys.readouterr()
    for name in ("broken.wav", "empty.wav", "stereo.wav", "tiny.wav"):
        assert any(
            line.startswith("skipped: ") and name in line for line in captured.err.splitlines()
        ), name
    assert "4 of 6 files failed" in captured.err
    assert captured.out.startswith("2 files")
    written = sorted(path.name for path in (tmp_path / "out").rglob("*.*"))
    assert written == ["a.wav", "b.flac"]


@pytest.mark.parametrize(("channel", "expected"), [("0", 0.1), ("1", 0.3), ("mean", 0.2)])
def test_channel_can_be_chosen(
    channel: str, expected: float, trained: Path, tmp_path: Path
) -> None:
    passing_on = "    def predict_step(self, batch, batch_idx):\n        return batch\n"
    trainer = (trained.parent / "trainer.py").read_text()
    (trained.parent / "passing_on.py").write_text(f"{trainer}\n{passing_on}")
    levels = torch.tensor([[0.1], [0.3]]).expand(2, 800)
    write_audio(tmp_path / "stereo.wav", levels, 16000)
    arguments = ["trainer.path=passing_on.Trainer", tmp_path / "stereo.wav", "--channel", channel]
    assert predict(trained, *arguments, "--output", tmp_path / "out") == 0
    result = read_audio(tmp_path / "out" / "stereo.wav")
    torch.testing.assert_close(result, torch.full((800,), expected), rtol=0, atol=1e-4)


def test_error_in_the_model_names_the_file(
    trained: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    twice = "    def predict_step(self, batch, batch_idx):\n        return batch.repeat(2, 1)\n"
    trainer = (trained.parent / "trainer.py").read_text()
    (trained.parent / "twice.py").write_text(f"{trainer}\n{twice}")
    arguments = ["trainer.path=twice.Trainer", folder / "a.wav", "--output", tmp_path / "out"]
    assert predict(trained, *arguments) == 1
    message = capsys.readouterr().err
    assert "predict_step returned a tensor of shape (2, 10888)" in message
    assert str(folder / "a.wav") in message


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nowhere.wav", "--output", "out"], "nowhere.wav does not exist"),
        (["recipe", "--output", "out"], "no wav or flac files in recipe"),
        (["recipe/model.py", "--output", "out"], "recipe/model.py is not named as wav or flac"),
        (["recipe", "--output", "out", "--channel", "left"], "--channel left: expected a number"),
        (["recipe", "--output", "out", "modle.args.hidden_size=3"], "modle"),
    ],
)
def test_wrong_request_starts_nothing(
    arguments: list[str], text: str, trained: Path, capsys: pytest.CaptureFixture
) -> None:
    assert predict(trained, *arguments) == 2
    assert text in capsys.readouterr().err
    assert not Path("out").exists()


def test_model_without_a_rate_is_refused(
    trained: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    sizes = "n_fft = 512\nhop_length = 256\nwin_length = 512"
    text = trained.read_text().replace("[model.args]", f"[model.args]\n{sizes}")
    start, end = text.index("[acoustics]"), text.index("[trainer]")
    text = (text[:start] + text[end:]).replace("num_signals", "sample_rate = 16000\nnum_signals")
    config = trained.with_name("no_rate.toml")
    config.write_text(text)
    assert predict(config, folder, "--output", tmp_path / "out") == 2
    assert "[acoustics] missing" in capsys.readouterr().err


@pytest.mark.parametrize("shape", [(7,), (1, 7)])
def test_waveform_of_either_shape_is_taken(shape: tuple[int, ...]) -> None:
    assert as_waveform(torch.ones(shape)).shape == (7,)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (torch.ones(2, 7), r"shape \(2, 7\)"),
        (torch.ones(()), r"shape \(\)"),
        (torch.ones(7, dtype=torch.complex64), "a Tensor"),
        ({"enhanced": torch.ones(7)}, "a dict"),
    ],
)
def test_anything_else_is_refused(value: Tensor | dict[str, Tensor], found: str) -> None:
    with pytest.raises(ShapeError, match=found):
        as_waveform(value)


@pytest.mark.parametrize("length", [5, 8, 11])
def test_result_of_another_length_is_cut_or_filled_with_silence(
    length: int, tmp_path: Path
) -> None:
    write_result(tmp_path / "a.wav", torch.full((length,), 0.5), 16000, AudioInfo(16000, 8, 1))
    result = read_audio(tmp_path / "a.wav")
    num = min(length, 8)
    assert result.tolist() == [0.5] * num + [0.0] * (8 - num)


def test_real_time_factor_is_computing_per_audio() -> None:
    summary = Summary(1, 0, audio_seconds=20.0, compute_seconds=0.5, where="cpu")
    assert "1 file, 20.0 s of audio in 0.50 s: real-time factor 0.0250 on cpu" in summary.text()
    assert "no file" in Summary(0, 3, 0.0, 0.0, "cpu").text()
