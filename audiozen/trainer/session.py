"""The time in which a run shows messages and has its trackers open."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from audiozen import durable_files
from audiozen.errors import RequestError
from audiozen.tracking.console import Console, SilentConsole, configure_logging
from audiozen.tracking.defaults import default_tracker
from audiozen.tracking.tracker import Tracker
from audiozen.trainer.epoch_output import fetch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor


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
        self._is_open = False
        self._scalars: dict[str, Tensor | float] = {}

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

    def keep(self, name: str, value: Tensor | float) -> None:
        """Take note of a number, which stays where it is until it is written."""
        self._scalars[name] = value

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
            values = fetch(list(self._scalars.values()))
            self.tracker.log_scalars(dict(zip(self._scalars, values)), step=step, epoch=epoch)
            self._scalars.clear()
