from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile
import torch

from audiozen.cli.main import main
from audiozen.cli.predict import load_model
from audiozen.cli.request import require_checkpoint
from audiozen.data.audio import audio_format, audio_info, read_audio, write_audio
from audiozen.errors import RequestError
from audiozen.experiment import Experiment


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two sound files in a tree, of two rates and formats; the odd lengths catch lost samples."""
    generator = torch.Generator().manual_seed(0)
    noise = 0.05 * torch.randn(30011, generator=generator)
    write_audio(tmp_path / "in" / "a.wav", noise, 44100)
    write_audio(tmp_path / "in" / "deep" / "b.flac", noise[:20003], 16000)
    return tmp_path / "in"


def own_step(config: Path, module: str, body: str) -> None:
    """A trainer like that of the recipe, with such a predict_step, in a module beside it."""
    trainer = (config.parent / "trainer.py").read_text()
    step = f"    def predict_step(self, batch, batch_idx):\n        {body}\n"
    (config.parent / f"{module}.py").write_text(f"{trainer}\n{step}")


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
    assert summary.startswith("2 files written, 0 skipped, 0 failed; 1.9 s of audio in ")
    assert "real-time factor 0." in summary
    assert summary.endswith("on cpu, threads: 1\n")
    assert summary.count("\n") == 1


def test_format_is_that_of_the_input(trained: Path, tmp_path: Path) -> None:
    formats = {"a.wav": "PCM_24", "b.wav": "FLOAT", "c.flac": "PCM_24", "d.wav": "PCM_16"}
    (tmp_path / "in").mkdir()
    for name, subtype in formats.items():
        soundfile.write(tmp_path / "in" / name, [0.1] * 5000, 16000, subtype)
    assert predict(trained, tmp_path / "in", "--output", tmp_path / "out") == 0
    assert {
        path.name: audio_format(path).subtype for path in (tmp_path / "out").iterdir()
    } == formats


def test_result_is_what_the_model_makes_of_the_file(
    trained: Path, folder: Path, tmp_path: Path
) -> None:
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
            line.startswith("failed: ") and name in line for line in captured.err.splitlines()
        ), name
    assert "4 of 6 files failed" in captured.err
    assert captured.out.startswith("2 files written, 0 skipped, 4 failed; ")
    written = sorted(path.name for path in (tmp_path / "out").rglob("*.*"))
    assert written == ["a.wav", "b.flac"]


@pytest.mark.parametrize(("channel", "expected"), [("0", 0.1), ("1", 0.3), ("mean", 0.2)])
def test_channel_can_be_chosen(
    channel: str, expected: float, trained: Path, tmp_path: Path
) -> None:
    own_step(trained, "passing_on", "return batch")
    levels = torch.tensor([[0.1], [0.3]]).expand(2, 800)
    write_audio(tmp_path / "stereo.wav", levels, 16000)
    arguments = ["trainer.path=passing_on.Trainer", tmp_path / "stereo.wav", "--channel", channel]
    assert predict(trained, *arguments, "--output", tmp_path / "out") == 0
    result = read_audio(tmp_path / "out" / "stereo.wav")
    torch.testing.assert_close(result, torch.full((800,), expected), rtol=0, atol=1e-4)


def test_all_channels_can_be_kept(trained: Path, tmp_path: Path) -> None:
    own_step(trained, "passing_on", "return batch")
    levels = torch.tensor([[0.25], [0.5], [-0.5]]).expand(3, 800)
    write_audio(tmp_path / "three.wav", levels, 16000)
    arguments = ["trainer.path=passing_on.Trainer", tmp_path / "three.wav", "--channel", "each"]
    assert predict(trained, *arguments, "--output", tmp_path / "out") == 0
    assert soundfile.read(tmp_path / "out" / "three.wav")[0].tolist() == [[0.25, 0.5, -0.5]] * 800


def test_several_sources_are_written_and_known_again(
    trained: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    own_step(trained, "two", "import torch; return torch.stack([batch, -batch], 1)")
    arguments = ["trainer.path=two.Trainer", folder, "--output", tmp_path / "out"]
    assert predict(trained, *arguments) == 0
    names = ["a_source1.wav", "a_source2.wav", "b_source1.flac", "b_source2.flac"]
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.*")) == names
    first, second = (read_audio(tmp_path / "out" / name) for name in names[:2])
    torch.testing.assert_close(first, -second, rtol=0, atol=1e-4)
    assert predict(trained, *arguments) == 2
    assert "a_source1.wav (and 1 more) exists already" in capsys.readouterr().err
    assert predict(trained, *arguments, "--skip-existing") == 0
    assert capsys.readouterr().out == "0 files written, 2 skipped, 0 failed\n"


def test_long_file_goes_through_in_segments_and_that_is_said(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    write_audio(tmp_path / "long.wav", 0.1 * torch.randn(8 * 16000), 16000)
    arguments = [tmp_path / "long.wav", "--output", tmp_path / "out"]
    assert predict(trained, *arguments) == 0
    assert "note" not in capsys.readouterr().err
    whole = read_audio(tmp_path / "out" / "long.wav")
    assert predict(trained, *arguments, "--segment", "3", "--overwrite") == 0
    assert capsys.readouterr().err.count("1 file is longer than 3 s") == 1
    in_segments = read_audio(tmp_path / "out" / "long.wav")
    assert torch.equal(in_segments[: 2 * 16000], whole[: 2 * 16000])
    assert 0 < (in_segments - whole).abs().max() < 0.1 * whole.abs().max()


def test_model_is_in_evaluation_mode(trained: Path) -> None:
    experiment = Experiment.from_file(trained)
    model, _, device = load_model(experiment, require_checkpoint(experiment, "latest"))
    assert not any(part.training for part in model.modules())
    assert device == torch.device("cpu")


def test_several_models_need_a_predict_step(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = Experiment.from_file(trained)
    trainer = experiment.build_trainer()
    monkeypatch.setattr(experiment, "build_trainer", lambda: trainer)
    trainer.model = {"generator": trainer.model, "critic": trainer.model}
    with pytest.raises(RequestError, match=r"several models \(generator, critic\); write a"):
        load_model(experiment, trainer.store.find("latest"))


def test_complete_results_are_skipped_and_others_made(
    trained: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = [folder, "--output", tmp_path / "out"]
    assert predict(trained, folder / "a.wav", "--output", tmp_path / "out") == 0
    before = (tmp_path / "out" / "a.wav").stat()
    capsys.readouterr()
    assert predict(trained, *arguments, "--skip-existing") == 0
    assert capsys.readouterr().out.startswith("1 file written, 1 skipped, 0 failed; 1.3 s of audio")
    after = (tmp_path / "out" / "a.wav").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert audio_info(tmp_path / "out" / "deep" / "b.flac").num_samples == 20003


def test_killed_run_leaves_only_whole_results_and_is_gone_on_with(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    own_step(trained, "slow", "import time; time.sleep(0.15); return 0.5 * batch")
    signal_of = {name: 0.1 * torch.randn(5 * 16000) for name in "abc"}
    for name, waveform in signal_of.items():
        write_audio(tmp_path / "in" / f"{name}.wav", waveform, 16000)
    output = tmp_path / "out"
    words = ["trainer.path=slow.Trainer", tmp_path / "in", "--output", output, "--segment", "1"]
    command = [sys.executable, "-m", "audiozen", "predict", trained, *words]
    process = subprocess.Popen([*map(str, command)], stderr=subprocess.DEVNULL)
    while not list(output.glob(".b.wav.*.partial")):
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    names = sorted(path.name for path in output.iterdir())
    assert names[0].startswith(".b.wav.")
    assert names[1:] == ["a.wav"]
    assert predict(trained, *words, "--skip-existing") == 0
    assert capsys.readouterr().out.startswith("2 files written, 1 skipped, 0 failed")
    assert sorted(path.name for path in output.iterdir()) == ["a.wav", "b.wav", "c.wav"]
    for name, waveform in signal_of.items():
        result = read_audio(output / f"{name}.wav")
        torch.testing.assert_close(result, 0.5 * waveform, rtol=0, atol=1e-4)


def test_error_in_the_model_names_the_file(
    trained: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    own_step(trained, "twice", "return batch.repeat(2, 1)")
    arguments = ["trainer.path=twice.Trainer", folder / "a.wav", "--output", tmp_path / "out"]
    assert predict(trained, *arguments) == 1
    message = capsys.readouterr().err
    assert "the model returned a tensor of shape (2, 10888)" in message
    assert str(folder / "a.wav") in message


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nowhere.wav", "--output", "out"], "nowhere.wav does not exist"),
        (["recipe", "--output", "out"], "no wav or flac files in recipe"),
        (["recipe/model.py", "--output", "out"], "recipe/model.py is not named as wav or flac"),
        (
            ["recipe", "--output", "out", "--channel", "left"],
            'expected a number from 0, "mean" or ',
        ),
        (["recipe", "--output", "out", "--channel", "left"], 'or "error", or "each"'),
        (["recipe", "--output", "out", "--segment", "0.5"], "Invalid value for '--segment'"),
        (["recipe", "--output", "out", "--overwrite", "--skip-existing"], "contradict each other"),
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


def test_torchrun_is_refused_with_what_to_do(
    trained: Path,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert predict(trained, folder, "--output", tmp_path / "out") == 2
    assert "start audiozen predict without torchrun, once for each GPU" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_device_is_chosen_and_one_that_is_not_there_refused(
    trained: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = [folder, "--output", tmp_path / "out", "--device"]
    assert predict(trained, *arguments, "abacus") == 2
    assert "device: 'abacus' cannot be used" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert predict(trained, "trainer.args.device=abacus", *arguments, "cpu") == 0
    assert "on cpu" in capsys.readouterr().out
