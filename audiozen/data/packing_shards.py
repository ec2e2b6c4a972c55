"""One shard of a pack: which files it is made of, whether it is there, and its making."""

from __future__ import annotations

import json
from dataclasses import asdict, astuple, dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from audiozen.data.audio import audio_info, read_audio
from audiozen.data.packed import CODE_SIZE, Shard, Signal, digest_of, shard_name
from audiozen.durable_files import flush, partial_name, remove, rename, replace_file
from audiozen.errors import AudioError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from audiozen.data.packed import Codes

    Samples: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]

Channel: TypeAlias = int | Literal["error", "mean"]

_FORMAT = 1
_FULL_SCALE = 1 << 15
_LEAST_EXPONENT = -100
"""Steps below are no normal numbers of 32 bits."""


@dataclass(frozen=True)
class Settings:
    """How signals are converted."""

    sample_rate: int | None
    """In Hz; None keeps that of each file."""
    channel: Channel


@dataclass(frozen=True)
class Source:
    """A file to be packed, and what the manifest says of it."""

    path: Path
    name: str
    """The path, relative to the folder of the manifest."""
    sample_rate: int
    num_samples: int


@dataclass(frozen=True)
class PackedSource:
    """A file, as it was when it was packed, and what it became."""

    name: str
    size: int
    modified_ns: int
    num_samples: int
    digest: str
    """In hexadecimal digits."""
    sample_rate: int
    exponent: int
    is_exact: bool
    """Whether the integers are the very samples that were read, and resampled where another rate is wanted."""
    is_resampled: bool


@dataclass(frozen=True)
class Record:
    """What is known of a finished shard."""

    sha256: str
    """In hexadecimal digits."""
    sources: Sequence[PackedSource]

    @property
    def shard(self) -> Shard:
        """As the index has it."""
        num_samples = sum(source.num_samples for source in self.sources)
        return Shard(CODE_SIZE * num_samples, bytes.fromhex(self.sha256))

    def signals(self, shard: int) -> Iterator[Signal]:
        """As the index has them, for the shard of this number."""
        first = 0
        for source in self.sources:
            digest, length = int(source.digest, 16), source.num_samples
            yield Signal(first, length, digest, shard, source.sample_rate, source.exponent)
            first += length


@dataclass(frozen=True)
class Task:
    """A shard that is to be there."""

    folder: Path
    number: int
    settings: Settings
    sources: Sequence[Source]

    @property
    def record_path(self) -> Path:
        """Where its record is."""
        return self.folder / f"{self.number:05}.json"


def finished(task: Task) -> Record | None:
    """The record of a shard that is there, made of these files, as they are now, with these settings."""
    try:
        record = record_of(task)
        size = shard_path(task, record).stat().st_size
        now = [(source.name, *_state_of(source.path)) for source in task.sources]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    then = [(source.name, source.size, source.modified_ns) for source in record.sources]
    return record if then == now and size == record.shard.size else None


def record_of(task: Task) -> Record:
    """The record of a shard. ValueError where it was made with other settings."""
    content = json.loads(task.record_path.read_text(encoding="utf-8", errors="surrogatepass"))
    if content["made"] != _how(task.settings):
        raise ValueError("made in another way")
    sources = [PackedSource(*fields) for fields in content["sources"]]
    return Record(content["sha256"], sources)


def shard_path(task: Task, record: Record) -> Path:
    """Where a finished shard is."""
    return task.folder / shard_name(task.number, record.shard.digest)


def make_shard(task: Task) -> list[str]:
    """Write a shard and its record. Where files cannot be packed, write none and say which."""
    partial = partial_name(task.record_path.with_suffix(".pcm"))
    try:
        record, problems = _write_samples(partial, task)
        if not problems:
            flush(partial)
            rename(partial, shard_path(task, record))
            replace_file(task.record_path, _content_of(record, task.settings))
    finally:
        remove(partial)
    return problems


def _write_samples(path: Path, task: Task) -> tuple[Record, list[str]]:
    hashed, packed, problems = sha256(), [], []
    with path.open("wb") as file:
        for source in task.sources:
            try:
                codes, done = _converted(source, task.settings)
            except AudioError as error:
                problems.append(str(error))
                continue
            file.write(codes.data)
            hashed.update(codes.data)
            packed.append(done)
    return Record(hashed.hexdigest(), packed), problems


def _content_of(record: Record, settings: Settings) -> bytes:
    sources = [astuple(source) for source in record.sources]
    content = {"made": _how(settings), "sha256": record.sha256, "sources": sources}
    return json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _how(settings: Settings) -> dict[str, Any]:
    return {"format": _FORMAT, **asdict(settings)}


def _state_of(path: Path) -> tuple[int, int]:
    """What changes when a file is written to."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _converted(source: Source, settings: Settings) -> tuple[Codes, PackedSource]:
    """The integers of a file, and what is to be noted of it."""
    try:
        before = _state_of(source.path)
        waveform, from_rate = _read(source, settings)
        after = _state_of(source.path)
    except OSError as error:
        raise AudioError(f"cannot read {source.path}: {error.strerror}") from error
    if before != after:
        raise AudioError(f"{source.path} was written to while it was packed; run again")
    codes, exponent, is_exact = quantise(waveform)
    sample_rate = settings.sample_rate or from_rate
    digest = f"{digest_of(codes, sample_rate, exponent):016x}"
    name, (size, modified_ns), is_resampled = source.name, before, sample_rate != from_rate
    noted = PackedSource(
        name, size, modified_ns, len(codes), digest, sample_rate, exponent, is_exact, is_resampled
    )
    return codes, noted


def _read(source: Source, settings: Settings) -> tuple[Samples, int]:
    """The signal that is wanted, and the rate of the file."""
    info = audio_info(source.path)
    if (info.sample_rate, info.num_samples) != (source.sample_rate, source.num_samples):
        raise AudioError(
            f"{source.path} has {info.num_samples} samples at {info.sample_rate} Hz, and the manifest states "
            f"{source.num_samples} at {source.sample_rate} Hz; scan the corpus again"
        )
    channel = settings.channel if info.num_channels > 1 else 0
    waveform = read_audio(source.path, sample_rate=settings.sample_rate, channel=channel).numpy()
    if not len(waveform):
        raise AudioError(f"{source.path} has no samples at {settings.sample_rate} Hz")
    if not np.isfinite(waveform).all():
        raise AudioError(f"{source.path} cannot be resampled: its samples are too great")
    return waveform, info.sample_rate


def quantise(waveform: Samples) -> tuple[Codes, int, bool]:
    """The integers for a signal, the exponent of their step, and whether they are exact.

    The exponent is 0 where that is exact, and otherwise the least that holds the peak.

    Args:
        waveform: shape ``(time,)``, finite.

    >>> quantise(np.float32([0.5, -1.0]))
    (array([ 16384, -32768], dtype=int16), 0, True)
    >>> quantise(np.float32([3.0, 0.1]))
    (array([24576,   819], dtype=int16), 2, False)
    """
    peak = float(np.abs(waveform).max())
    if peak <= 1:
        codes, is_exact = _rounded(waveform, 0)
        if is_exact:
            return codes.astype(np.int16), 0, True
    exponent = max(int(np.frexp(peak)[1]), _LEAST_EXPONENT)
    if np.rint(peak * 2.0 ** (15 - exponent)) == _FULL_SCALE:
        exponent += 1
    codes, is_exact = _rounded(waveform, exponent)
    return codes.astype(np.int16), exponent, is_exact


def _rounded(waveform: Samples, exponent: int) -> tuple[Samples, bool]:
    """Whole steps, and whether they are the signal and within 16 bits."""
    scaled = waveform * np.float32(2.0 ** (15 - exponent))
    codes = np.rint(scaled)
    return codes, bool(np.array_equal(codes, scaled) and codes.max() < _FULL_SCALE)
