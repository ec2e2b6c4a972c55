"""A trace of a few steps of training, for a viewer: what ``audiozen train --profile`` writes."""

from __future__ import annotations

import gzip
import logging
import shutil
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from audiozen.trainer.step_parts import STEP, marked, replaced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from audiozen.trainer.base_trainer import BaseTrainer

logger = logging.getLogger(__name__)

NUM_SKIPPED, NUM_WARM_UP, NUM_RECORDED = 3, 2, 10
"""Steps: those that pay for set-up, those that pay for the start of the profiler, those in the trace."""
MAX_PLAIN_BYTES = 16 * 2**20
"""Larger traces are compressed."""
OPERATORS = "operators.txt"
NUM_OPERATORS = 100
"""Lines of the table."""


@contextmanager
def profiled(trainer: BaseTrainer) -> Iterator[Recording | None]:
    """Within this context, the main process records steps of a training and writes them to ``profile/`` of its folder.

    ``trace.json`` (``trace.json.gz`` where it is large) has the operators, what a GPU does, and as labelled ranges the
    steps and their parts, which :mod:`audiozen.trainer.step_parts` names; ``operators.txt`` has the operators in the
    order of the time that they take themselves. The steps are of the first epoch that is trained. What is trained does
    not depend on it. A disk that refuses the files is told.

    Args:
        trainer: trained within the context.

    Yields:
        The recording; None on other processes than the main one.
    """
    if not trainer.is_main_process:
        yield None
        return
    recording = Recording(trainer.folder.profile, with_cuda=trainer.device.type == "cuda")
    with recording.marks, replaced(trainer, "after_epoch", recording.before):
        recording.marks.enter_context(marked(trainer, recording.around))
        try:
            yield recording
        finally:
            recording.end()


class Recording:
    """Records a few steps while they are made, and writes down what it has.

    Args:
        folder: of the files.
        with_cuda: whether to record what the GPU does, too.

    Attributes:
        trace: the file, when it is written.
        marks: left as soon as the recording is over, so that further steps are made without it.
    """

    def __init__(self, folder: Path, *, with_cuda: bool = False) -> None:
        from torch.profiler import ProfilerActivity, profile, record_function, schedule

        self.folder = folder
        self.trace: Path | None = None
        self.marks = ExitStack()
        self._order = "self_device_time_total" if with_cuda else "self_cpu_time_total"
        self._range: Callable[[str], AbstractContextManager[object]] = record_function
        self._profiler = profile(
            activities=[ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * with_cuda,
            schedule=schedule(
                skip_first=1,  # what there is before the first step
                wait=NUM_SKIPPED,
                warmup=NUM_WARM_UP,
                active=NUM_RECORDED,
                repeat=1,
            ),
            on_trace_ready=self._write,
            acc_events=True,
        )
        self._profiler.start()
        self._is_over = False

    def around(self, name: str) -> AbstractContextManager[object]:
        """A range of the trace; before that of a step, the step before has ended."""
        if name == STEP and not self._is_over:
            self._profiler.step()
            if self.trace is not None:
                self.end()
        return nullcontext() if self._is_over else self._range(name)

    def before(self, function: Callable[[], None]) -> Callable[[], None]:
        """``function``, but the recording ends before it."""

        def end_first() -> None:
            self.end()
            function()

        return end_first

    def end(self) -> None:
        """Write what was recorded, if it is not written, and let the trainer alone."""
        if not self._is_over:
            self._is_over = True
            self._profiler.stop()
            self.marks.close()

    def told(self) -> str:
        """Where the files are and what opens them; or why there are none."""
        if self.trace is None:
            first = NUM_SKIPPED + NUM_WARM_UP
            return f"no profile: the first epoch ended before step {first + 1}, or see above"
        return (
            f"profile: open {self.trace} in https://ui.perfetto.dev or chrome://tracing; the operators by time are in "
            f"{self.folder / OPERATORS}"
        )

    def _write(self, profiler: Any) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            table = profiler.key_averages().table(sort_by=self._order, row_limit=NUM_OPERATORS)
            (self.folder / OPERATORS).write_text(table, encoding="utf-8")
            trace = self.folder / "trace.json"
            profiler.export_chrome_trace(str(trace))
            self.trace = compressed(trace) if trace.stat().st_size > MAX_PLAIN_BYTES else trace
        except (OSError, RuntimeError) as error:
            logger.error("the profile could not be written: %s; training goes on", error)  # noqa: TRY400 - told, not traced


def compressed(path: Path) -> Path:
    """The file as ``<name>.gz``, in its place."""
    target = path.with_name(f"{path.name}.gz")
    with path.open("rb") as plain, gzip.open(target, "wb", compresslevel=6) as packed:
        shutil.copyfileobj(plain, packed)
    path.unlink()
    return target
