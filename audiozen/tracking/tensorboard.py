"""TensorBoard event files: curves, sound, spectrograms and texts."""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from typing_extensions import override

from audiozen.durable_files import make_folders
from audiozen.tracking.event_file import EventFile, audio, image, markdown, scalar
from audiozen.tracking.spectrogram import mono, spectrogram_image
from audiozen.tracking.tracker import Tracker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from audiozen.tracking.tracker import Waveform

__all__ = ["TensorBoardTracker"]

logger = logging.getLogger(__name__)

_PREFIX = "events.out.tfevents."


class TensorBoardTracker(Tracker):
    """Writes event files into a folder. The first thing logged opens a new file in it.

    Sound is never clipped: where its peak is above 1, it is scaled down to that, a scalar
    ``<name>/gain_db`` tells by how much, and the first time a message does. Everything else keeps
    its level, so that sounds can be compared. NaN and infinities in sound become silence.
    Spectrograms are named ``<name>/spectrogram``, since TensorBoard shows only one kind of thing
    per name.

    An event file can only make readers forget everything from a step on. So after `supersede`, what was logged before
    stays: where a validation is done twice at one step, readers find the old value and then the new one.

    Args:
        log_dir: folder of the event files of this run, created if missing.
    """

    def __init__(self, log_dir: Path | str) -> None:
        self.log_dir = Path(log_dir)
        self._opened: EventFile | None = None
        self._told: set[str] = set()

    @override
    def log_scalars(self, scalars: Mapping[str, float], *, step: int, epoch: int) -> None:
        self._file.write(*(scalar(name, value) for name, value in scalars.items()), step=step)

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
        # Readers take neither no sample nor a single one.
        padded = torch.nn.functional.pad(samples, (0, max(0, 2 - len(samples))))
        self._file.write(audio(name, padded.numpy(), sample_rate), step=step)

    def log_spectrogram(
        self, name: str, waveform: Waveform, sample_rate: int, *, step: int
    ) -> None:
        """Log a picture of a sound, as `spectrogram_image` draws it.

        Raises:
            ShapeError: the waveform does not have exactly one axis.
        """
        pixels = spectrogram_image(waveform, sample_rate)
        self._file.write(image(f"{name}/spectrogram", pixels), step=step)

    @override
    def log_text(self, name: str, text: str, *, step: int) -> None:
        self._file.write(markdown(name, text), step=step)

    def rewind(self, step: int) -> None:
        """Have readers drop everything beyond ``step``, by an event that says so."""
        self.close()
        if self._event_files():
            self._file.start_session(step + 1)

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
    def _file(self) -> EventFile:
        if self._opened is None:
            make_folders(self.log_dir)
            self._opened = EventFile(self._new_path())
        return self._opened

    def _event_files(self) -> list[Path]:
        return sorted(self.log_dir.glob(f"{_PREFIX}*"))

    def _new_path(self) -> Path:
        """A name behind all others: readers take event files in the order of their names.

        A name holds the second of opening, or a later one where a file has that or, since the clock was set back, one
        that is still to come.
        """
        newest = max((_second(path) for path in self._event_files()), default=0)
        second = max(int(time.time()), newest + 1)
        return self.log_dir / f"{_PREFIX}{second:010d}.{socket.gethostname()}.{os.getpid()}"

    def _tell_gain(self, name: str, gain_db: float, step: int) -> None:
        self._file.write(scalar(f"{name}/gain_db", gain_db), step=step)
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
