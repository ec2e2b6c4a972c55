from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn

from audiozen.acoustics import STFT
from audiozen.data.audio import audio_info, read_audio, resample
from audiozen.errors import AudioError
from audiozen.inference import predictor as module
from audiozen.inference.jobs import Job
from audiozen.inference.predictor import Predictor, Summary, device_of, predict_files
from audiozen.tracking.console import Progress, SilentConsole
from tests.inference.frame_models import GRUGains

RATE = 8000


def gains() -> GRUGains:
    return GRUGains(STFT(64, 32, window="sqrt_hann"))


def halves(noisy: Tensor) -> Tensor:
    """Two sources, of another level each."""
    return torch.stack([noisy / 2, noisy / 4], 1)


@pytest.fixture
def write(tmp_path: Path):
    """Write noise of so many samples as 32-bit float; gives the job."""

    def write_noise(name: str, length: int, rate: int = RATE, channels: int = 1) -> Job:
        generator = np.random.default_rng(length)
        path = tmp_path / "in" / name
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, generator.normal(0, 0.1, (length, channels)), rate, "FLOAT")
        return Job(path, tmp_path / "out" / name)

    return write_noise


@pytest.fixture
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one second."""
    monkeypatch.setattr(module, "BLOCK_SECONDS", 1)


@pytest.mark.parametrize("rate", [8000, 11025, 44100])
@pytest.mark.parametrize("seconds", [0.001, 0.5, 1, 3.7])
@pytest.mark.usefixtures("short_blocks")
@torch.no_grad()
def test_result_by_blocks_is_that_of_the_whole_file(seconds: float, rate: int, write: Any) -> None:
    model = gains()
    job = write("a.wav", round(seconds * rate) + 1, rate)
    Predictor(model, RATE).predict(job)
    noisy = read_audio(job.source)
    whole = resample(model(resample(noisy, rate, RATE)[None])[0], RATE, rate)[: len(noisy)]
    whole = nn.functional.pad(whole, (0, len(noisy) - len(whole)))
    torch.testing.assert_close(read_audio(job.target), whole, rtol=0, atol=1e-5)
    assert audio_info(job.target) == audio_info(job.source)


@pytest.mark.usefixtures("short_blocks")
def test_neither_reads_nor_the_model_nor_writes_get_more_for_a_longer_file(
    write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    writes: list[int] = []
    read, write_samples = soundfile.SoundFile.read, soundfile.SoundFile.write
    monkeypatch.setattr(
        soundfile.SoundFile,
        "read",
        lambda file, frames, **options: reads.append(frames) or read(file, frames, **options),
    )
    monkeypatch.setattr(
        soundfile.SoundFile,
        "write",
        lambda file, data: writes.append(len(data)) or write_samples(file, data),
    )
    for seconds in (4, 40):
        model, job = gains(), write(f"{seconds}.wav", seconds * 2 * RATE, 2 * RATE)
        reads.clear()
        writes.clear()
        Predictor(model, RATE).predict(job)
        assert len(model.num_frames) >= seconds
        assert max(reads) == 2 * RATE
        assert max(model.num_frames) * 32 < 1.1 * RATE
        assert max(writes) < 1.1 * 2 * RATE


def test_each_channel_is_enhanced_as_if_it_were_alone(write: Any) -> None:
    job = write("a.wav", 5001, channels=3)
    model = gains()
    Predictor(model, RATE, channel="each").predict(job)
    together = soundfile.read(job.target)[0]
    for channel in range(3):
        Predictor(model, RATE, channel=channel).predict(job)
        alone, _ = soundfile.read(job.target)
        assert np.array_equal(together[:, channel], alone)


@pytest.mark.parametrize("rate", [8000, 44100])
def test_sources_are_written_beside_each_other(rate: int, write: Any) -> None:
    job = write("mix.wav", 30011, rate, channels=2)
    written = Predictor(halves, RATE, channel="each").predict(job)
    assert [path.name for path in written.paths] == ["mix_source1.wav", "mix_source2.wav"]
    assert not job.target.exists()
    first, second = (soundfile.read(path)[0] for path in written.paths)
    assert first.shape == (30011, 2)
    np.testing.assert_allclose(first, 2 * second, atol=1e-6)


@pytest.mark.usefixtures("short_blocks")
def test_what_is_longer_than_a_segment_goes_through_in_several_and_that_is_said_once(
    write: Any,
) -> None:
    lengths: list[int] = []
    said: list[str] = []

    def model(noisy: Tensor) -> Tensor:
        lengths.append(noisy.shape[-1])
        return noisy

    predictor = Predictor(model, RATE, segment=5.0)
    jobs = [write(f"{seconds}.wav", seconds * RATE) for seconds in (2, 5, 11, 7)]
    summary = predict_files(predictor, jobs, tell=said.append)
    assert lengths == [2 * RATE, *[5 * RATE] * 6]
    assert [text for text in said if text.startswith("note: ")] == said
    assert len(said) == 1
    assert "2 files are longer than 5 s" in said[0]
    assert summary.num_written == 4
    for job in jobs:
        torch.testing.assert_close(read_audio(job.target), read_audio(job.source))


def test_model_that_works_by_blocks_needs_no_segments(write: Any) -> None:
    said: list[str] = []
    predict_files(Predictor(gains(), RATE, segment=1.0), [write("a.wav", 20000)], tell=said.append)
    assert said == []


def test_file_that_fails_is_told_and_the_others_go_on(write: Any, tmp_path: Path) -> None:
    jobs = [write(f"{name}.wav", length) for name, length in zip("abcd", (100, 200, 300, 400))]
    jobs[0].source.write_bytes(b"")

    def model(noisy: Tensor) -> Tensor:
        if noisy.shape[-1] == 200:
            raise ZeroDivisionError("no such length")
        return noisy * (torch.inf if noisy.shape[-1] == 300 else 1)

    said: list[str] = []
    summary = predict_files(Predictor(model, RATE), jobs, tell=said.append, num_skipped=7)
    assert summary[:3] == (1, 7, 3)
    assert "a.wav is empty" in str(summary.first_error)
    assert len(said) == 3
    assert said[0].startswith("failed: ")
    assert "a.wav is empty" in said[0]
    assert said[1] == f"failed: {jobs[1].source}: ZeroDivisionError: no such length"
    assert said[2].startswith("failed: the model made samples that are NaN or infinite of ")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["d.wav"]


def test_error_keeps_no_tensors(write: Any) -> None:
    tensors = []

    def model(noisy: Tensor) -> Tensor:
        large = noisy.repeat(2, 1)
        tensors.append(weakref.ref(large))
        raise MemoryError

    summary = predict_files(Predictor(model, RATE), [write("a.wav", 100)])
    assert isinstance(summary.first_error, MemoryError)
    assert tensors[0]() is None


def test_file_without_samples_at_the_rate_of_the_model_fails(write: Any) -> None:
    job = write("a.wav", 1, 48000)
    with pytest.raises(AudioError, match=r"a\.wav has no samples at 8000 Hz"):
        Predictor(gains(), RATE).predict(job)


def test_clipping_is_told_for_each_file(write: Any) -> None:
    job = write("a.wav", 1000)
    soundfile.write(job.source, np.array([0.1, 0.6, -0.7]), RATE, "PCM_16")
    said: list[str] = []
    predict_files(Predictor(lambda noisy: 2 * noisy, RATE), [job], tell=said.append)
    [text] = said
    assert text.startswith(f"clipped: {job.target}: 2 samples of the result went beyond [-1, 1]")


def test_result_of_a_model_that_draws_depends_on_no_other_file(write: Any) -> None:
    jobs = [write(name, 500) for name in ("a.wav", "b.wav")]

    def model(noisy: Tensor) -> Tensor:
        return noisy + 0.1 * torch.rand(noisy.shape)

    predict_files(Predictor(model, RATE), jobs)
    after_a = read_audio(jobs[1].target)
    predict_files(Predictor(model, RATE), jobs[1:])
    assert torch.equal(read_audio(jobs[1].target), after_a)


class Recorded(SilentConsole, Progress):
    """Keeps what is shown."""

    def __init__(self) -> None:
        self.total: int | None = None
        self.places = [0]
        self.values: Any = None

    def progress(self, title: str, total: int | None = None, **_options: Any) -> Progress:
        self.total = total
        return self

    def advance(self, num: int = 1, values: Any = None) -> None:
        self.places.append(self.places[-1] + num)
        self.values = values()


@pytest.mark.usefixtures("short_blocks")
def test_progress_goes_by_seconds_of_sound_to_the_end(write: Any) -> None:
    jobs = [write("a.wav", round(5.5 * RATE)), write("b.wav", round(3.5 * RATE))]
    broken = write("c.wav", 2 * RATE)
    content = bytearray(broken.source.read_bytes())
    content[-4:] = b"\xff\xff\xff\xff"  # NaN
    broken.source.write_bytes(content)
    console = Recorded()
    predict_files(Predictor(gains(), RATE), [*jobs, broken], console=console)
    assert console.total == 11
    assert console.places == sorted(console.places)
    assert set(console.places) >= set(range(9))
    assert console.places[-1] == 11
    assert console.values["files"] == 3
    assert console.values["real-time factor"] > 0


def test_what_a_killed_run_has_left_is_removed(write: Any, tmp_path: Path) -> None:
    from audiozen.durable_files import HOST

    job = write("a.wav", 100)
    (tmp_path / "out").mkdir()
    gone = tmp_path / "out" / f".b.wav.{2**22 + 1}-{HOST}.partial"  # beyond the greatest process
    gone.touch()
    predict_files(Predictor(gains(), RATE), [job])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.wav"]


def test_no_gradients_are_kept(write: Any) -> None:
    graphs = []

    class Model(nn.Linear):
        def forward(self, noisy: Tensor) -> Tensor:
            output = noisy * self.weight[0, 0]
            graphs.append(output.requires_grad)
            return output

    Predictor(Model(1, 1), RATE).predict(write("a.wav", 100))
    assert graphs == [False]


def test_device_is_that_of_the_weights() -> None:
    assert device_of(nn.Linear(1, 1, device="meta")) == torch.device("meta")
    assert device_of(nn.Identity()) == device_of(halves) == torch.device("cpu")


def test_summary_has_counts_and_computing_per_audio() -> None:
    summary = Summary(1, 2, 3, audio_seconds=20.0, compute_seconds=0.5, where="cpu, threads: 1")
    assert summary.text() == (
        "1 file written, 2 skipped, 3 failed; 20.0 s of audio in 0.50 s: real-time factor 0.0250 on "
        "cpu, threads: 1"
    )
    assert Summary(0, 2, 0, 0.0, 0.0, "cpu").text() == "0 files written, 2 skipped, 0 failed"
