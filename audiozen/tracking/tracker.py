"""What a tracker is, the one that does nothing, and several at once.

Here belongs the interface only: where things are written is told by the modules beside this one::

    with Trackers([JsonlTracker("metrics.jsonl"), TensorBoardTracker("tb")]) as tracker:
        tracker.rewind(120)  # resumed at step 120: what was logged beyond it is logged again
        tracker.log_scalars({"train/loss": 0.12}, step=121, epoch=3)
        tracker.log_audio("valid/p232_001", enhanced, 16_000, step=121)
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import numpy as np
    import torch

    Waveform: TypeAlias = torch.Tensor | np.ndarray[Any, np.dtype[Any]]

__all__ = ["Tracker", "Trackers"]

logger = logging.getLogger(__name__)


class Tracker:
    """A tracker that does nothing. Others override what they can write.

    This object, not ``None``, stands for "no tracking", so that nobody has to ask. A (name, step)
    pair is logged once; to log it again, call `rewind` or `supersede` first.
    """

    def log_scalars(self, scalars: Mapping[str, float], *, step: int, epoch: int) -> None:
        """Log numbers.

        Args:
            scalars: values by name; a ``/`` in a name makes a group. NaN and infinities are
                allowed.
            step: optimizer updates made so far.
            epoch: passes over the data begun so far.
        """

    def log_audio(self, name: str, waveform: Waveform, sample_rate: int, *, step: int) -> None:
        """Log a sound that can be played.

        Args:
            name: what it is called; the same over the steps.
            waveform: shape ``(time,)``, in [-1, 1], on any device.
            sample_rate: samples per second, in Hz.
            step: optimizer updates made so far.
        """

    def log_spectrogram(
        self, name: str, waveform: Waveform, sample_rate: int, *, step: int
    ) -> None:
        """Log a picture of a sound. Arguments as in `log_audio`."""

    def log_text(self, name: str, text: str, *, step: int) -> None:
        """Log a text, which may be Markdown."""

    def rewind(self, step: int) -> None:
        """Forget everything beyond ``step``. Called after a resume, before training goes on."""

    def supersede(self, names: Iterable[str], *, step: int) -> None:
        """Forget the numbers logged by these names at this step, since they are about to be logged again.

        Called where something is done twice at one step: a validation that was interrupted, or a second test of the
        same checkpoint.
        """

    def flush(self) -> None:
        """Put everything logged so far on the disk, so that neither a kill nor a power cut can lose it.

        Called before a checkpoint is committed: what is logged up to a checkpoint is not logged again after a resume.
        The thread that writes the checkpoint calls it, while the training may go on logging.
        """

    def close(self) -> None:
        """Flush, and let go of the files."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


class Trackers(Tracker):
    """Several trackers at once, none of which can stop the training or the others.

    An exception of one of them is told through logging, once per tracker, and counted in
    ``num_failures``; the tracker is asked again the next time, since a full disk may be emptied.
    `close` tells the counts.

    Args:
        trackers: in the order in which they are called.
    """

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self.trackers = tuple(trackers)
        self.num_failures: Counter[str] = Counter()
        """Calls that failed, by the tracker's name (its class)."""

    @override
    def log_scalars(self, scalars: Mapping[str, float], *, step: int, epoch: int) -> None:
        self._each(lambda tracker: tracker.log_scalars(scalars, step=step, epoch=epoch))

    @override
    def log_audio(self, name: str, waveform: Waveform, sample_rate: int, *, step: int) -> None:
        self._each(lambda tracker: tracker.log_audio(name, waveform, sample_rate, step=step))

    @override
    def log_spectrogram(
        self, name: str, waveform: Waveform, sample_rate: int, *, step: int
    ) -> None:
        self._each(lambda tracker: tracker.log_spectrogram(name, waveform, sample_rate, step=step))

    @override
    def log_text(self, name: str, text: str, *, step: int) -> None:
        self._each(lambda tracker: tracker.log_text(name, text, step=step))

    @override
    def rewind(self, step: int) -> None:
        self._each(lambda tracker: tracker.rewind(step))

    @override
    def supersede(self, names: Iterable[str], *, step: int) -> None:
        names = tuple(names)
        self._each(lambda tracker: tracker.supersede(names, step=step))

    @override
    def flush(self) -> None:
        self._each(lambda tracker: tracker.flush())

    @override
    def close(self) -> None:
        self._each(lambda tracker: tracker.close())
        for name, count in self.num_failures.items():
            logger.warning("%s failed %d times: what it was given then is missing", name, count)

    def _each(self, call: Callable[[Tracker], None]) -> None:
        for tracker in self.trackers:
            try:
                call(tracker)
            except Exception as error:  # noqa: BLE001 - a log is not worth a run of days
                self._tell(type(tracker).__name__, error)

    def _tell(self, name: str, error: Exception) -> None:
        self.num_failures[name] += 1
        if self.num_failures[name] == 1:
            logger.warning(
                "%s failed and training goes on without it; told only once: %s: %s",
                name,
                type(error).__name__,
                error,
            )
