"""Sound and pictures of it as text that a page can hold."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from audiozen.errors import AudioError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    Array = np.ndarray[Any, np.dtype[Any]]

MAX_SECONDS = 30.0
FLOOR_DB = -100.0
"""What is drawn darkest. 0 dB, the lightest, is a sine of amplitude 1: the scale of the pictures in TensorBoard."""
WINDOW_MS = 32.0
MAX_COLUMNS = 600
MAX_ROWS = 257
NUM_COLOURS = 64
# Lightness rises from the first colour to the last, so that the picture also reads in grey.
_COLOURS = ((0, 0, 8), (45, 16, 100), (125, 30, 120), (205, 55, 90), (250, 130, 50), (252, 250, 190))  # fmt: skip


@dataclass(frozen=True)
class Signal:
    """One role of an example, encoded."""

    role: str
    sample_rate: int
    """In Hz."""
    seconds: float
    """As embedded."""
    full_seconds: float
    """As in the file."""
    num_channels: int
    rms_dbfs: float | None
    """Level of what is embedded, before the common gain; None where it is silent."""
    peak_dbfs: float | None
    num_nonfinite: int
    """Samples that are NaN or infinite and are played as 0."""
    flac: str
    """16-bit FLAC in base64."""
    spectrogram: str
    """PNG in base64: time to the right, 0 Hz to half the sample rate upwards."""

    @property
    def num_bytes(self) -> int:
        """What it takes in the page."""
        return len(self.flac) + len(self.spectrogram)


def encode(files: Mapping[str, Path]) -> tuple[list[Signal], float]:
    """Encode the signals of one example, with their levels as they are.

    Where any of them exceeds full scale, all of them are turned down by one common gain.

    Args:
        files: sound files by role.

    Returns:
        The signals in the order of ``files``, and the common gain in dB (0 or less).

    Raises:
        AudioError: a file cannot be read. The text names it.
    """
    read = {role: _read(path) for role, path in files.items()}
    peak = max((float(np.abs(clip.samples).max(initial=0)) for clip in read.values()), default=0)
    gain = 1 / peak if peak > 1 else 1.0
    return [_signal(role, clip, gain) for role, clip in read.items()], 20 * math.log10(gain)


def to_int16(samples: Array) -> Array:
    """The nearest 16-bit integers; what a 16-bit file holds comes back bit for bit. +1 becomes 32767."""
    return np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)


def spectrogram_levels(samples: Array, sample_rate: int) -> Array:
    """Magnitude of the short-time Fourier transform, in dB relative to a sine of amplitude 1.

    Hann windows of about 32 ms (the next power of two), a quarter of it from one to the next. Of many neighbouring
    frames, bins and channels the loudest is kept.

    Args:
        samples: shape ``(time, channels)``.
        sample_rate: in Hz.

    Returns:
        Shape ``(num_rows, num_columns)``, at most `MAX_ROWS` by `MAX_COLUMNS`, low frequencies first.
    """
    n_fft = 1 << math.ceil(math.log2(WINDOW_MS / 1000 * sample_rate))
    window = np.hanning(n_fft + 1)[:-1].astype(np.float32)
    levels = [_levels(channel, window) for channel in samples.T]
    return _loudest(_loudest(np.max(levels, axis=0), MAX_COLUMNS, 1), MAX_ROWS, 0)


def spectrogram_png(samples: Array, sample_rate: int) -> bytes:
    """A spectrogram as a picture: high frequencies at the top, colours from `FLOOR_DB` to 0 dB."""
    return _png(_colour_of(spectrogram_levels(samples, sample_rate))[::-1])


def colour_bar_png() -> bytes:
    """All colours, 0 dB at the top."""
    return _png(np.arange(NUM_COLOURS, dtype=np.uint8)[::-1, None])


def as_base64(content: bytes) -> str:
    """Bytes as text."""
    return base64.b64encode(content).decode()


@dataclass(frozen=True)
class _Clip:
    samples: Array
    sample_rate: int
    full_seconds: float
    num_nonfinite: int


def _read(path: Path) -> _Clip:
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            rate, full = file.samplerate, file.frames / file.samplerate
            samples = file.read(int(MAX_SECONDS * rate), dtype="float32", always_2d=True)
    except (OSError, soundfile.SoundFileError) as error:
        raise AudioError(f"cannot read {path}: {error}") from error
    if not len(samples):
        raise AudioError(f"cannot show {path}: it has no samples")
    bad = int((~np.isfinite(samples)).sum())
    return _Clip(np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0), rate, full, bad)


def _signal(role: str, clip: _Clip, gain: float) -> Signal:
    samples, rate = clip.samples * np.float32(gain), clip.sample_rate
    return Signal(
        role=role,
        sample_rate=rate,
        seconds=len(samples) / rate,
        full_seconds=clip.full_seconds,
        num_channels=samples.shape[1],
        rms_dbfs=_dbfs(float(np.sqrt(np.mean(np.square(clip.samples, dtype=np.float64))))),
        peak_dbfs=_dbfs(float(np.abs(clip.samples).max())),
        num_nonfinite=clip.num_nonfinite,
        flac=as_base64(_flac(to_int16(samples), rate)),
        spectrogram=as_base64(spectrogram_png(samples, rate)),
    )


def _dbfs(amplitude: float) -> float | None:
    return round(20 * math.log10(amplitude), 1) if amplitude > 0 else None


def _flac(samples: Array, sample_rate: int) -> bytes:
    import soundfile

    buffer = io.BytesIO()
    try:
        soundfile.write(buffer, samples, sample_rate, subtype="PCM_16", format="FLAC")
    except (ValueError, soundfile.SoundFileError) as error:
        raise AudioError(
            f"{samples.shape[1]} channels at {sample_rate} Hz cannot be written as FLAC: {error}"
        ) from error
    return buffer.getvalue()


def _levels(samples: Array, window: Array) -> Array:
    """Shape ``(num_freqs, frames)``, dB, of one channel."""
    n_fft = len(window)
    padded = np.pad(samples.astype(np.float32), n_fft // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[:: n_fft // 4]
    amplitude = np.abs(np.fft.rfft(frames * window)).T * (2 / window.sum())
    levels: Array = 20 * np.log10(np.maximum(amplitude, 10 ** (FLOOR_DB / 20)))
    return levels


def _loudest(levels: Array, most: int, axis: int) -> Array:
    """Keep the greatest of so many neighbours that at most ``most`` are left along an axis."""
    starts = np.arange(0, levels.shape[axis], math.ceil(levels.shape[axis] / most))
    loudest: Array = np.maximum.reduceat(levels, starts, axis=axis)
    return loudest


def _colour_of(levels: Array) -> Array:
    brightness = 1 + np.clip(levels, FLOOR_DB, 0) / -FLOOR_DB
    return np.rint(brightness * (NUM_COLOURS - 1)).astype(np.uint8)


def _palette() -> bytes:
    stops, wanted = np.linspace(0, 1, len(_COLOURS)), np.linspace(0, 1, NUM_COLOURS)
    channels = [np.interp(wanted, stops, channel) for channel in np.array(_COLOURS).T]
    return np.stack(channels, axis=-1).round().astype(np.uint8).tobytes()


def _png(colours: Array) -> bytes:
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(colours))
    picture.putpalette(_palette())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
