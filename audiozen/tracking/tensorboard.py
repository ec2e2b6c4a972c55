"""TensorBoard event files: curves, sound, spectrograms and texts."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from typing_extensions import override

from audiozen.tracking.spectrogram import mono, spectrogram_image
from audiozen.tracking.tracker import Tracker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch.utils.tensorboard import SummaryWriter

    from audiozen.tracking.tracker import Waveform

logger = logging.getLogger(__name__)

_PREFIX = "events.out.tfevents."


class TensorBoardTracker(Tracker):
    """Writes event files into a folder. The first thing logged opens a new file in it.

    Sound is never clipped: where its peak is above 1, it is scaled down to that, a scalar
    ``<name>/gain_db`` tells by how much, and the first time a message does. Everything else keeps
    its level, so that sounds can be compared. NaN and infinities in sound become silence.
    Spectrograms are named ``<name>/spectrogram``, since TensorBoard shows only one kind of thing
    per name.

    Args:
        log_dir: folder of the event files of this run, created if missing.
    """

    def __init__(self, log_dir: Path | str) -> None:
        self.log_dir = Path(log_dir)
        self._opened: SummaryWriter | None = None
        self._told: set[str] = set()

    @override
    def log_scalars(self, scalars: Mapping[str, float], *, step: int, epoch: int) -> None:
        for name, value in scalars.items():
            self._writer.add_scalar(name, float(value), step)

    def log_audio(self, name: str, waveform: Waveform, sample_rate: int, *, step: int) -> None:
        """Log a sound.

        Raises:
            ShapeError: the waveform does not have exactly one axis.
        """
        samples = mono(waveform)
        peak = float(samples.abs().max()) if len(samples) else 0.0
        if peak > 1:
            samples = (samples / peak).clamp(-1, 1)
            self._tell_gain(name, -20 * math.log10(peak), step)
        # The writer takes neither no sample nor a single one.
        padded = torch.nn.functional.pad(samples, (0, max(0, 2 - len(samples))))
        self._writer.add_audio(name, padded, step, sample_rate)

    def log_spectrogram(
        self, name: str, waveform: Waveform, sample_rate: int, *, step: int
    ) -> None:
        """Log a picture of a sound, as `spectrogram_image` draws it.

        Raises:
            ShapeError: the waveform does not have exactly one axis.
        """
        image = spectrogram_image(waveform, sample_rate)
        self._writer.add_image(f"{name}/spectrogram", image, step, dataformats="HWC")

    @override
    def log_text(self, name: str, text: str, *, step: int) -> None:
        self._writer.add_text(name, text, step)

    def rewind(self, step: int) -> None:
        """Have readers drop everything beyond ``step``, by an event that says so."""
        self.close()
        if self._event_files():
            self._opened = self._open(purge_step=step + 1)
            self._opened.flush()

    @override
    def flush(self) -> None:
        if self._opened is not None:
            self._opened.flush()

    @override
    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    @property
    def _writer(self) -> SummaryWriter:
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    def _open(self, purge_step: int | None = None) -> SummaryWriter:
        from torch.utils.tensorboard import SummaryWriter

        self._wait_for_a_later_name()
        folder = str(self.log_dir)
        return SummaryWriter(folder, purge_step=purge_step)

    def _event_files(self) -> list[Path]:
        return sorted(self.log_dir.glob(f"{_PREFIX}*"))

    def _wait_for_a_later_name(self) -> None:
        """Readers take event files in the order of their names, which hold the second of opening.

        Two of the same second may come in the wrong order, so that what was superseded would win.
        """
        newest = max((_second(path) for path in self._event_files()), default=0)
        ahead = newest + 1 - time.time()
        if ahead > 1:
            logger.warning(
                "%s has event files of a clock ahead of this one: TensorBoard may show old values",
                self.log_dir,
            )
        elif ahead > 0:
            time.sleep(ahead)

    def _tell_gain(self, name: str, gain_db: float, step: int) -> None:
        self._writer.add_scalar(f"{name}/gain_db", gain_db, step)
        if name not in self._told:
            self._told.add(name)
            logger.warning(
                "%s at step %d exceeds full scale: written %.1f dB softer; see %s/gain_db",
                name,
                step,
                -gain_db,
                name,
            )


def _second(path: Path) -> int:
    digits = path.name.removeprefix(_PREFIX).split(".")[0]
    return int(digits) if digits.isdigit() else 0
