"""Sound that is enhanced while it still comes in: raw samples from one stream of bytes to another."""

from __future__ import annotations

import io
import os
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch.nn.functional import pad

from audiozen.errors import AudioError, RequestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from audiozen.streaming import Streaming

__all__ = ["SampleFormat", "enhance_chunks", "stream_pcm"]

SampleFormat = Literal["s16le", "f32le"]
"""One sample: a signed integer of 16 bits (32768 is full scale), or a float of 32 bits (1 is); low byte first."""
CLOSED_READER = 128 + 13
"""Exit code of a program whose output nobody reads any more, as SIGPIPE gives it."""


def stream_pcm(
    model: Streaming,
    source: BinaryIO,
    sink: BinaryIO,
    *,
    sample_format: SampleFormat = "s16le",
    device: torch.device | str = "cpu",
) -> bool:
    """Read one channel of raw samples, enhance it, and write as many, as they come.

    After each chunk of ``model.hop_length`` samples that came in, all that can be said is written and flushed. That is
    ``model.delay`` samples less than came in; the rest follows at the end of the input. So sample ``i`` of the output
    belongs to sample ``i`` of the input, and there are as many. Integers are rounded, and clipped at full scale.

    Args:
        model: in evaluation mode.
        source: read to its end, a chunk at a time.
        sink: written to, not closed.
        sample_format: of both.
        device: where the model is.

    Returns:
        True: all was written. False: nobody reads ``sink`` any more. Then its file descriptor, if it has one, leads
        nowhere from now on, so that what is in its buffer does no harm; a program should end with
        ``CLOSED_READER``, without a word.

    Raises:
        RequestError: the format is unknown.
        AudioError: the input ended within a sample or is not finite, after what came before was written; or the model
            returned something that is not finite.
    """
    source_samples = Samples(source, sample_format, model.hop_length)
    try:
        for enhanced in enhance_chunks(model, source_samples, device):
            write_all(sink, encode(enhanced, sample_format))
    except BrokenPipeError:
        _lead_nowhere(sink)
        return False
    if source_samples.problem:
        raise AudioError(source_samples.problem)
    return True


class Samples:
    """Chunks of samples from a stream of bytes, each complete but the last one.

    Args:
        source: read as it is iterated over.
        sample_format: of the bytes.
        hop_length: samples of a chunk.

    Attributes:
        problem: what was wrong with the samples after the last chunk that was given; None if they just ended.

    Raises:
        RequestError: the format is unknown.

    >>> samples = Samples(io.BytesIO(bytes([0, 64, 0, 192, 0])), "s16le", hop_length=4)
    >>> [chunk.tolist() for chunk in samples], samples.problem
    ([[0.5, -0.5]], 'the input ended within sample 2: 1 byte of 2; is it s16le?')
    """

    def __init__(self, source: BinaryIO, sample_format: SampleFormat, hop_length: int) -> None:
        self.source = source
        self.format = _encoding(sample_format)
        self.hop_length = hop_length
        self.num_samples = 0
        self.problem: str | None = None

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        width = self.format.dtype.itemsize
        while self.problem is None:
            content = read_all(self.source, self.hop_length * width)
            num_bytes = len(content) % width
            chunk = self._decode(content[: len(content) - num_bytes])
            if num_bytes and self.problem is None:
                bytes_left = "1 byte" if num_bytes == 1 else f"{num_bytes} bytes"
                self._stop(
                    f"the input ended within sample {self.num_samples}: {bytes_left} of {width}"
                )
            if len(chunk):
                yield chunk
            if len(chunk) < self.hop_length:
                return

    def _decode(self, content: bytes) -> NDArray[np.float32]:
        """Samples in [-1, 1], up to the first that is not finite."""
        values: NDArray[Any] = np.frombuffer(content, self.format.dtype)
        finite = np.isfinite(values)
        chunk = values if finite.all() else values[: finite.argmin()]
        self.num_samples += len(chunk)
        if len(chunk) < len(values):
            self._stop(f"sample {self.num_samples} of the input is {values[len(chunk)]}")
        samples: NDArray[np.float32] = (chunk / self.format.full_scale).astype(np.float32)
        return samples

    def _stop(self, what: str) -> None:
        self.problem = f"{what}; is it {self.format.name}?"


def enhance_chunks(
    model: Streaming, chunks: Iterable[NDArray[np.float32]], device: torch.device | str = "cpu"
) -> Iterator[NDArray[np.float32]]:
    """Put chunks through a model as they come, without gradients. The delay is taken out.

    Args:
        model: in evaluation mode.
        chunks: each ``(hop_length,)``, the last one possibly shorter.
        device: where the model is.

    Yields:
        As many samples in all as came in; after each chunk those that are known by then.

    Raises:
        AudioError: the model returned something that is not finite.
    """
    state = model.initial_state()
    num_to_skip, num_missing = model.delay, 0
    nothing = np.zeros(0, np.float32)
    for chunk in chain(chunks, repeat(nothing)):
        num_missing += len(chunk)
        if not len(chunk) and not num_missing:  # the end, and all is out
            return
        with torch.no_grad():
            whole = pad(torch.from_numpy(chunk), (0, model.hop_length - len(chunk)))
            output, state = model.stream(whole[None].to(device), state)
        known = _finite(output[0])[num_to_skip:][:num_missing]
        num_to_skip = max(0, num_to_skip - model.hop_length)
        num_missing -= len(known)
        if len(known):
            yield known


def _finite(output: Tensor) -> NDArray[np.float32]:
    enhanced: NDArray[np.float32] = output.float().cpu().numpy()
    if not np.isfinite(enhanced).all():
        raise AudioError("the model returned samples that are not finite, and would not recover")
    return enhanced


class _Encoding(NamedTuple):
    name: str
    dtype: np.dtype[np.int16] | np.dtype[np.float32]
    full_scale: int


_ENCODINGS = {
    "s16le": _Encoding("s16le", np.dtype("<i2"), 32768),
    "f32le": _Encoding("f32le", np.dtype("<f4"), 1),
}


def _encoding(sample_format: str) -> _Encoding:
    if sample_format not in _ENCODINGS:
        allowed = ", ".join(get_args(SampleFormat))
        raise RequestError(f"sample format {sample_format!r} is unknown; choose one of {allowed}")
    return _ENCODINGS[sample_format]


def encode(samples: NDArray[np.float32], sample_format: SampleFormat) -> bytes:
    """Bytes of samples.

    >>> encode(np.array([0.5, -1.5], np.float32), "s16le").hex(" ")
    '00 40 00 80'
    """
    _, dtype, full_scale = _encoding(sample_format)
    if dtype.kind == "i":
        samples = np.rint(samples * full_scale).clip(-full_scale, full_scale - 1)
    return samples.astype(dtype).tobytes()


def read_all(source: BinaryIO, num_bytes: int) -> bytes:
    """Read so many bytes, however small the pieces are that they come in; fewer only at the end.

    Raises:
        AudioError: the source does not wait for what is to come.
    """
    parts = []
    while num_bytes and (part := source.read(num_bytes)) != b"":
        if part is None:
            raise AudioError(
                "the input has nothing yet and does not wait; open it in blocking mode"
            )
        parts.append(part)
        num_bytes -= len(part)
    return b"".join(parts)


def write_all(sink: BinaryIO, content: bytes) -> None:
    """Write everything, however small the pieces are that are taken, and flush."""
    remaining = memoryview(content)
    while remaining:
        remaining = remaining[sink.write(remaining) :]
    sink.flush()


def _lead_nowhere(sink: BinaryIO) -> None:
    """Let what is still in the buffer go nowhere, or it would fail once more when the stream is closed."""
    try:
        descriptor = sink.fileno()
    except io.UnsupportedOperation:
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
