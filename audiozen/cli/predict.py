"""``audiozen predict``."""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from audiozen.cli.request import (
    Checkpoint,
    ConfigFile,
    read_experiment,
    require_checkpoint,
    require_table,
)
from audiozen.errors import AudioError, AudioZENError, RequestError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from audiozen.data.audio import AudioInfo
    from audiozen.experiment import Experiment


def predict(
    config: ConfigFile,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="Wav and flac files, or folders of them; KEY=VALUE settings may stand among them.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option(help="Folder for the results.", show_default=False, metavar="DIR")
    ],
    ckpt: Checkpoint = "best",
    channel: Annotated[
        str,
        typer.Option(help='Of files with several: a number from 0, "mean", or "error" to skip.'),
    ] = "error",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> None:
    """Run the model on sound files."""
    which = parse_channel(channel)
    paths, overrides = split_inputs(inputs)
    experiment = read_experiment(config, overrides)
    require_table(experiment, config, "acoustics")
    jobs = find_jobs(paths, output)
    check_targets(jobs, overwrite=overwrite)
    checkpoint = require_checkpoint(experiment, ckpt)
    recordings = Recordings(jobs, sample_rate_of(experiment), which)
    with naming_the_file(recordings):
        summary = run_model(experiment, checkpoint, recordings)
    typer.echo(summary.text())
    if summary.num_failed:
        raise AudioZENError(f"{summary.num_failed} of {len(jobs)} files failed; see above")


class Job(NamedTuple):
    """One file to read, and where its result goes."""

    source: Path
    target: Path


class Started(NamedTuple):
    """A job whose waveform was handed to the model."""

    job: Job
    info: AudioInfo
    time: float


class Summary(NamedTuple):
    """What was done, and how long the model took; reading, resampling and writing do not count."""

    num_written: int
    num_failed: int
    audio_seconds: float
    compute_seconds: float
    where: str

    def text(self) -> str:
        """One line with the real-time factor: seconds of computation per second of audio. Lower is better."""
        if not self.num_written:
            return "no file was written"
        files = "1 file" if self.num_written == 1 else f"{self.num_written} files"
        factor = self.compute_seconds / self.audio_seconds
        return (
            f"{files}, {self.audio_seconds:.1f} s of audio in {self.compute_seconds:.2f} s: "
            f"real-time factor {factor:.4f} on {self.where}"
        )


class Recordings:
    """Batches of one waveform ``(1, time)``. A file that cannot be read is told, counted and left out.

    Args:
        jobs: what to read.
        sample_rate: of the waveforms, in Hz.
        channel: which one of files with several, as ``read_audio`` takes it.

    Attributes:
        started: jobs that the model has got; the number of a batch is the place in it.
        num_failed: files that could not be read or written.
    """

    def __init__(
        self, jobs: Sequence[Job], sample_rate: int, channel: int | Literal["error", "mean"]
    ) -> None:
        self.jobs = jobs
        self.sample_rate = sample_rate
        self.channel = channel
        self.started: list[Started] = []
        self.num_failed = 0

    def __len__(self) -> int:
        return len(self.jobs)

    def __iter__(self) -> Iterator[Tensor]:
        for job in self.jobs:
            try:
                waveform, info = self.read(job.source)
            except AudioError as error:
                self.fail(error)
            else:
                self.started.append(Started(job, info, time.perf_counter()))
                yield waveform[None]

    def read(self, source: Path) -> tuple[Tensor, AudioInfo]:
        """Waveform ``(time,)`` at the wanted rate, and what the file says of itself."""
        from audiozen.data.audio import audio_info, read_audio

        info = audio_info(source)
        waveform = read_audio(source, sample_rate=self.sample_rate, channel=self.channel)
        if len(waveform) == 0:
            raise AudioError(f"{source} has no samples at {self.sample_rate} Hz")
        return waveform, info

    def fail(self, error: AudioError) -> None:
        """Tell and count a file that is left out."""
        self.num_failed += 1
        typer.echo(f"skipped: {error}", err=True)


def parse_channel(text: str) -> int | Literal["error", "mean"]:
    """What ``--channel`` means.

    Raises:
        RequestError: it is none of the choices.
    """
    if text.isdecimal():
        return int(text)
    if text == "mean":
        return "mean"
    if text == "error":
        return "error"
    raise RequestError(f'--channel {text}: expected a number from 0, "mean" or "error"')


def split_inputs(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Paths, and settings: what has an equals sign and is no path."""
    overrides = [word for word in words if "=" in word and not Path(word).exists()]
    return [Path(word) for word in words if word not in overrides], overrides


def find_jobs(paths: Sequence[Path], output: Path) -> list[Job]:
    """All files, each with a target of the same name; below a folder, in the same tree.

    Raises:
        RequestError: a path does not exist or is no sound file by its name, or there is no file.
    """
    from audiozen.data.audio import AUDIO_SUFFIXES, find_audio

    jobs, problems = [], []
    for path in paths:
        if path.is_dir():
            jobs += [Job(file, output / file.relative_to(path)) for file in find_audio(path)]
        elif not path.exists():
            problems.append(f"{path} does not exist")
        elif path.suffix.lower() not in AUDIO_SUFFIXES:
            problems.append(f"{path} is not named as wav or flac; convert it first")
        else:
            jobs.append(Job(path, output / path.name))
    if not jobs and not problems:
        problems.append(f"no wav or flac files in {', '.join(map(str, paths))}")
    if problems:
        raise RequestError("\n  ".join(["nothing was started:", *problems]))
    return jobs


def check_targets(jobs: Sequence[Job], *, overwrite: bool) -> None:
    """Refuse to write over inputs, over each other, and unasked over what is there.

    Raises:
        RequestError: names the first such file.
    """
    taken: dict[Path, Path] = {}
    for source, target in jobs:
        if target in taken:
            raise RequestError(
                f"{taken[target]} and {source} would both be written to {target}; run them apart"
            )
        taken[target] = source
        if target.exists() and target.samefile(source):
            raise RequestError(f"{target} is an input itself; choose another --output")
    there = [target for _, target in jobs if target.exists()]
    if there and not overwrite:
        others = f" (and {len(there) - 1} more)" if len(there) > 1 else ""
        raise RequestError(
            f"{there[0]}{others} exists already; choose another --output, or give --overwrite"
        )


def sample_rate_of(experiment: Experiment) -> int:
    """The rate that the model works at, in Hz."""
    assert experiment.config.acoustics is not None, "the command requires the table"
    return experiment.config.acoustics.sample_rate


@contextmanager
def naming_the_file(recordings: Recordings) -> Iterator[None]:
    """Say of an error which file the model was at."""
    try:
        yield
    except Exception as error:
        if recordings.started:
            error.add_note(f"while running the model on {recordings.started[-1].job.source}")
        raise


def run_model(experiment: Experiment, checkpoint: Path, recordings: Recordings) -> Summary:
    """Run the model on each recording, and write the results as they come."""
    import torch

    trainer = experiment.build_trainer()
    audio_seconds = compute_seconds = 0.0
    for output in trainer.predictions(recordings, ckpt_path=checkpoint):
        job, info, start = recordings.started[output.batch_idx]
        enhanced = as_waveform(output.value).cpu()
        compute_seconds += time.perf_counter() - start
        audio_seconds += info.num_samples / info.sample_rate
        try:
            write_result(job.target, enhanced, recordings.sample_rate, info)
        except AudioError as error:
            recordings.fail(error)
    return Summary(
        num_written=len(recordings.jobs) - recordings.num_failed,
        num_failed=recordings.num_failed,
        audio_seconds=audio_seconds,
        compute_seconds=compute_seconds,
        where=f"{trainer.device}, threads: {torch.get_num_threads()}",
    )


def as_waveform(value: Any) -> Tensor:
    """What ``predict_step`` returned, as a waveform of shape ``(time,)``.

    Raises:
        ShapeError: it is none.
    """
    import torch

    if isinstance(value, torch.Tensor) and value.is_floating_point():
        shape = tuple(value.shape)
        if len(shape) == 1 or (len(shape) == 2 and shape[0] == 1):
            return value.reshape(-1)
        found = f"a tensor of shape {shape}"
    else:
        found = f"a {type(value).__name__}"
    raise ShapeError(
        f"predict_step returned {found}; expected a waveform (1, time) or (time,). Write a "
        "predict_step in your trainer that returns one"
    )


def write_result(path: Path, enhanced: Tensor, sample_rate: int, info: AudioInfo) -> None:
    """Write a waveform at the rate and with the length of the file that it was made of."""
    from torch.nn.functional import pad

    from audiozen.data.audio import resample, write_audio

    waveform = resample(enhanced, sample_rate, info.sample_rate)[: info.num_samples]
    write_audio(path, pad(waveform, (0, info.num_samples - len(waveform))), info.sample_rate)
