"""Reading and writing sound files. Waveforms are float32 tensors with values in [-1, 1].

::

    info = audio_info("speech.flac")
    waveform = read_audio("speech.flac", start=8_000, num_samples=16_000)  # reads only that second
    write_audio("half.wav", 0.5 * waveform, info.sample_rate)
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from audiozen.data.packed import find_packed, is_packed
from audiozen.data.wav import Segment, read_wav
from audiozen.durable_files import replaced
from audiozen.errors import AudioError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "AudioFormat",
    "AudioInfo",
    "audio_format",
    "audio_info",
    "find_audio",
    "read_audio",
    "read_blocks",
    "resample",
    "write_audio",
]

AUDIO_SUFFIXES = (".wav", ".flac")

_WAV = (".wav", ".WAV")

# A program that writes into a pipe cannot know the size and states about the greatest there is.
_UNKNOWN_SIZE = 2**31 - 2**16


class AudioInfo(NamedTuple):
    """What the header of a sound file says."""

    sample_rate: int
    """In Hz."""
    num_samples: int
    """Per channel."""
    num_channels: int


class AudioFormat(NamedTuple):
    """How a sound file keeps its samples, in the words of libsndfile."""

    container: str
    """Such as ``"WAV"``, ``"RF64"`` (a wav file beyond 4 GB) or ``"FLAC"``."""
    subtype: str
    """Such as ``"PCM_16"``, ``"PCM_24"`` or ``"FLOAT"``."""


def audio_info(path: str | Path) -> AudioInfo:
    """Sample rate, length and channels of a sound file, from its header.

    Args:
        path: as :func:`read_audio` takes it.

    Raises:
        AudioError: the file is missing, empty, truncated (where the header shows it), or no audio.
    """
    if is_packed(path):
        _, signal = find_packed(path)
        return AudioInfo(signal.sample_rate, signal.num_samples, 1)
    with _opened(path) as file:
        return AudioInfo(file.samplerate, file.frames, file.channels)


def audio_format(path: str | Path) -> AudioFormat:
    """How a sound file keeps its samples, from its header.

    Args:
        path: a wav or flac file, or another one that libsndfile knows.

    Raises:
        AudioError: as :func:`audio_info`.
    """
    with _opened(path) as file:
        return AudioFormat(file.format, file.subtype)


def read_audio(
    path: str | Path,
    *,
    start: int = 0,
    num_samples: int | None = None,
    sample_rate: int | None = None,
    expected_rate: int | None = None,
    channel: int | Literal["error", "mean"] = "error",
) -> Tensor:
    """Read a sound file, or a segment of it; nothing else is read.

    Args:
        path: a wav or flac file, or another one that libsndfile knows, or a signal of a pack (see
            :mod:`audiozen.data.packed`).
        start: first sample, counted in samples **of the file**, also where ``sample_rate`` differs.
        num_samples: length of the segment, in samples of the file; None reads to the end.
        sample_rate: resample to this rate, in Hz (see :func:`resample`); None keeps the file's.
        expected_rate: refuse a file of another rate, in Hz; None takes any.
        channel: what to do with more than one channel. ``"error"`` refuses the file, ``"mean"``
            averages them, a number picks one (from 0).

    Returns:
        Shape ``(time,)``, float32. Integer formats come to [-1, 1); float formats as they are.

    Raises:
        AudioError: the file is missing, empty, truncated or no audio, the segment is not inside
            it or has samples that are NaN or infinite, or the file does not have that channel or
            rate. The text names the file.
    """
    segment = _read(path, start, num_samples, expected_rate)
    samples = _one_channel(path, segment.frames, channel)
    if segment.is_float:
        _refuse_nonfinite(path, samples, start)
    waveform = torch.from_numpy(samples)
    if sample_rate is None:
        return waveform
    return resample(waveform, segment.sample_rate, sample_rate)


def read_blocks(
    path: str | Path,
    num_samples: int,
    *,
    channel: int | Literal["error", "mean", "each"] = "error",
) -> Iterator[Tensor]:
    """Read a sound file of any length from its beginning to its end; one block at a time is in memory.

    Args:
        path: a wav or flac file, or another one that libsndfile knows.
        num_samples: length of a block. The last one has what is left.
        channel: as :func:`read_audio` takes it; ``"each"`` gives all of them.

    Yields:
        Shape ``(channels, time)``, float32: one channel, unless it is ``"each"``.

    Raises:
        AudioError: as :func:`read_audio`, when the block is reached that shows it.
    """
    with _opened(path) as file:
        there, is_float = _checked_length(path, file.frames, 0, None), not _is_pcm(file)
        for start in range(0, there, num_samples):
            wanted = min(num_samples, there - start)
            frames = file.read(wanted, dtype="float32", always_2d=True)
            _refuse_short(path, start, wanted, len(frames))
            samples = frames.T if channel == "each" else _one_channel(path, frames, channel)[None]
            for row in samples if is_float else ():
                _refuse_nonfinite(path, row, start)
            yield torch.from_numpy(np.ascontiguousarray(samples))


def write_audio(
    path: str | Path, waveform: Tensor | np.ndarray[Any, Any], sample_rate: int
) -> None:
    """Write a sound file, complete or not at all. Folders are made where they are missing.

    The ending decides the format. Values within [-1, 1] are written as 16-bit integers (+1 becomes
    the greatest one, 32767 / 32768). Nothing is ever clipped: a louder signal is written as 32-bit
    float to wav, and refused for flac, which has no such format.

    Args:
        path: ends in ``.wav`` or ``.flac``.
        waveform: shape ``(time,)`` or ``(channels, time)``.
        sample_rate: in Hz.

    Raises:
        AudioError: another ending or shape, no samples, NaN or infinite samples, a flac beyond
            [-1, 1], or the disk refuses. The text names the file.
    """
    import soundfile

    path = Path(path)
    samples = torch.as_tensor(waveform).detach().to("cpu", torch.float32)
    subtype = _subtype(path, samples)
    try:
        with replaced(path) as partial:
            soundfile.write(
                partial, samples.numpy().T, sample_rate, subtype, format=path.suffix[1:].upper()
            )
    except (OSError, soundfile.SoundFileError) as error:
        raise AudioError(f"cannot write {path}: {error}") from error


def resample(waveform: Tensor, from_rate: float, to_rate: float) -> Tensor:
    """Resample with the high-quality filter of soxr, which keeps the signal in its place.

    Not differentiable. What is above half of the lower rate is removed. Equal rates give the
    waveform itself.

    Args:
        waveform: shape ``(..., time)``, on the CPU.
        from_rate: in Hz.
        to_rate: in Hz.

    Returns:
        Shape ``(..., time * to_rate / from_rate)``, rounded; float32.

    Raises:
        AudioError: a rate is not positive, or there is no sample.
    """
    import soxr

    if from_rate <= 0 or to_rate <= 0:
        raise AudioError(f"cannot resample from {from_rate} Hz to {to_rate} Hz: not positive")
    if waveform.numel() == 0:
        raise AudioError(f"cannot resample a waveform of shape {tuple(waveform.shape)}: no samples")
    if from_rate == to_rate:
        return waveform
    channels = waveform.detach().to(torch.float32).reshape(-1, waveform.shape[-1])
    resampled = [soxr.resample(row.numpy(), from_rate, to_rate) for row in channels]
    return torch.from_numpy(np.stack(resampled)).reshape(*waveform.shape[:-1], -1)


def find_audio(folder: str | Path) -> list[Path]:
    """All wav and flac files in ``folder`` and below, in an order that is the same everywhere.

    Linked folders are entered; hidden files and folders are left out.

    Raises:
        AudioError: there is no such folder.
    """
    if not Path(folder).is_dir():
        raise AudioError(f"cannot look for audio in {folder}: there is no such folder")
    return sorted(_walk(Path(folder)), key=lambda path: path.parts)


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if name.lower().endswith(AUDIO_SUFFIXES) and not name.startswith("."):
                yield Path(parent, name)


def _read(
    path: str | Path, start: int, num_samples: int | None, expected_rate: int | None
) -> Segment:
    if is_packed(path):
        return _read_packed(path, start, num_samples, expected_rate)
    plain = read_wav(path, start, num_samples) if os.fspath(path).endswith(_WAV) else None
    if plain is None:
        return _read_file(path, start, num_samples, expected_rate)
    _refuse_other_rate(path, plain.sample_rate, expected_rate)
    return plain


def _read_packed(
    path: str | Path, start: int, num_samples: int | None, expected_rate: int | None
) -> Segment:
    pack, signal = find_packed(path)
    _refuse_other_rate(path, signal.sample_rate, expected_rate)
    wanted = _checked_length(path, signal.num_samples, start, num_samples)
    frames = pack.samples(signal, start, wanted)[:, None]
    return Segment(signal.sample_rate, frames, is_float=False)


def _read_file(
    path: str | Path, start: int, num_samples: int | None, expected_rate: int | None
) -> Segment:
    with _opened(path) as file:
        _refuse_other_rate(path, file.samplerate, expected_rate)
        wanted = _checked_length(path, file.frames, start, num_samples)
        if start:
            file.seek(start)
        frames = file.read(wanted, dtype="float32", always_2d=True)
        sample_rate, is_float = file.samplerate, not _is_pcm(file)
    _refuse_short(path, start, wanted, len(frames))
    return Segment(sample_rate, frames, is_float)


def _is_pcm(file: Any) -> bool:
    """Whether the samples are integers, which are never NaN."""
    return bool(file.subtype.startswith("PCM_"))


@contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    """An open ``soundfile.SoundFile``; whatever goes wrong with it becomes an AudioError."""
    import soundfile

    try:
        with Path(path).open("rb") as content:  # says why it cannot be read; libsndfile does not
            if not os.fstat(content.fileno()).st_size:
                raise AudioError(f"{path} is empty (0 bytes); fetch or make it again")
        with soundfile.SoundFile(path) as file:
            _refuse_truncated(path, file.extra_info)
            yield file
    except OSError as error:
        raise AudioError(f"cannot read {path}: {error.strerror or error}") from error
    except soundfile.SoundFileError as error:
        reason = getattr(error, "error_string", None) or str(error)
        raise AudioError(
            f"cannot read {path} as audio (truncated or no audio): {reason}"
        ) from error


def _refuse_truncated(path: str | Path, log: str) -> None:
    """Of a short wav file, libsndfile reads what is there, and only its log tells."""
    promise = re.search(r"^data : (\d+) \(should be (\d+)\)", log, re.MULTILINE)
    if promise and int(promise[2]) < int(promise[1]) < _UNKNOWN_SIZE:
        raise AudioError(
            f"{path} is truncated: its header promises {promise[1]} bytes of samples, there are "
            f"{promise[2]}; fetch or make it again"
        )


def _refuse_short(path: str | Path, start: int, wanted: int, found: int) -> None:
    if found != wanted:
        raise AudioError(
            f"{path} is truncated: its header promises {start + wanted} samples, and reading from "
            f"{start} gave {found} of {wanted}; fetch or make it again"
        )


def _refuse_other_rate(path: str | Path, found: int, expected: int | None) -> None:
    if expected is not None and found != expected:
        raise AudioError(
            f"{path} has {found} Hz, and {expected} Hz were expected; convert it, or read it with "
            f"sample_rate={expected}"
        )


def _refuse_nonfinite(path: str | Path, samples: np.ndarray[Any, Any], start: int) -> None:
    finite = np.isfinite(samples)
    if not finite.all():
        raise AudioError(
            f"{path} has samples that are NaN or infinite: {np.count_nonzero(~finite)} of "
            f"{len(samples)} read, the first at {start + int(finite.argmin())} (counted from 0); "
            "make it again"
        )


def _checked_length(path: str | Path, there: int, start: int, num_samples: int | None) -> int:
    if there == 0:
        raise AudioError(f"{path} has no samples")
    length = there - start if num_samples is None else num_samples
    if start < 0 or length < 1 or start + length > there:
        raise AudioError(
            f"{path} has {there} samples, so {length} from sample {start} cannot be read"
        )
    return length


def _one_channel(
    path: str | Path, frames: np.ndarray[Any, Any], channel: int | str
) -> np.ndarray[Any, Any]:
    num_channels = frames.shape[1]
    if isinstance(channel, int) and not 0 <= channel < num_channels:
        raise AudioError(f"{path} has no channel {channel}: it has {num_channels}, counted from 0")
    if isinstance(channel, int):
        return frames[:, channel].copy()
    if num_channels == 1:
        return frames[:, 0]
    if channel == "mean":
        with np.errstate(invalid="ignore", over="ignore"):  # refused later, with a better text
            return np.asarray(frames.mean(axis=1))
    raise AudioError(
        f"{path} has {num_channels} channels, and one was expected; read it with "
        f'channel="mean" or channel=0 … {num_channels - 1}'
    )


def _subtype(path: Path, samples: Tensor) -> str:
    if path.suffix.lower() not in AUDIO_SUFFIXES:
        raise AudioError(
            f"cannot write {path}: its ending is not one of {', '.join(AUDIO_SUFFIXES)}"
        )
    if samples.ndim not in (1, 2) or samples.numel() == 0:
        raise AudioError(
            f"cannot write {path}: its waveform has shape {tuple(samples.shape)}, and (time,) or "
            "(channels, time) with at least one sample was expected"
        )
    if not samples.isfinite().all():
        raise AudioError(f"cannot write {path}: its waveform has samples that are NaN or infinite")
    peak = float(samples.abs().max())
    if peak <= 1:
        return "PCM_16"
    if path.suffix.lower() == ".flac":
        raise AudioError(
            f"cannot write {path}: flac would clip at 1, and the peak is {peak:.3g}; write a wav "
            "or scale the signal"
        )
    return "FLOAT"
