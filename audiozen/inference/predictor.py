"""A model at work on sound files: nothing here knows of experiments.

::

    predictor = Predictor(model, sample_rate=16000)
    summary = predict_files(predictor, [Job(Path("two_hours.wav"), Path("out/two_hours.wav"))])
"""

from __future__ import annotations

import traceback
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import nn

from audiozen.data.audio import audio_format, audio_info, read_blocks
from audiozen.durable_files import sweep
from audiozen.errors import AudioError, AudioZENError
from audiozen.inference.files import Written, refuse_nonfinite, write_blocks
from audiozen.inference.jobs import paths_of_sources
from audiozen.inference.models import is_exact, stage_for
from audiozen.inference.stages import EachChannel, Resampling, of_length, through
from audiozen.tracking.console import Progress, SilentConsole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from torch import Tensor

    from audiozen.inference.jobs import Job
    from audiozen.inference.models import Model

__all__ = ["Predictor", "Summary", "predict_files"]

BLOCK_SECONDS = 10
"""Of sound in memory at a time, where a model works block by block."""
SEGMENT_SECONDS = 60.0
SEED = 0


class Predictor:
    """Runs a model on sound files of any length, one block after the other.

    Each file gets results of its own rate, length and format. PyTorch's generator is seeded before each, so that a
    result does not depend on the files before it.

    Args:
        model: a module in evaluation mode, or a function; see :data:`~audiozen.inference.models.Model`.
        sample_rate: that the model works at, in Hz.
        channel: which one of files with several, as :func:`~audiozen.data.audio.read_blocks` takes it.
        segment: seconds that go through at once, of a model that cannot work block by block.
        device: where the model is. None: where its weights are.

    Attributes:
        compute_seconds: until now. Reading, resampling and writing do not count.
        audio_seconds: that were made in them.
    """

    def __init__(
        self,
        model: Model,
        sample_rate: int,
        *,
        channel: int | Literal["error", "mean", "each"] = "error",
        segment: float = SEGMENT_SECONDS,
        device: torch.device | None = None,
    ) -> None:
        self.model = model
        self.sample_rate = sample_rate
        self.channel = channel
        self.segment = segment
        self.device = device or device_of(model)
        self.compute_seconds = self.audio_seconds = 0.0

    def predict(self, job: Job, when_made: Callable[[float], object] = lambda _: None) -> Written:
        """Run the model on one file.

        Args:
            job: what to read, and where the result goes.
            when_made: called for each block of the result, with its seconds.

        Raises:
            AudioError: the file cannot be read or written, or the model made no numbers of it.
        """
        source = job.source
        info = audio_info(source)
        blocks = read_blocks(source, BLOCK_SECONDS * info.sample_rate, channel=self.channel)
        blocks = self._enhanced(blocks, info.sample_rate, source)
        blocks = of_length(blocks, info.num_samples)
        blocks = self._counted(blocks, info.sample_rate, when_made)
        torch.manual_seed(SEED)
        with torch.no_grad():
            return write_blocks(
                partial(paths_of_sources, job.target),
                blocks,
                info.sample_rate,
                audio_format(source),
            )

    def needs_segments(self, seconds: float) -> bool:
        """Whether a file of such a length does not go through as a whole, nor as if it did."""
        return seconds > self.segment and not is_exact(self.model)

    def _enhanced(
        self, blocks: Iterable[Tensor], sample_rate: int, source: Path
    ) -> Iterator[Tensor]:
        """Blocks ``(channels, time)`` as ``(sources, channels, time)``, at the rate of the file."""
        segment = round(self.segment * self.sample_rate)
        channels = EachChannel(
            lambda: stage_for(self.model, segment), self.device, self._count_computing
        )
        blocks = _resampled(blocks, sample_rate, self.sample_rate)
        blocks = through(channels, _not_empty(blocks, source, self.sample_rate))
        blocks = refuse_nonfinite(blocks, source)
        return _resampled(blocks, self.sample_rate, sample_rate)

    def _count_computing(self, seconds: float) -> None:
        self.compute_seconds += seconds

    def _counted(
        self, blocks: Iterable[Tensor], sample_rate: int, when_made: Callable[[float], object]
    ) -> Iterator[Tensor]:
        for block in blocks:
            seconds = block.shape[-1] / sample_rate
            self.audio_seconds += seconds
            when_made(seconds)
            yield block


class Summary(NamedTuple):
    """What was done, and how long the model took."""

    num_written: int
    num_skipped: int
    num_failed: int
    audio_seconds: float
    compute_seconds: float
    where: str
    first_error: Exception | None = None

    def text(self) -> str:
        """One line with the real-time factor: seconds of computation per second of audio. Lower is better."""
        written = "1 file" if self.num_written == 1 else f"{self.num_written} files"
        counts = f"{written} written, {self.num_skipped} skipped, {self.num_failed} failed"
        if not self.audio_seconds:
            return counts
        factor = self.compute_seconds / self.audio_seconds
        return (
            f"{counts}; {self.audio_seconds:.1f} s of audio in {self.compute_seconds:.2f} s: "
            f"real-time factor {factor:.4f} on {self.where}"
        )


def predict_files(
    predictor: Predictor,
    jobs: Sequence[Job],
    *,
    num_skipped: int = 0,
    tell: Callable[[str], object] = lambda _: None,
    console: SilentConsole | None = None,
) -> Summary:
    """Run a model on files. One that fails is told with its reason and counted, and the others go on.

    Args:
        predictor: runs the model.
        jobs: what to read, and where results go.
        num_skipped: files that were left out before, for the summary.
        tell: called with what a person should know.
        console: shows the progress. None: nothing is shown.
    """
    for folder in {job.target.parent for job in jobs}:
        sweep(folder)
    seconds = [_seconds_of(job.source) for job in jobs]
    if longest := [s for s in seconds if predictor.needs_segments(s)]:
        tell(_text_of_segments(predictor.segment, len(longest)))
    console = console or SilentConsole()
    with console.progress("predict", round(sum(seconds)) or None, unit="s of audio") as progress:
        run = _Run(predictor, tell, progress)
        for job, duration in zip(jobs, seconds):
            run.do(job, duration)
    return Summary(
        num_written=len(jobs) - run.num_failed,
        num_skipped=num_skipped,
        num_failed=run.num_failed,
        audio_seconds=predictor.audio_seconds,
        compute_seconds=predictor.compute_seconds,
        where=f"{predictor.device}, threads: {torch.get_num_threads()}",
        first_error=run.first_error,
    )


class _Run:
    """What has become of the files until now."""

    def __init__(
        self, predictor: Predictor, tell: Callable[[str], object], progress: Progress
    ) -> None:
        self.predictor, self.tell, self.progress = predictor, tell, progress
        self.num_done = self.num_failed = 0
        self.first_error: Exception | None = None
        self._place = self._end = 0.0

    def do(self, job: Job, duration: float) -> None:
        """Run the model on one file, which is so many seconds long."""
        self._end += duration
        try:
            written = self.predictor.predict(job, self._advance)
        except Exception as error:  # noqa: BLE001 - the others have nothing to do with it
            self._fail(job, error)
        else:
            if written.num_clipped:
                self.tell(_text_of_clipping(written))
        self.num_done += 1
        self._advance(self._end - self._place)

    def _fail(self, job: Job, error: Exception) -> None:
        traceback.clear_frames(error.__traceback__)  # a device may have no memory left besides
        self.num_failed += 1
        self.first_error = self.first_error or error
        self.tell(f"failed: {_text_of_error(job, error)}")

    def _advance(self, seconds: float) -> None:
        """The progress counts whole seconds."""
        before = int(self._place)
        self._place += seconds
        self.progress.advance(int(self._place) - before, self._values)

    def _values(self) -> dict[str, float]:
        made = self.predictor.audio_seconds
        factor = {"real-time factor": self.predictor.compute_seconds / made} if made else {}
        return {"files": self.num_done, **factor}


def device_of(model: Model) -> torch.device:
    """Where the weights of a model are; the CPU where it has none."""
    if isinstance(model, nn.Module):
        for tensor in chain(model.parameters(), model.buffers()):
            return tensor.device
    return torch.device("cpu")


def _resampled(blocks: Iterable[Tensor], from_rate: int, to_rate: int) -> Iterator[Tensor]:
    if from_rate == to_rate:
        return iter(blocks)
    return through(Resampling(from_rate, to_rate), blocks)


def _not_empty(blocks: Iterable[Tensor], source: Path, sample_rate: int) -> Iterator[Tensor]:
    """The blocks, if there is any. A file of one sample may have none at a lower rate."""
    is_empty = True
    for block in blocks:
        is_empty = False
        yield block
    if is_empty:
        raise AudioError(f"{source} has no samples at {sample_rate} Hz")


def _seconds_of(source: Path) -> float:
    """What the header says; 0 of a file that will be told when it is its turn."""
    try:
        info = audio_info(source)
    except AudioError:
        return 0.0
    return info.num_samples / info.sample_rate


def _text_of_segments(segment: float, num_files: int) -> str:
    files = "1 file is" if num_files == 1 else f"{num_files} files are"
    return (
        f"note: this model needs whole signals, and {files} longer than {segment:g} s. They go through in segments "
        "that overlap, which is not exactly the same; --segment SECONDS sets the limit"
    )


def _text_of_clipping(written: Written) -> str:
    samples = "1 sample" if written.num_clipped == 1 else f"{written.num_clipped} samples"
    return f"clipped: {written.paths[0]}: {samples} of the result went beyond [-1, 1], which its format cannot hold"


def _text_of_error(job: Job, error: Exception) -> str:
    if isinstance(error, AudioError):  # names the file
        return str(error)
    kind = "" if isinstance(error, AudioZENError) else f"{type(error).__name__}: "
    return f"{job.source}: {kind}{error}"
