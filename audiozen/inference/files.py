"""Sound files that are written block by block, in the format of others."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from audiozen.data.audio import AudioFormat
from audiozen.durable_files import replaced
from audiozen.errors import AudioError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from torch import Tensor

_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
_CONTAINERS = {".wav": ("WAV", "WAVEX", "RF64"), ".flac": ("FLAC",)}
_SUBTYPES = (*_BITS, "FLOAT", "DOUBLE", "ULAW", "ALAW")


class Written(NamedTuple):
    """What was made of one file."""

    paths: list[Path]
    """One for each source."""
    num_clipped: int
    """Samples of all of them that were beyond what the format can hold."""


class Writer:
    """A sound file that is being written.

    Args:
        path: what the file will be called.
        file: an open ``soundfile.SoundFile``.

    Attributes:
        num_clipped: samples beyond [-1, 1], of a file that holds no others.
    """

    def __init__(self, path: Path, file: Any) -> None:
        self.path, self.file = path, file
        self.num_clipped = 0

    def write(self, block: Tensor) -> None:
        """Add samples, shape ``(channels, time)``. Integers are what :func:`read_blocks` would read as these."""
        samples = block.numpy().T
        if self.file.subtype not in ("FLOAT", "DOUBLE"):
            self.num_clipped += int(np.count_nonzero(np.abs(samples) > 1))
            samples = np.clip(samples, -1, 1)
        bits = _BITS.get(self.file.subtype)
        with _told(self.path):
            self.file.write(samples if bits is None else as_integers(samples, bits))


def as_integers(samples: np.ndarray[Any, Any], bits: int) -> np.ndarray[Any, Any]:
    """Samples in [-1, 1] as multiples of 2^-(bits - 1), in the upper bits of 32. 1 becomes the greatest one.

    (libsndfile would write floats as multiples of 1/32767, and read them as multiples of 1/32768.)
    """
    scale = 2 ** (bits - 1)
    wide = np.minimum(np.rint(samples.astype(np.float64) * scale), scale - 1)
    integers: np.ndarray[Any, Any] = wide.astype(np.int32) << (32 - bits)
    return integers


def format_for(path: Path, source: AudioFormat) -> AudioFormat:
    """The format of a file as near to that of its source as its name allows; at worst integers of 16 bits."""
    import soundfile

    containers = _CONTAINERS[path.suffix.lower()]
    container = source.container if source.container in containers else containers[0]
    is_kept = source.subtype in _SUBTYPES and soundfile.check_format(container, source.subtype)
    return AudioFormat(container, source.subtype if is_kept else "PCM_16")


def write_blocks(
    paths_of: Callable[[int], Sequence[Path]],
    blocks: Iterable[Tensor],
    sample_rate: int,
    source: AudioFormat,
) -> Written:
    """Write sources block by block. Files get their names when all are complete, the first one last.

    Args:
        paths_of: from the number of sources to their paths.
        blocks: shape ``(sources, channels, time)``; at least one.
        sample_rate: in Hz.
        source: the format to keep.

    Raises:
        AudioError: the disk or the format refuses. The text names the file.
    """
    blocks = iter(blocks)
    first = next(blocks)
    paths = list(paths_of(first.shape[0]))
    with ExitStack() as stack:
        writers = [
            stack.enter_context(_opened(path, sample_rate, first.shape[1], source))
            for path in paths
        ]
        for block in chain([first], blocks):
            for writer, signal in zip(writers, block):
                writer.write(signal)
    return Written(paths, sum(writer.num_clipped for writer in writers))


@contextmanager
def _opened(
    path: Path, sample_rate: int, num_channels: int, source: AudioFormat
) -> Iterator[Writer]:
    import soundfile

    container, subtype = format_for(path, source)
    with (
        _told(path),
        replaced(path) as partial,
        soundfile.SoundFile(
            partial, "w", sample_rate, num_channels, subtype, format=container
        ) as file,
    ):
        yield Writer(path, file)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    import soundfile

    try:
        yield
    except (OSError, soundfile.SoundFileError) as error:
        raise AudioError(f"cannot write {path}: {error}") from error


def refuse_nonfinite(blocks: Iterable[Tensor], source: Path) -> Iterator[Tensor]:
    """The blocks, until one of them is not finite.

    Raises:
        AudioError: the model returned NaN or infinite samples.
    """
    for block in blocks:
        if not torch.isfinite(block).all():
            raise AudioError(f"the model made samples that are NaN or infinite of {source}")
        yield block
