from __future__ import annotations

import errno
import hashlib
import os
import threading
from pathlib import Path

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from audiozen.errors import DamagedCheckpointError
from audiozen.trainer import verified_files
from audiozen.trainer.verified_files import BLOCK_SIZE, VerifiedFiles, describe

CONTENT = bytes(range(100))


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "a.bin"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def num_hashed(monkeypatch) -> list[int]:
    """Sizes of what has been hashed; a file counts as settled at once."""
    sizes: list[int] = []
    real = verified_files.digest_of

    def counted(file, content, field):
        sizes.append(len(content))
        return real(file, content, field)

    monkeypatch.setattr(verified_files, "digest_of", counted)
    monkeypatch.setattr(verified_files, "SETTLED", -1.0)
    return sizes


def change(path: Path, content: bytes) -> None:
    """Write into a file, at another time even where clocks are coarse."""
    before = path.stat()
    with path.open("r+b") as file:
        file.write(content)
        file.truncate()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def is_mapped(path: Path) -> bool:
    return str(path) in Path("/proc/self/maps").read_text()


def described(content: bytes, field: str) -> dict[str, object]:
    """What a manifest has that knows one hash only, as those of earlier versions."""
    hashes = describe([content]) | {"xxh3_128": xxhash.xxh3_128_hexdigest(content)}
    return {"size": len(content), field: hashes[field]}


def test_descriptions_are_what_other_tools_print():
    content = bytes(BLOCK_SIZE) + b"abc"
    assert describe([content]) == {
        "size": BLOCK_SIZE + 3,
        # xxhsum -H2 of what it prints of the first 32 MiB, and of the rest, in bytes
        "xxh3_128_of_blocks": xxhash.xxh3_128_hexdigest(
            xxhash.xxh3_128_digest(bytes(BLOCK_SIZE))
            + bytes.fromhex("06b05ab6733a618578af5f94892f3950")
        ),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    assert BLOCK_SIZE == 32 << 20


@given(st.lists(st.binary(max_size=50)), st.integers(1, 60))
def test_descriptions_are_of_the_content_however_it_is_cut(parts, block_size):
    whole = b"".join(parts)
    blocks = [whole[start : start + block_size] for start in range(0, len(whole), block_size)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verified_files, "BLOCK_SIZE", block_size)
        assert describe([memoryview(part) for part in parts]) == {
            "size": len(whole),
            "xxh3_128_of_blocks": xxhash.xxh3_128_hexdigest(
                b"".join(map(xxhash.xxh3_128_digest, blocks))
            ),
            "sha256": hashlib.sha256(whole).hexdigest(),
        }


def test_part_is_hashed_in_one_call_for_each_block_and_one_in_all(monkeypatch):
    sizes = {"fast": [], "strong": []}

    class Counted:
        def __init__(self, kind: str) -> None:
            self.kind = kind

        def update(self, part: memoryview) -> None:
            sizes[self.kind].append(len(part))

        def digest(self) -> bytes:
            return b""

        def hexdigest(self) -> str:
            return ""

    monkeypatch.setattr(hashlib, "sha256", lambda: Counted("strong"))
    monkeypatch.setattr(xxhash, "xxh3_128", lambda: Counted("fast"))
    describe([memoryview(b"?"), memoryview(bytes(BLOCK_SIZE * 2))])
    assert sizes == {
        "fast": [1, BLOCK_SIZE - 1, BLOCK_SIZE, 1],
        "strong": [1, BLOCK_SIZE * 2],
    }


@pytest.mark.parametrize("size", [1, 7, 50, 100, 1000])
@pytest.mark.parametrize("field", ["xxh3_128_of_blocks", "xxh3_128", "sha256"])
def test_content_is_given_if_it_is_as_described(file, monkeypatch, field, size):
    monkeypatch.setattr(verified_files, "CHUNK_SIZE", size)
    monkeypatch.setattr(verified_files, "BLOCK_SIZE", size)
    expected = described(CONTENT, field)
    assert VerifiedFiles().read(file, expected)[:] == CONTENT
    assert VerifiedFiles().problems(file, expected) == []
    for place in range(len(CONTENT)):
        file.write_bytes(flipped(CONTENT, place))
        with pytest.raises(DamagedCheckpointError, match=r"^the content of a\.bin has changed$"):
            VerifiedFiles().read(file, expected)


def test_empty_file_is_read(tmp_path):
    (tmp_path / "a").touch()
    assert VerifiedFiles().read(tmp_path / "a", describe([])) == b""


def test_what_is_wrong_is_told_with_the_name(file):
    files, expected = VerifiedFiles(), describe([CONTENT])
    file.write_bytes(CONTENT[:-1])
    assert files.problems(file, expected) == ["a.bin has 99 bytes instead of 100"]
    assert files.problems(file, {}) == ["a.bin has 99 bytes instead of None"]
    file.unlink()
    assert files.problems(file, expected) == ["a.bin is missing"]
    file.mkdir()
    assert files.problems(file, expected) == [
        f"a.bin cannot be read: [Errno 21] Is a directory: {str(file)!r}"
    ]


def test_blocks_are_hashed_at_the_same_time(file, monkeypatch):
    meeting = threading.Barrier(2, timeout=60)
    real = xxhash.xxh3_128_digest

    def meet(content: memoryview) -> bytes:
        meeting.wait()
        return real(content)

    monkeypatch.setattr(verified_files, "BLOCK_SIZE", 50)
    expected = describe([CONTENT])
    monkeypatch.setattr(xxhash, "xxh3_128_digest", meet)
    assert VerifiedFiles().problems(file, expected) == []


@pytest.mark.parametrize("first_bad", [0, 99])
def test_disk_that_fails_is_told_and_does_not_end_the_process(file, monkeypatch, first_bad):
    real = os.sendfile

    def failing(out: int, descriptor: int, start: int, size: int) -> int:
        if start + size > first_bad:
            raise OSError(errno.EIO, "Input/output error")
        return real(out, descriptor, start, size)

    monkeypatch.setattr(os, "sendfile", failing)
    monkeypatch.setattr(verified_files, "BLOCK_SIZE", 10)
    assert VerifiedFiles().problems(file, describe([CONTENT])) == [
        "a.bin cannot be read: [Errno 5] Input/output error"
    ]


def test_file_system_that_cannot_send_files_is_read(file, monkeypatch):
    def impossible(*_: int) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "sendfile", impossible)
    monkeypatch.setattr(verified_files, "CHUNK_SIZE", 30)
    monkeypatch.setattr(verified_files, "BLOCK_SIZE", 30)
    monkeypatch.setattr(verified_files, "READ_SIZE", 7)
    real, read = os.pread, []

    def noted(descriptor: int, size: int, start: int) -> bytes:
        content = real(descriptor, size, start)
        read.extend(range(start, start + len(content)))
        return content

    monkeypatch.setattr(os, "pread", noted)
    for field in ("xxh3_128_of_blocks", "sha256"):
        read.clear()
        assert VerifiedFiles().read(file, described(CONTENT, field))[:] == CONTENT
        assert set(read) == set(range(100))


def test_what_was_verified_is_not_hashed_again(file, num_hashed):
    files, expected = VerifiedFiles(), describe([CONTENT])
    assert files.problems(file, expected) == []
    for _ in range(2):
        assert files.read(file, expected)[:] == CONTENT
    assert num_hashed == [100]


def test_another_description_is_not_believed_because_of_the_first(file, num_hashed):
    files = VerifiedFiles()
    assert files.problems(file, describe([CONTENT])) == []
    assert files.problems(file, describe([flipped(CONTENT, 0)])) != []
    assert num_hashed == [100, 100]


@pytest.mark.parametrize("content", [flipped(CONTENT, 50), CONTENT[:-1], b"", CONTENT + b"?"])
def test_change_after_the_verification_is_found(file, num_hashed, content):
    files, expected = VerifiedFiles(), describe([CONTENT])
    assert files.problems(file, expected) == []
    change(file, content)
    with pytest.raises(DamagedCheckpointError, match=r"a\.bin"):
        files.read(file, expected)
    change(file, CONTENT)
    assert files.read(file, expected)[:] == CONTENT
    assert num_hashed == ([100] * 3 if len(content) == 100 else [100] * 2)


def test_file_that_was_just_written_is_hashed_each_time(file, num_hashed, monkeypatch):
    monkeypatch.setattr(verified_files, "SETTLED", 2.0)
    files, expected = VerifiedFiles(), describe([CONTENT])
    files.read(file, expected)
    files.read(file, expected)
    assert num_hashed == [100, 100]


def test_verification_is_forgotten_after_some_time(file, num_hashed, monkeypatch):
    monkeypatch.setattr(verified_files, "TRUSTED", 0.0)
    files, expected = VerifiedFiles(), describe([CONTENT])
    files.read(file, expected)
    files.read(file, expected)
    assert num_hashed == [100, 100]


def test_content_may_be_changed_and_neither_the_file_nor_the_next_reader_knows(file, num_hashed):
    files, expected = VerifiedFiles(), describe([CONTENT])
    assert files.problems(file, expected) == []
    content = files.read(file, expected)
    content[:4] = b"mine"
    assert file.read_bytes() == CONTENT
    assert files.read(file, expected)[:] == CONTENT
    assert num_hashed == [100]


def test_good_file_stays_mapped_until_it_is_read_or_let_go(file):
    files, expected = VerifiedFiles(), describe([CONTENT])
    assert files.problems(file, expected) == []
    assert is_mapped(file)
    files.read(file, expected)
    assert not is_mapped(file)
    assert files.problems(file, expected) == []
    files.let_go()
    assert not is_mapped(file)
