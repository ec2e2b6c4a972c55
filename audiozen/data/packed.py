"""Sound that ``audiozen pack`` has written: many signals in a few files of 16-bit integers, mapped into memory.

::

    pack = PackedAudio("packed/speech_train.audiopack")
    pack.read(17, start=8_000, num_samples=16_000)  # of signal 17
    pack.read_batch([17, 4], starts=[8_000, 0], num_samples=16_000)  # shape (2, 16000)

A signal has a path, as if the pack were a folder of files: ``speech_train.audiopack/17-9f3a02bc5d0e4a71/a.flac`` is
number 17, which was packed from a file called ``a.flac``; the digits are a hash of its samples, so that a path is never
taken for another signal after a corpus was packed anew. These paths stand in the manifest beside the pack, and
``read_audio`` and ``audio_info`` take them. A dataset that reads files by a manifest reads packed ones without change.

Whole batches are faster than one signal at a time. The dataset then only draws what is to be read, with the generators
that the trainer seeds for each sample, and ``collate_fn`` reads::

    class Crops(Dataset):
        def __init__(self, manifest: str) -> None:
            self.entries = open_manifest(manifest)

        def __len__(self) -> int:
            return len(self.entries)

        def __getitem__(self, index: int) -> tuple[Path, int]:
            entry = self.entries[index]
            return entry.path, random.randint(0, entry.num_samples - 64_000)

    def read_crops(plans: list[tuple[Path, int]]) -> Tensor:
        paths, starts = zip(*plans)
        return pack.read_batch(paths, starts, num_samples=64_000)

    DataLoader(Crops("packed/speech_train.jsonl"), batch_size=16, collate_fn=read_crops, num_workers=4)

What is in a pack:

- ``NNNNN-HASH.pcm``, the shards: samples one signal after the other, little-endian int16. ``HASH`` begins the SHA-256.
- ``NNNNN.json``: from which files a shard was made. Only packing needs it.
- ``index``: a header (``_Header``), one record for each shard (``Shard``), one for each signal (``Signal``).

A sample is the integer times 2 ** exponent / 32768. The exponent is 0 where that loses nothing, as it does for 16-bit
files.
"""

from __future__ import annotations

import mmap
import os
import struct
from functools import cache
from hashlib import blake2b, file_digest, sha256
from operator import index as as_integer
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import torch

from audiozen.errors import AudioError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    Codes: TypeAlias = np.ndarray[Any, np.dtype[np.int16]]
    Key: TypeAlias = int | str | Path

__all__ = ["PACK_SUFFIX", "PackedAudio", "Shard", "Signal", "find_packed", "is_packed"]

PACK_SUFFIX = ".audiopack"
"""What the name of a pack's folder ends with."""
INDEX = "index"
CODE_SIZE = 2
"""Bytes of a sample."""

_INSIDE = f"{PACK_SUFFIX}/"
_MAGIC = b"audiozen pack 1\n"
_NUM_NAMES = 3
_PATH = (str, Path)


class _Header(NamedTuple):
    """How an index begins."""

    magic: bytes
    num_shards: int
    num_signals: int
    digest: bytes
    """SHA-256 of what follows."""


class Shard(NamedTuple):
    """A file with samples."""

    size: int
    """In bytes."""
    digest: bytes
    """SHA-256."""


class Signal(NamedTuple):
    """Where a signal is, and what its integers mean."""

    first: int
    """Sample of the shard that it begins with."""
    num_samples: int
    digest: int
    """See :func:`digest_of`."""
    shard: int
    sample_rate: int
    """In Hz."""
    exponent: int

    @property
    def step(self) -> np.float32:
        """What 1 stands for."""
        return _step_of(self.exponent)


@cache
def _step_of(exponent: int) -> np.float32:
    return np.float32(2.0 ** (exponent - 15))


_HEADER = struct.Struct("<16sqq32s")
_SHARD = struct.Struct("<q32s")
_SIGNAL = struct.Struct("<qqQiiixxxx")
_MEANING = struct.Struct("<ii")


class PackedAudio:
    """The signals of a pack, by number or path. Takes no memory for them, and few open files.

    Forked workers share what is mapped; spawned ones open the pack again. Several threads may read at once.

    Args:
        folder: of the pack.

    Raises:
        AudioError: it is no pack, or a file of it is missing or has not the size that it was written with.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(os.path.abspath(folder))  # noqa: PTH100 - links stay what they are
        self._index = _mapped(self.folder / INDEX)
        header = self._header()
        self._num_signals, self.digest = header.num_signals, header.digest
        self.shards = [
            Shard._make(_SHARD.unpack_from(self._index, _HEADER.size + number * _SHARD.size))
            for number in range(header.num_shards)
        ]
        self._signals_at = _HEADER.size + header.num_shards * _SHARD.size
        self._names = [
            os.fspath(self.folder / shard_name(number, shard.digest))
            for number, shard in enumerate(self.shards)
        ]
        self._mapped: dict[int, Codes] = {}
        for number in range(header.num_shards):
            self._check_size(number)

    def __len__(self) -> int:
        return self._num_signals

    def __repr__(self) -> str:
        return f"PackedAudio({str(self.folder)!r}, {len(self)} signals)"

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened_again, (self.folder, self.digest)

    def fingerprint(self) -> str:
        """A text that changes with the samples, and is the same on another machine and in another folder."""
        return self.digest.hex()[:32]

    def signal(self, key: Key) -> Signal:
        """What the index says of a signal.

        Args:
            key: its number, from 0, or its path.

        Raises:
            AudioError: there is no such signal.
        """
        if not isinstance(key, _PATH):
            return self._signal(as_integer(key))
        number, digest = _parsed(key)
        signal = self._signal(number) if number < self._num_signals else None
        if signal is None or signal.digest != digest:
            raise AudioError(
                f"cannot read {key}: {self.folder} has another signal there, as it was packed anew, or is another "
                "pack; read the manifest that was written with it"
            )
        return signal

    def located(self, key: Key) -> Signal:
        """A signal, the shard of which is there in full. AudioError where one of them is not."""
        signal = self.signal(key)
        self._check_size(signal.shard)
        return signal

    def read(self, key: Key, *, start: int = 0, num_samples: int | None = None) -> torch.Tensor:
        """A signal, or a segment of it.

        Args:
            key: number or path.
            start: first sample.
            num_samples: length of the segment; None reads to the end.

        Returns:
            Shape ``(time,)``, float32.

        Raises:
            AudioError: there is no such signal or segment, or its shard was truncated.
        """
        signal = self.located(key)
        length = signal.num_samples - start if num_samples is None else num_samples
        self._check_segment(key, signal, start, length)
        return torch.from_numpy(self.samples(signal, start, length))

    def read_batch(
        self,
        keys: Sequence[Key],
        starts: Sequence[int],
        num_samples: int,
        *,
        gains: Sequence[float] | None = None,
        out: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Segments of several signals at once, without a tensor for each.

        Args:
            keys: number or path of each signal.
            starts: first sample of each segment.
            num_samples: length of all segments.
            gains: factor for each segment, which costs no time here, and gives the bits of ``gain * segment``; None: 1.
            out: what to write to, shape ``(batch, num_samples)``, float32, on the CPU; None makes it.

        Returns:
            Shape ``(batch, num_samples)``, float32.

        Raises:
            AudioError: there is no such signal or segment, signals have different rates, or a shard was truncated.
            ShapeError: there are not as many starts or gains as keys, or ``out`` has another shape or type.
        """
        gains = [1.0] * len(keys) if gains is None else gains
        if not len(keys) == len(starts) == len(gains):
            raise ShapeError(
                f"{len(keys)} keys, {len(starts)} starts and {len(gains)} gains were given"
            )
        signals = [self.signal(key) for key in keys]
        self._check_rates(keys, signals)
        for key, signal, start in zip(keys, signals, starts):
            self._check_segment(key, signal, start, num_samples)
        for shard in {signal.shard for signal in signals}:
            self._check_size(shard)
        batch = _checked_out(out, (len(keys), num_samples))
        for row, signal, start, gain in zip(batch.numpy(), signals, starts, gains):
            factor = np.float32(gain) * signal.step  # without error, as the step is a power of two
            np.multiply(self._codes(signal, start, num_samples), factor, out=row)
        return batch

    def samples(
        self, signal: Signal, start: int, length: int
    ) -> np.ndarray[Any, np.dtype[np.float32]]:
        """A segment that is inside of a signal that was :meth:`located`."""
        return self._codes(signal, start, length) * signal.step

    def path_of(self, number: int, name: str) -> Path:
        """The path of a signal that was packed from a file of this name."""
        return self.folder / f"{number}-{self._signal(number).digest:016x}" / name

    def problems(self) -> list[str]:
        """Everything that is not as it was written; reads all. One sentence each, starting with the file."""
        found = []
        if sha256(self._index[_HEADER.size :]).digest() != self.digest:
            found.append(f"{self.folder / INDEX} is not as it was written (SHA-256); pack again")
        for number, shard in enumerate(self.shards):
            self._check_size(number)
            with open(self._names[number], "rb") as file:  # noqa: PTH123
                is_good = file_digest(file, "sha256").digest() == shard.digest
            if not is_good:
                found.append(
                    f"{self._names[number]} is not as it was written (SHA-256); remove it and pack again; damaged: "
                    f"{self._damaged(number)}"
                )
        return found

    def _header(self) -> _Header:
        header = _Header._make(_HEADER.unpack(self._index[: _HEADER.size].ljust(_HEADER.size)))
        size = _HEADER.size + header.num_shards * _SHARD.size + header.num_signals * _SIGNAL.size
        if header.magic != _MAGIC or header.num_signals < 1 or len(self._index) != size:
            raise AudioError(
                f"{self.folder / INDEX} is no index of a pack, or truncated; pack again"
            )
        return header

    def _signal(self, number: int) -> Signal:
        if not 0 <= number < self._num_signals:
            raise AudioError(
                f"{self.folder} has no signal {number}: it has {len(self)}, counted from 0"
            )
        place = self._signals_at + number * _SIGNAL.size
        signal = Signal._make(_SIGNAL.unpack_from(self._index, place))
        is_there = 0 <= signal.shard < len(self.shards) and signal.first >= 0 < signal.num_samples
        end = CODE_SIZE * (signal.first + signal.num_samples)
        if not is_there or end > self.shards[signal.shard].size:
            raise AudioError(f"{self.folder / INDEX} is damaged at signal {number}; pack again")
        return signal

    def _codes(self, signal: Signal, start: int, length: int) -> Codes:
        codes = self._mapped.get(signal.shard)
        if codes is None:
            codes = self._mapped[signal.shard] = self._map(signal.shard)
        first = signal.first + start
        return codes[first : first + length]

    def _map(self, number: int) -> Codes:
        # PyTorch closes the file after mapping it, and the mmap of Python keeps it open: there may be thousands.
        codes = torch.from_file(
            self._names[number],
            shared=False,
            size=self.shards[number].size // CODE_SIZE,
            dtype=torch.int16,
        ).numpy()
        codes.flags.writeable = False
        return codes

    def _check_size(self, number: int) -> None:
        """What is mapped and no longer there would end the process without a word."""
        name, expected = self._names[number], self.shards[number].size
        try:
            size = os.stat(name).st_size  # noqa: PTH116 - half of the time
        except OSError as error:
            raise AudioError(f"cannot read {name}: {error.strerror}; pack again") from error
        if size != expected:
            raise AudioError(
                f"{name} is truncated or damaged: it has {size} bytes, and was written with {expected}; pack again"
            )

    def _check_segment(self, key: Key, signal: Signal, start: int, length: int) -> None:
        if start < 0 or length < 1 or start + length > signal.num_samples:
            name = key if isinstance(key, _PATH) else f"signal {key} of {self.folder}"
            raise AudioError(
                f"{name} has {signal.num_samples} samples, so {length} from sample {start} cannot be read"
            )

    def _check_rates(self, keys: Sequence[Key], signals: Sequence[Signal]) -> None:
        rates = {signal.sample_rate: key for key, signal in zip(keys, signals)}
        if len(rates) > 1:
            there = ", ".join(f"{rate} Hz ({key})" for rate, key in sorted(rates.items()))
            raise AudioError(
                f"signals of one batch have different sample rates: {there}; pack with --sample-rate"
            )

    def _damaged(self, shard: int) -> str:
        numbers = [
            number
            for number in range(len(self))
            if (signal := self._signal(number)).shard == shard
            and signal.digest
            != digest_of(
                self._codes(signal, 0, signal.num_samples), signal.sample_rate, signal.exponent
            )
        ]
        more = f" and {len(numbers) - _NUM_NAMES} more" if len(numbers) > _NUM_NAMES else ""
        return ", ".join(f"signal {number}" for number in numbers[:_NUM_NAMES]) + more


def index_content(shards: Sequence[Shard], signals: Sequence[Signal]) -> bytes:
    """What the file ``index`` of a pack holds."""
    records = [_SHARD.pack(*shard) for shard in shards]
    records += [_SIGNAL.pack(*signal) for signal in signals]
    content = b"".join(records)
    digest = sha256(content).digest()
    return _HEADER.pack(_MAGIC, len(shards), len(signals), digest) + content


def shard_name(number: int, digest: bytes) -> str:
    """Name of the file of a shard. Other samples have another name, so what is mapped is never replaced."""
    return f"{number:05}-{digest.hex()[:16]}.pcm"


def digest_of(codes: Codes, sample_rate: int, exponent: int) -> int:
    """A hash of a signal, of 64 bits."""
    hashed = blake2b(_MEANING.pack(sample_rate, exponent), digest_size=8)
    hashed.update(codes.data)
    return int.from_bytes(hashed.digest(), "big")


def is_packed(path: str | Path) -> bool:
    """Whether a path names a signal in a pack."""
    return _INSIDE in os.fspath(path)


def name_of(path: str | Path) -> str:
    """Hash and name of a signal in a pack, without its place: the same in every pack that has it."""
    text = os.fspath(path)
    return f"{_parsed(path)[1]:016x}/{text.rpartition('/')[2]}"


def find_packed(path: str | Path) -> tuple[PackedAudio, Signal]:
    """The signal that a path names, and its pack, which stays open for the next one.

    Raises:
        AudioError: there is no such pack or signal, or its shard was truncated.
    """
    folder = os.fspath(path).rpartition(_INSIDE)[0] + PACK_SUFFIX
    known = _open_packs.get(folder)
    if known is not None:
        try:
            return known, known.located(path)
        except AudioError:  # it may have been packed anew
            del _open_packs[folder]
    _open_packs[folder] = opened = PackedAudio(folder)
    return opened, opened.located(path)


_open_packs: dict[str, PackedAudio] = {}


def _parsed(path: str | Path) -> tuple[int, int]:
    """Number and digest that a path states."""
    place = os.fspath(path).rpartition(_INSIDE)[2].partition("/")[0]
    number, _, digest = place.partition("-")
    try:
        return int(number), int(digest, 16)
    except ValueError as error:
        raise AudioError(
            f"cannot read {path}: a path into a pack is NAME{_INSIDE}NUMBER-HASH/NAME"
        ) from error


def _opened_again(folder: Path, digest: bytes) -> PackedAudio:
    pack = PackedAudio(folder)
    if pack.digest != digest:
        raise AudioError(f"{folder} was packed anew while it was in use; start again")
    return pack


def _mapped(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise AudioError(f"cannot open the pack {path.parent}: {error.strerror}") from error
    except ValueError as error:
        raise AudioError(f"{path} is empty (0 bytes); pack again") from error


def _checked_out(out: torch.Tensor | None, shape: tuple[int, int]) -> torch.Tensor:
    if out is None:
        return torch.empty(shape)
    if out.shape != shape or out.dtype != torch.float32 or out.device.type != "cpu":
        raise ShapeError(
            f"out has shape {tuple(out.shape)}, {out.dtype}, on {out.device}; {shape}, torch.float32, on the cpu was "
            "expected"
        )
    return out
