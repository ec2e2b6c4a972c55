"""The time in which a run shows messages and has its trackers open."""

from __future__ import annotations

import logging
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from audiozen import durable_files
from audiozen.errors import RequestError
from audiozen.tracking.console import Console, SilentConsole, configure_logging
from audiozen.tracking.defaults import default_tracker
from audiozen.tracking.tracker import Tracker
from audiozen.trainer.epoch_output import fetch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from torch import Tensor


class Note(NamedTuple):
    """Something that is to be logged: a method of :class:`Session`, and what to call it with."""

    method: str
    arguments: tuple[Any, ...]


class Session:
    """Console, text log and trackers of one run, open while something goes on.

    Args:
        exp_dir: folder of the run.
        tracker: as the user gave it. None: the default ones, which are opened and closed here.
        console: as the user gave it. None: the terminal.
        is_main_process: others show nothing and write nothing.

    Attributes:
        tracker: where numbers and sounds go now; outside of a session the default ones do nothing.
        console: where progress and tables are shown.
    """

    def __init__(
        self,
        exp_dir: Path,
        tracker: Tracker | None,
        console: SilentConsole | None,
        *,
        is_main_process: bool,
    ) -> None:
        self.exp_dir = exp_dir
        self.tracker = tracker or Tracker()
        self.console = console or (Console() if is_main_process else SilentConsole())
        self._opens_tracker = tracker is None and is_main_process
        self._shows_errors_only = not is_main_process
        self._is_open = False
        self._scalars: dict[str, Tensor | float] = {}
        self._notes: list[Note] | None = None

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Show messages and open the trackers; inside of another such context, nothing changes.

        Raises:
            RequestError: the folder of the run cannot be made.
        """
        if self._is_open:
            yield
            return
        outside = self.tracker
        with ExitStack() as stack:
            if self._opens_tracker or isinstance(self.console, Console):
                self._make_folder()
            if isinstance(self.console, Console):
                name = f"{datetime.now(UTC):%Y%m%d_%H%M%S}.log"
                stack.enter_context(configure_logging(self.exp_dir / "logs" / name))
            if self._shows_errors_only:
                stack.enter_context(errors_only())
            for folder in (self.exp_dir, self.exp_dir / "metrics", self.exp_dir / "enhanced"):
                durable_files.sweep(folder)
            if self._opens_tracker:
                self.tracker = stack.enter_context(default_tracker(self.exp_dir))
            self._is_open = True
            try:
                yield
                self.tracker.flush()
            finally:
                self._is_open = False
                self.tracker = outside

    def _make_folder(self) -> None:
        try:
            self.exp_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RequestError(f"{self.exp_dir} cannot be made: {error.strerror}") from error

    @contextmanager
    def noting(self) -> Iterator[list[Note]]:
        """Within this context, what is logged is put down in a list, for :meth:`log_notes` of any process."""
        notes: list[Note] = []
        self._notes = notes
        try:
            yield notes
        finally:
            self._notes = None

    def log_notes(self, notes: Iterable[Note]) -> None:
        """Log what was put down."""
        for note in notes:
            getattr(self, note.method)(*note.arguments)

    def keep(self, name: str, value: Tensor | float) -> None:
        """Take note of a number, which stays where it is until it is written."""
        if self._notes is not None:
            self._notes.append(Note("keep", (name, value)))
        else:
            self._scalars[name] = value

    def take_kept(self) -> dict[str, float]:
        """The numbers that were kept, which are now kept no longer."""
        values = dict(zip(self._scalars, fetch(list(self._scalars.values()))))
        self._scalars.clear()
        return values

    def log_sound(self, name: str, waveform: Any, sample_rate: int, step: int) -> None:
        """Give the trackers a sound, and its spectrogram."""
        if self._notes is not None:
            # A copy, as the model may write to its buffers again.
            sound = torch.as_tensor(waveform).detach().cpu().clone()
            self._notes.append(Note("log_sound", (name, sound, sample_rate, step)))
        else:
            self.tracker.log_audio(name, waveform, sample_rate, step=step)
            self.tracker.log_spectrogram(name, waveform, sample_rate, step=step)

    def write_now(self, scalars: Mapping[str, Tensor | float], *, step: int, epoch: int) -> None:
        """Give the trackers numbers, with one transfer from the device; what is kept stays so."""
        values = fetch(list(scalars.values()))
        self.tracker.log_scalars(dict(zip(scalars, values)), step=step, epoch=epoch)

    def write(self, *, step: int, epoch: int, again: bool = False) -> None:
        """Give the trackers what was kept, with one transfer from the device.

        Args:
            step: at which it was measured.
            epoch: in which that was.
            again: the same may have been written before at this step; it is superseded.
        """
        if self._scalars and again:
            self.tracker.supersede(self._scalars, step=step)
        if self._scalars:
            self.tracker.log_scalars(self.take_kept(), step=step, epoch=epoch)


@contextmanager
def errors_only() -> Iterator[None]:
    """Within this context, AudioZEN logs nothing but errors; what all processes have to say is said by the main one."""
    logger = logging.getLogger("audiozen")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
