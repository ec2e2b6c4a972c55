"""``audiozen predict``: a model at work on sound files, or live."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias

import typer

from audiozen.cli.channel import parse_channel_or_each
from audiozen.cli.request import (
    Checkpoint,
    PretrainedModel,
    read_experiment,
    refuse_several_processes,
    require_checkpoint,
    require_table,
    tell,
)
from audiozen.errors import AudioZENError, RequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from audiozen.experiment import Experiment
    from audiozen.inference.jobs import Job
    from audiozen.inference.models import Model
    from audiozen.inference.predictor import Predictor, Summary

LINE_INTERVAL = 600.0
"""Seconds between lines of progress where stderr is no terminal."""
ONE_PROCESS = (
    "files are predicted by one process, and each of several would write all of them; start audiozen predict without "
    "torchrun, once for each GPU, with some of the files each: audiozen predict CONFIG part_0 --device cuda:0 ..."
)


Words: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[CONFIG] INPUT...",
        help="The experiment's .toml file (not with --model), and wav and flac files, or folders of them; "
        "KEY=VALUE settings may stand among them.",
        show_default=False,
    ),
]
OutputFolder: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="Folder for the results.", show_default=False, metavar="DIR"),
]
ChannelChoice: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="NUMBER|mean|each|error",
        help="Of files with several: which one, from 0; their mean; each by itself; or refuse them.",
    ),
]
Segment: TypeAlias = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        min=1.0,
        help="Longest signal that goes through at once, of models that cannot work block by block.",
    ),
]
Device: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Such as cpu or cuda. If left out: as the experiment says; cpu with --model.",
        show_default=False,
    ),
]
Overwrite: TypeAlias = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
SkipExisting: TypeAlias = Annotated[
    bool, typer.Option("--skip-existing", help="Leave out what is there and complete.")
]
Stream: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--stream",
        help="Live: raw samples of one channel from standard input to standard output, in place of files.",
    ),
]
SampleFormat: TypeAlias = Annotated[
    str, typer.Option("--format", metavar="s16le|f32le", help="Of the samples of --stream.")
]


def predict(
    words: Words = None,
    output: OutputFolder = None,
    model: PretrainedModel = None,
    ckpt: Checkpoint = "best",
    channel: ChannelChoice = "error",
    segment: Segment = 60.0,
    device: Device = None,
    overwrite: Overwrite = False,
    skip_existing: SkipExisting = False,
    stream: Stream = False,
    sample_format: SampleFormat = "s16le",
) -> None:
    """Run a model on sound files, or live.

    Files of any length go through block by block. Results have the name,
    rate, length and format of what they were made of.

    audiozen predict recipe/baseline.toml recordings --output enhanced

    audiozen predict --model band_gain_gru noisy.wav --output enhanced

    arecord -f S16_LE -r 16000 -t raw | audiozen predict --model band_gain_gru --stream > enhanced.raw
    """
    refuse_several_processes(ONE_PROCESS)
    config, paths, overrides = sort_words(words or (), has_model=model is not None)
    check_choice(paths, output, stream=stream, overwrite=overwrite, skip_existing=skip_existing)
    which = parse_channel_or_each(channel)
    if config is None:
        loaded = load_pretrained(model or "", overrides, device)
    else:
        loaded = load_trained(config, overrides, device, ckpt)
    if stream:
        run_live(loaded, sample_format)
        return

    from audiozen.inference.jobs import check_targets, find_jobs, split_complete
    from audiozen.inference.predictor import Predictor

    assert output is not None, "checked above"
    jobs = find_jobs(paths, output)
    check_targets(jobs, may_exist=overwrite or skip_existing)
    done: list[Job] = []
    if skip_existing:
        jobs, done = split_complete(jobs, keeps_channels=which == "each")
    predictor = Predictor(
        loaded.model, loaded.sample_rate, channel=which, segment=segment, device=loaded.device
    )
    run(predictor, jobs, num_skipped=len(done))


class Loaded(NamedTuple):
    """A model in evaluation mode, and what it works at and on."""

    model: Model
    sample_rate: int
    device: torch.device


def sort_words(
    words: Sequence[str], *, has_model: bool
) -> tuple[Path | None, list[Path], list[str]]:
    """The experiment, unless a model was named; the inputs; and settings.

    Raises:
        RequestError: there is neither an experiment nor a model, or there are both.
    """
    paths, overrides = split_inputs(words)
    if has_model:
        if configs := [path for path in paths if path.suffix == ".toml"]:
            raise RequestError(f"{configs[0]} and --model are two models; give one of them")
        return None, paths, overrides
    if not paths:
        raise RequestError("no model: give an experiment's .toml file first, or --model NAME")
    return paths[0], paths[1:], overrides


def check_choice(
    paths: Sequence[Path],
    output: Path | None,
    *,
    stream: bool,
    overwrite: bool,
    skip_existing: bool,
) -> None:
    """Refuse words that contradict each other, and what is missing.

    Raises:
        RequestError: says which.
    """
    if overwrite and skip_existing:
        raise RequestError("--overwrite and --skip-existing contradict each other; give one")
    if stream:
        if paths or output or overwrite or skip_existing:
            raise RequestError(
                "--stream goes from standard input to standard output: give no files and no --output"
            )
        return
    if not paths:
        raise RequestError("no inputs: give wav or flac files, or folders of them")
    if output is None:
        raise RequestError("no --output: say the folder for the results")


def load_trained(config: Path, overrides: list[str], device: str | None, ckpt: str) -> Loaded:
    """The model of an experiment.

    Raises:
        RequestError: the experiment is wrong, or the checkpoint is not there.
    """
    if device is not None:
        overrides = [*overrides, f"trainer.args.device={device}"]
    experiment = read_experiment(config, overrides)
    require_table(experiment, config, "acoustics")
    return load_model(experiment, require_checkpoint(experiment, ckpt))


def load_pretrained(name: str, overrides: Sequence[str], device: str | None) -> Loaded:
    """A model that comes with AudioZEN.

    Raises:
        RequestError: there is none of this name, or there are settings, which belong to experiments.
    """
    from audiozen.engine import find_device
    from audiozen.pretrained.catalogue import load

    if overrides:
        raise RequestError(f"{overrides[0]} is a setting of an experiment; --model has none")
    where = find_device(device or "cpu", local_rank=0)
    pretrained = load(name)
    return Loaded(pretrained.model.to(where), pretrained.sample_rate, where)


def run_live(loaded: Loaded, sample_format: Any) -> None:
    """Enhance standard input to standard output as it comes.

    Raises:
        RequestError: the model cannot stream, or the format is unknown.
        Exit: nobody reads the output any more.
    """
    from audiozen.inference.live import CLOSED_READER, stream_pcm
    from audiozen.inference.models import works_by_chunks, works_by_frames

    if not (works_by_frames(loaded.model) or works_by_chunks(loaded.model)):
        raise RequestError(
            "the model cannot answer while sound comes in: it has no stream() that does what it does to a whole "
            "signal; see audiozen.streaming"
        )
    tell(f"{sample_format}, one channel, {loaded.sample_rate} Hz, on {loaded.device}")
    is_complete = stream_pcm(
        loaded.model,
        sys.stdin.buffer,
        sys.stdout.buffer,
        sample_format=sample_format,
        device=loaded.device,
    )
    if not is_complete:
        raise typer.Exit(CLOSED_READER)


def run(predictor: Predictor, jobs: Sequence[Job], *, num_skipped: int = 0) -> Summary:
    """Run a model on files; progress goes to stderr, the summary to stdout.

    Raises:
        AudioZENError: files failed.
    """
    from audiozen.inference.predictor import predict_files
    from audiozen.tracking.console import Console

    console = Console(line_interval=LINE_INTERVAL)
    summary = predict_files(
        predictor, jobs, num_skipped=num_skipped, tell=tell_above_the_bar, console=console
    )
    typer.echo(summary.text())
    if summary.num_failed:
        text = f"{summary.num_failed} of {len(jobs)} files failed; see above"
        raise AudioZENError(text) from summary.first_error
    return summary


def tell_above_the_bar(text: str) -> None:
    """Say something while progress is shown, which has put something in the place of stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def load_model(experiment: Experiment, checkpoint: Path) -> Loaded:
    """The model of an experiment in evaluation mode, with the weights of a checkpoint; and where it is.

    Where the trainer has a ``predict_step`` of its own, that is what is called.

    Raises:
        RequestError: there are several models, and no ``predict_step``.
    """
    from audiozen.trainer.base_trainer import BaseTrainer
    from audiozen.trainer.evaluation import with_dataloader_idx

    trainer = experiment.build_trainer()
    trainer.load_checkpoint(checkpoint)
    trainer.stage = "predict"
    for module in trainer.modules.values():
        module.eval()
    if type(trainer).predict_step is BaseTrainer.predict_step:
        if isinstance(trainer.model, dict):
            raise RequestError(
                f"the experiment has several models ({', '.join(trainer.model)}); write a predict_step in your "
                "trainer that returns a waveform"
            )
        return Loaded(trainer.model, sample_rate_of(experiment), trainer.device)
    step = with_dataloader_idx(trainer.predict_step)
    return Loaded(lambda noisy: step(noisy, 0, 0), sample_rate_of(experiment), trainer.device)


def split_inputs(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Paths, and settings: what has an equals sign and is no path."""
    overrides = [word for word in words if "=" in word and not Path(word).exists()]
    return [Path(word) for word in words if word not in overrides], overrides


def sample_rate_of(experiment: Experiment) -> int:
    """The rate that the model works at, in Hz."""
    assert experiment.config.acoustics is not None, "the command requires the table"
    return experiment.config.acoustics.sample_rate
