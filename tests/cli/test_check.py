from __future__ import annotations

import re
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from audiozen.cli.check import describe, duration, sound_files
from audiozen.cli.main import main

THREADS = "trainer.args.num_threads=1"


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands for the system's temporary folder."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def check(config: Path, *settings: str) -> int:
    return main(["check", str(config), THREADS, *settings])


def change(recipe: Path, name: str, old: str, new: str) -> None:
    """Break one of the files of a recipe."""
    file = recipe.parent / name
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def line_of(recipe: Path, name: str, text: str) -> str:
    """The place of ``text``, as an error names it."""
    lines = (recipe.parent / name).read_text().splitlines()
    number = next(number for number, line in enumerate(lines, start=1) if text in line)
    return f"({recipe.parent / name}, line {number})"


def lines_about(kind: str, output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith(f"{kind} ")]


def test_good_recipe_has_no_problem_and_leaves_nothing_behind(
    recipe: Path, temporary: Path, capsys: pytest.CaptureFixture
) -> None:
    before = {path: path.read_bytes() for path in recipe.parent.iterdir() if path.is_file()}
    assert check(recipe) == 0
    output = capsys.readouterr().out
    assert not lines_about("problem", output)
    assert not lines_about("warning", output)
    for fact in (
        "50 batches of (8, 16000) float32, (8, 16000) float32, 8 x str",
        "78,721 parameters, 78,721 of them trainable",
        "every trainable parameter gets one",
        "M per second of audio",
        "look-ahead         510 samples, 31.9 ms",
        "latency            31.9 ms, algorithmic",
        " offline; 1 thread of ",
        "MiB",
        "time per epoch     about ",
    ):
        assert fact in output
    for stage in ("training_step", "validation_step", "test_step"):
        assert stage in output
    assert not Path("exp").exists()
    assert not list(temporary.glob("audiozen*"))
    after = {path: path.read_bytes() for path in recipe.parent.iterdir() if path.is_file()}
    assert after == before


PARTS = r"(data|waiting|copy|forward|backward|optimizer|other) \d+ %"


def test_parts_of_real_steps_and_the_largest_of_them_are_told(
    recipe: Path, capsys: pytest.CaptureFixture
) -> None:
    assert check(recipe) == 0
    output = capsys.readouterr().out
    [line] = re.findall(
        rf"^ok       where a step goes  (({PARTS}[^;]*)+);.*$", output, re.MULTILINE
    )
    names = re.findall(PARTS, line[0])
    assert {"data", "forward", "backward"} <= set(names)
    assert sum(map(int, re.findall(r"(\d+) %", line[0]))) == pytest.approx(100, abs=len(names))
    [largest] = re.findall(r"^ok       largest part       (\w+): .", output, re.MULTILINE)
    assert largest == names[0]
    [validation] = re.findall(r"^ok       validation         (.*)$", output, re.MULTILINE)
    assert re.match(r"model [\d.]+ ms, metrics [\d.]+ ms in this process", validation)


def test_workers_of_the_experiment_are_waited_for(
    recipe: Path, capsys: pytest.CaptureFixture
) -> None:
    change(
        recipe,
        "data.py",
        "noise = torch.randn(",
        "__import__('time').sleep(0.05)\n        noise = torch.randn(",
    )
    assert check(recipe, "train_dataset.dataloader.num_workers=1") == 0
    output = capsys.readouterr().out
    assert re.search(r"where a step goes  waiting \d\d %", output)
    assert "largest part       waiting: " in output


def test_data_that_break_beyond_the_first_batches_are_a_problem(
    recipe: Path, capsys: pytest.CaptureFixture
) -> None:
    change(
        recipe,
        "data.py",
        "noise = torch.randn(",
        "self.count = getattr(self, 'count', 0) + 1\n"
        "        if self.count > 30: raise ValueError('broken')\n        noise = torch.randn(",
    )
    assert check(recipe) == 2
    output = capsys.readouterr().out
    [problem] = lines_about("problem", output)
    assert "train_dataset" in problem
    assert "broken" in problem
    assert "largest part" not in output


def test_multiply_accumulates_are_those_of_the_layers(
    recipe: Path, capsys: pytest.CaptureFixture
) -> None:
    assert check(recipe) == 0
    per_frame = 3 * (257 * 64 + 64 * 64) + 64 * 257
    expected = f"{per_frame * 62.5 / 1e6:.1f} M per second of audio"
    assert expected in capsys.readouterr().out


STREAMING = """
from audiozen.streaming import FrameByFrame


class Denoiser(FrameByFrame):
    def __init__(self, n_fft: int, hop_length: int, win_length: int, hidden_size: int = 64) -> None:
        super().__init__(STFT(n_fft, hop_length, win_length, window="sqrt_hann"))
        self.output = nn.Linear(n_fft // 2 + 1, n_fft // 2 + 1)

    def enhance(self, spec, memory=None):
        return spec * torch.sigmoid(self.output(spec.abs())), memory
"""


def test_model_that_streams_is_timed_frame_by_frame(
    recipe: Path, capsys: pytest.CaptureFixture
) -> None:
    with (recipe.parent / "model.py").open("a") as file:
        file.write(STREAMING)
    assert check(recipe) == 0
    output = capsys.readouterr().out
    assert "latency            32.0 ms, algorithmic, in hops of 256 samples" in output
    assert re.search(
        r"real-time factor   \d\.\d{4} offline, \d\.\d{4} frame by frame; 1 th", output
    )


def test_model_that_looks_at_the_whole_signal_is_told(
    recipe: Path, capsys: pytest.CaptureFixture
) -> None:
    change(recipe, "model.py", "spec = self.stft(noisy)", "spec = self.stft(noisy - noisy.mean())")
    assert check(recipe) == 0
    output = capsys.readouterr().out
    assert (
        "look-ahead         the whole signal: the output begins when the input has ended" in output
    )
    assert "latency" not in output


def test_reason_why_something_could_not_be_found_out_is_told_with_its_place(
    recipe: Path, capsys: pytest.CaptureFixture
) -> None:
    text = "spec = self.stft(noisy.view(-1, 16000))"
    change(recipe, "model.py", "spec = self.stft(noisy)", text)
    assert check(recipe) == 0
    lines = lines_about("ok", capsys.readouterr().out)
    (line,) = [line for line in lines if line.split()[1] == "look-ahead"]
    assert "not found out: RuntimeError" in line
    assert line_of(recipe, "model.py", text) in line


def test_model_of_something_else_than_a_waveform_is_counted_per_batch(
    recipe: Path, capsys: pytest.CaptureFixture
) -> None:
    change(
        recipe, "trainer.py", "(self.model(noisy), clean)", "(self.model(noisy[None]), clean[None])"
    )
    change(recipe, "trainer.py", "self.model(noisy)\n", "self.model(noisy[None])[0]\n")
    change(
        recipe,
        "model.py",
        "spec = self.stft(noisy)",
        "noisy = noisy[0]\n        spec = self.stft(noisy)",
    )
    change(recipe, "model.py", "length=noisy.shape[-1])", "length=noisy.shape[-1])[None]")
    assert check(recipe) == 0
    output = capsys.readouterr().out
    assert "M per batch" in output
    assert "look-ahead" not in output


def test_no_tracker_is_opened(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(exp_dir: Path) -> None:
        raise AssertionError(f"opened in {exp_dir}")

    monkeypatch.setattr("audiozen.trainer.session.default_tracker", refuse)
    assert check(recipe) == 0


def test_existing_run_is_not_touched(trained: Path) -> None:
    files = {path: path.stat().st_mtime_ns for path in Path("exp").rglob("*")}
    assert files
    assert check(trained) == 0
    assert {path: path.stat().st_mtime_ns for path in Path("exp").rglob("*")} == files


def test_problems_of_the_configuration_are_told_together(
    recipe: Path, capsys: pytest.CaptureFixture
) -> None:
    assert check(recipe, "trainer.args.max_grad_nrom=1", "model.args.hidden_size='many'") == 2
    message = capsys.readouterr().err
    assert "max_grad_nrom; did you mean 'max_grad_norm'?" in message
    assert "[model.args] hidden_size" in message
    assert "Traceback" not in message


@pytest.mark.parametrize(
    ("name", "old", "new", "subject"),
    [
        ("model.py", "spec = self.stft(noisy)", "spec = self.sftf(noisy)", "training_step"),
        ("model.py", "self.output = nn", "self.output = nm", "model"),
        ("data.py", "noise = torch.randn(", "noise = torch.randm(", "train_dataset"),
        ("data.py", "self.num_signals = num_signals", "raise SystemExit(7)", "train_dataset"),
        ("trainer.py", "noisy, clean, _ = batch", "noisy, clean = batch", "training_step"),
        ("trainer.py", "noisy, clean, names = batch", "raise SystemExit(7)", "validation_step"),
        ("trainer.py", "(enhanced, clean)", "(enhanced[:, 1:], clean)", "validation_step"),
    ],
)
def test_error_in_ones_own_code_is_one_line_with_its_place(
    name: str, old: str, new: str, subject: str, recipe: Path, capsys: pytest.CaptureFixture
) -> None:
    change(recipe, name, old, new)
    assert check(recipe) == 2
    captured = capsys.readouterr()
    first = lines_about("problem", captured.out)[0]
    assert first.split()[1] == subject
    assert line_of(recipe, name, new) in first
    assert "Traceback" not in captured.out + captured.err
    assert "problems found" in captured.err


def test_everything_that_can_be_looked_at_is(recipe: Path, capsys: pytest.CaptureFixture) -> None:
    change(recipe, "trainer.py", "noisy, clean, _ = batch", "raise ValueError('first')")
    change(recipe, "trainer.py", "noisy, clean, names = batch", "raise ValueError('second')")
    assert check(recipe) == 2
    output = capsys.readouterr().out
    assert "where a step goes  not measured, as training_step failed" in output
    problems = lines_about("problem", output)
    assert [line.split()[1] for line in problems] == [
        "training_step",
        "validation_step",
        "test_step",
    ]
    assert ["first" in problems[0], "second" in problems[1], "second" in problems[2]] == [True] * 3


def test_parameter_without_gradient_is_named(recipe: Path, capsys: pytest.CaptureFixture) -> None:
    change(
        recipe,
        "model.py",
        "self.output = nn",
        "self.forgotten = nn.Linear(2, 2)\n        self.output = nn",
    )
    assert check(recipe) == 0
    (warning,) = lines_about("warning", capsys.readouterr().out)
    assert warning.endswith("none for forgotten.bias, forgotten.weight")


def test_frozen_parameter_is_no_finding(recipe: Path, capsys: pytest.CaptureFixture) -> None:
    freeze = "hidden_size, self.stft.num_freqs)\n        self.output.bias.requires_grad = False"
    change(recipe, "model.py", "hidden_size, self.stft.num_freqs)", freeze)
    assert check(recipe) == 0
    output = capsys.readouterr().out
    assert "78,721 parameters, 78,464 of them trainable" in output
    assert not lines_about("warning", output)


def test_missing_sound_files_are_listed(recipe: Path, capsys: pytest.CaptureFixture) -> None:
    names = "self.seed = seed\n        self.files = [f'/nowhere/{n}.wav' for n in range(5)]"
    change(recipe, "data.py", "self.seed = seed", names)
    assert check(recipe) == 2
    problem = lines_about("problem", capsys.readouterr().out)[0]
    assert problem.endswith("/nowhere/0.wav, /nowhere/1.wav, /nowhere/2.wav and 2 more")


def test_loss_that_is_not_a_number_is_a_problem(
    recipe: Path, capsys: pytest.CaptureFixture
) -> None:
    change(
        recipe, "trainer.py", "(self.model(noisy), clean)", "(self.model(noisy), clean) * torch.nan"
    )
    change(
        recipe, "trainer.py", "from torch import Tensor", "import torch\nfrom torch import Tensor"
    )
    assert check(recipe) == 2
    problem = lines_about("problem", capsys.readouterr().out)[0]
    assert "training_step" in problem
    assert "the loss is nan" in problem


def test_accumulation_and_workers_are_no_obstacle(
    recipe: Path, capsys: pytest.CaptureFixture
) -> None:
    settings = [
        "trainer.args.gradient_accumulation_steps=3",
        "train_dataset.dataloader.num_workers=2",
    ]
    assert check(recipe, *settings) == 0
    output = capsys.readouterr().out
    assert "time per epoch" in output
    assert "where a step goes  " in output


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[model", b"model = 3", b"[[trainer]]"])
def test_no_file_gives_a_traceback(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "wild.toml").write_bytes(content)
    assert check(tmp_path / "wild.toml") == 2
    captured = capsys.readouterr()
    assert "wild.toml" in captured.err
    assert "Traceback" not in captured.err


def test_batch_is_described_by_its_parts() -> None:
    batch = {
        "noisy": torch.zeros(2, 8),
        "id": ["a", "b"],
        "more": [torch.zeros(1, dtype=torch.int64), 3],
    }
    assert describe(batch) == "noisy (2, 8) float32, id 2 x str, more (1) int64, int"


def test_sound_files_are_found_where_datasets_keep_them() -> None:
    entry = SimpleNamespace(id="a", path=Path("/data/a.wav"))
    dataset = SimpleNamespace(
        speech=SimpleNamespace(entries=[entry]), by_name={"b": "/data/b.flac"}, root=Path("/data")
    )
    assert sorted(map(str, sound_files(dataset, depth=3))) == ["/data/a.wav", "/data/b.flac"]


def test_object_that_holds_itself_ends_the_search() -> None:
    thing = SimpleNamespace(path=Path("/data/a.wav"))
    thing.again = thing
    assert set(sound_files(thing, depth=3)) == {Path("/data/a.wav")}


@pytest.mark.parametrize(("seconds", "text"), [(1.23, "1.2 s"), (120, "2.0 min"), (7200, "2.0 h")])
def test_durations_are_told_in_a_fitting_unit(seconds: float, text: str) -> None:
    assert duration(seconds) == text


WITH_IDS = """
import data
class TonesInNoise(data.TonesInNoise):
    @property
    def ids(self):
        return [f"tone_{index}" for index in range(self.num_signals)]
"""


def test_signals_in_validation_and_test_are_told(
    recipe: Path, quick: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (recipe.parent / "listed.py").write_text(WITH_IDS)
    listed = [
        f"{table}.0.path=listed.TonesInNoise" for table in ("validate_dataset", "test_dataset")
    ]
    assert main(["check", str(recipe), *quick, *listed]) == 0
    assert "4 of 4 test signals are validation signals as well (tone_0" in capsys.readouterr().out


def test_old_names_in_file_and_code_are_told_together_before_anything_is_loaded(
    recipe: Path, capsys: pytest.CaptureFixture
) -> None:
    change(recipe, "baseline.toml", "max_epochs = 5", "max_epoch = 5")
    change(recipe, "trainer.py", "self.sample_rate", "self.sr")
    change(recipe, "data.py", "self.num_signals = num_signals", "raise ValueError('loaded')")
    assert check(recipe) == 2
    told = capsys.readouterr()
    assert not told.out
    assert "[trainer.args] max_epoch: now [trainer.args] max_epochs (line " in told.err
    assert "self.sr: now self.sample_rate (trainer.py, line " in told.err
    assert "has 2 problems" in told.err
