"""Files that are as they were written: described while they are written, verified before anything of them is used.

A description stands in the manifest of a checkpoint, for each of its files:

- ``size``: number of bytes.
- ``xxh3_128_of_blocks``: XXH3 of 128 bits of each 32 MiB of the content, and of these hashes, in bytes one after the
  other, once more. This is what is verified, since it is faster than a copy of the content, and blocks can be hashed at
  the same time. It tells every accident; nothing here keeps out who wants to deceive, as the manifest itself can be
  written anew.
- ``sha256``: SHA-256 of the content, as ``sha256sum`` prints it: for other tools.

Checkpoints of earlier versions have ``xxh3_128`` of the whole content, or ``sha256`` alone; these are verified then.

Source: XXH3 is specified in https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import xxhash

from audiozen.errors import DamagedCheckpointError
from audiozen.system.files import read_at
from audiozen.trainer.parallel import for_each

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import TypeAlias

    from audiozen.durable_files import Bytes

    Content: TypeAlias = mmap.mmap | bytes

BLOCK_SIZE = 1 << 25
"""Bytes that are hashed by themselves. Another size would be another field of the manifest."""
READ_SIZE = 1 << 20
"""Bytes of a read where files cannot be sent."""
CHUNK_SIZE = 1 << 24
"""Bytes that are read ahead at a time, where a content is hashed as a whole."""
OF_BLOCKS = "xxh3_128_of_blocks"
WHOLE: dict[str, Callable[[], Any]] = {"xxh3_128": xxhash.xxh3_128, "sha256": hashlib.sha256}
"""Fields of a description, of which the first one that is there is verified."""
CANNOT_SEND = (errno.EINVAL, errno.ENOSYS, errno.ENOTSOCK, errno.ENOTSUP)
"""What a system says that sends files to sockets only, or not from this file system."""
SETTLED = 2.0
"""Seconds after its last change from which on the next change of a file shows in its times, whatever the system."""
TRUSTED = 300.0
"""Seconds for which a file that has been verified need not be verified again, unless it changes."""


def describe(parts: Iterable[Bytes]) -> dict[str, Any]:
    """Description of the file that consists of these parts.

    They are hashed in few calls: between two of them, a thread waits for the interpreter, which another may be using.
    """
    fast, strong, size = HashOfBlocks(), hashlib.sha256(), 0
    for part in parts:
        fast.update(memoryview(part))
        strong.update(part)
        size += memoryview(part).nbytes
    return {"size": size, OF_BLOCKS: fast.hexdigest(), "sha256": strong.hexdigest()}


class HashOfBlocks:
    """XXH3 of the hashes of the blocks of a content, which is given in parts."""

    def __init__(self) -> None:
        self._digests = b""
        self._block, self._room = xxhash.xxh3_128(), BLOCK_SIZE

    def update(self, part: memoryview) -> None:
        """Go on with the next bytes."""
        while part:
            piece, part = part[: self._room], part[self._room :]
            self._block.update(piece)
            self._room -= len(piece)
            if not self._room:
                self._digests += self._block.digest()
                self._block, self._room = xxhash.xxh3_128(), BLOCK_SIZE

    def hexdigest(self) -> str:
        """The hash of all there has been."""
        last = self._block.digest() if self._room < BLOCK_SIZE else b""
        return xxhash.xxh3_128_hexdigest(self._digests + last)


class VerifiedFiles:
    """Reads files that are as they were described. What has just been verified, and has not changed, is not hashed
    again.

    A file has changed where its number, size or times have. A disk may change a content without these, but not within
    minutes, for which the system has what it has read in its memory.
    """

    def __init__(self) -> None:
        self._verified: dict[Version, tuple[str, float]] = {}
        self._contents: dict[Version, Content] = {}

    def problems(self, path: Path, expected: Mapping[str, Any]) -> list[str]:
        """What is wrong with a file; at most one sentence. If nothing is, it stays mapped until it is read."""
        try:
            version, content = self._read(path, expected)
        except DamagedCheckpointError as error:
            return [str(error)]
        self._contents[version] = content
        return []

    def read(self, path: Path, expected: Mapping[str, Any]) -> Content:
        """The content of a file, mapped into memory: nothing is copied, and what is written there stays there.

        Raises:
            DamagedCheckpointError: it is missing, cannot be read, or is not as described; the text says which file.
        """
        return self._read(path, expected)[1]

    def let_go(self) -> None:
        """Keep nothing mapped: a file that is removed takes its place on the disk for as long as it is."""
        self._contents.clear()

    def _read(self, path: Path, expected: Mapping[str, Any]) -> tuple[Version, Content]:
        try:
            with path.open("rb") as file:
                version = version_of(file)
                if version.size != expected.get("size"):
                    raise DamagedCheckpointError(
                        f"{path.name} has {version.size} bytes instead of {expected.get('size')}"
                    )
                content = self._verify(file, version, expected)
        except FileNotFoundError as error:
            raise DamagedCheckpointError(f"{path.name} is missing") from error
        except OSError as error:
            raise DamagedCheckpointError(f"{path.name} cannot be read: {error}") from error
        if content is None:
            raise DamagedCheckpointError(f"the content of {path.name} has changed")
        return version, content

    def _verify(
        self, file: BinaryIO, version: Version, expected: Mapping[str, Any]
    ) -> Content | None:
        """The content; None if it is not as described."""
        kept = self._contents.pop(version, None)  # given away once, as it may be changed then
        content = mapped(file, version.size) if kept is None else kept
        field = next(field for field in (OF_BLOCKS, *WHOLE) if field in expected)
        digest = expected[field]
        if self._is_trusted(version, digest):
            return content
        if digest_of(file, content, field) != digest:
            return None
        if time.time() - version.changed > SETTLED:
            self._verified[version] = (digest, time.monotonic())
        return content

    def _is_trusted(self, version: Version, digest: str) -> bool:
        verified, moment = self._verified.get(version, ("", 0.0))
        return verified == digest and time.monotonic() - moment < TRUSTED


class Version(NamedTuple):
    """Another one whenever a file, or its content, is another."""

    device: int
    number: int
    size: int
    modified_ns: int
    changed_ns: int

    @property
    def changed(self) -> float:
        """When that was, in seconds."""
        return max(self.modified_ns, self.changed_ns) / 1e9


def version_of(file: BinaryIO) -> Version:
    """The present one."""
    status = os.fstat(file.fileno())
    return Version(
        status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    )


def mapped(file: BinaryIO, size: int) -> Content:
    """The content of an open file, which may be closed then."""
    return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY) if size else b""


def digest_of(file: BinaryIO, content: Content, field: str) -> str:
    """A hash of the content of a file, in hexadecimal digits, as it stands in this field of a description.

    What is hashed has been read before: a disk that fails is an OSError then; where a mapping meets it, the process
    ends (SIGBUS).
    """
    with memoryview(content) as whole:
        if field == OF_BLOCKS:
            return digest_of_blocks(file, whole)
        return digest_of_whole(file, whole, WHOLE[field]())


def digest_of_blocks(file: BinaryIO, content: memoryview) -> str:
    """The hash of the hashes of the blocks. Several threads read and hash them."""
    starts = range(0, len(content), BLOCK_SIZE)
    digests = dict.fromkeys(starts, b"")

    def take(start: int) -> None:
        read_in(file, start, start + BLOCK_SIZE)
        digests[start] = xxhash.xxh3_128_digest(content[start : start + BLOCK_SIZE])

    for_each(starts, take)
    return xxhash.xxh3_128_hexdigest(b"".join(digests.values()))


def digest_of_whole(file: BinaryIO, content: memoryview, digest: Any) -> str:
    """The hash of all bytes in turn. A thread reads ahead."""
    starts = range(0, len(content), CHUNK_SIZE)
    reader = ThreadPoolExecutor(1)
    try:
        ahead = [reader.submit(read_in, file, start, start + CHUNK_SIZE) for start in starts]
        for start, reading in zip(starts, ahead):
            reading.result()
            digest.update(content[start : start + CHUNK_SIZE])
    finally:
        reader.shutdown(cancel_futures=True)
    return str(digest.hexdigest())


def read_in(file: BinaryIO, start: int, end: int) -> None:
    """Let the system read a part of a file into its memory."""
    if not hasattr(os, "sendfile"):
        read_slowly(file, start, end)
        return
    try:
        with Path(os.devnull).open("wb") as nowhere:
            while start < end and (
                sent := os.sendfile(nowhere.fileno(), file.fileno(), start, end - start)
            ):
                start += sent
    except OSError as error:
        if error.errno not in CANNOT_SEND:
            raise
        read_slowly(file, start, end)


def read_slowly(file: BinaryIO, start: int, end: int) -> None:
    """The same, through the memory of this process."""
    while start < end and (read := len(read_at(file.fileno(), READ_SIZE, start))):
        start += read
