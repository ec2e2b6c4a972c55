"""Files that are as they were written: described while they are written, verified before anything of them is used.

A description stands in the manifest of a checkpoint, for each of its files:

- ``size``: number of bytes.
- ``xxh3_128``: XXH3 of 128 bits of the content, as ``xxhsum -H2`` prints it. This is what is verified, since it is
  faster than a copy of the content. It tells every accident; nothing here keeps out who wants to deceive, as the
  manifest itself can be written anew.
- ``sha256``: SHA-256 of the content, as ``sha256sum`` prints it: for other tools, and verified in the checkpoints of
  earlier versions, which have no ``xxh3_128``.

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

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import TypeAlias

    from audiozen.durable_files import Bytes

    Content: TypeAlias = mmap.mmap | bytes

BLOCK_SIZE = 1 << 20
"""Bytes of a read where files cannot be sent."""
CHUNK_SIZE = 1 << 24
"""Bytes that are read ahead at a time."""
CANNOT_SEND = (errno.EINVAL, errno.ENOSYS, errno.ENOTSOCK, errno.ENOTSUP)
"""What a system says that sends files to sockets only, or not from this file system."""
SETTLED = 2.0
"""Seconds after its last change from which on the next change of a file shows in its times, whatever the system."""
TRUSTED = 300.0
"""Seconds for which a file that has been verified need not be verified again, unless it changes."""


def describe(parts: Iterable[Bytes]) -> dict[str, Any]:
    """Description of the file that consists of these parts.

    A part is hashed in one call: between two calls, a thread waits for the interpreter, which another one may be using.
    """
    fast, strong, size = xxhash.xxh3_128(), hashlib.sha256(), 0
    for part in parts:
        fast.update(part)
        strong.update(part)
        size += memoryview(part).nbytes
    return {"size": size, "xxh3_128": fast.hexdigest(), "sha256": strong.hexdigest()}


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
        digest = expected.get("xxh3_128") or expected["sha256"]
        if self._is_trusted(version, digest):
            return content
        hashed = xxhash.xxh3_128 if "xxh3_128" in expected else hashlib.sha256
        if digest_of(file, content, hashed()) != digest:
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


def digest_of(file: BinaryIO, content: Content, digest: Any) -> str:
    """A hash of the content of a file, in hexadecimal digits. A thread reads ahead.

    A disk that fails is an OSError in that thread; where a mapping meets it, the process ends (SIGBUS).
    """
    starts = range(0, len(content), CHUNK_SIZE)
    reader = ThreadPoolExecutor(1)
    try:
        ahead = [reader.submit(read_in, file, start, start + CHUNK_SIZE) for start in starts]
        with memoryview(content) as whole:
            for start, reading in zip(starts, ahead):
                reading.result()
                digest.update(whole[start : start + CHUNK_SIZE])
    finally:
        reader.shutdown(cancel_futures=True)
    return str(digest.hexdigest())


def read_in(file: BinaryIO, start: int, end: int) -> None:
    """Let the system read a part of a file into its memory."""
    try:
        with Path(os.devnull).open("wb") as nowhere:
            while start < end and (
                sent := os.sendfile(nowhere.fileno(), file.fileno(), start, end - start)
            ):
                start += sent
    except OSError as error:
        if error.errno not in CANNOT_SEND:
            raise
        file.seek(start)
        while file.tell() < end and file.read(BLOCK_SIZE):
            pass
