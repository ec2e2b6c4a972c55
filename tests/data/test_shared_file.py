from __future__ import annotations

import multiprocessing
import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest

from audiozen.data.shared_file import SharedFile, SharedNumbers, array_of, read_numbers, share


def num_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_file_is_read_anywhere_and_to_its_end(tmp_path):
    (tmp_path / "f").write_bytes(b"0123456789")
    file = SharedFile.opened(tmp_path / "f")
    assert file.read(3, 4) == b"3456"
    assert file.read(8, 4) == b"89"
    assert file.read(10, 4) == b""
    with file.stream() as stream:
        assert stream.read() == b"0123456789"
    with file.stream() as stream:
        assert stream.read(2) == b"01"


def test_file_is_closed_with_its_last_reference(tmp_path):
    (tmp_path / "f").touch()
    before = num_descriptors()
    file = SharedFile.opened(tmp_path / "f")
    assert num_descriptors() == before + 1
    del file
    assert num_descriptors() == before


def test_file_is_shared_with_what_was_written_so_far():
    with tempfile.TemporaryFile() as file:
        file.write(b"abc")
        shared = share(file)
        assert shared.read(0, 9) == b"abc"
    assert shared.read(0, 9) == b"abc"


def test_file_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone"):
        SharedFile.opened(tmp_path / "gone")


@pytest.mark.parametrize("cut", [slice(None), slice(2, 5), slice(None, None, -2), slice(3, 3)])
def test_numbers_in_a_file_are_what_a_list_would_be(cut):
    listed = [5, -1, 2**62, 0, 7, 7]
    numbers, expected = SharedNumbers.of(np.array(listed))[cut], listed[cut]
    assert list(numbers) == expected
    assert len(numbers) == len(expected)
    assert numbers.array().tolist() == expected
    assert [numbers[-place] for place in range(1, len(numbers) + 1)] == expected[::-1]
    assert list(pickle.loads(pickle.dumps(numbers))) == expected
    with pytest.raises(IndexError):
        numbers[len(expected)]


def test_any_kind_of_whole_numbers_can_be_kept():
    numbers = np.arange(6, dtype=np.uint8)[::2]
    assert list(SharedNumbers.of(numbers)) == [0, 2, 4]
    assert list(SharedNumbers.of(np.array([], np.int64))) == []


def test_range_becomes_an_array():
    assert array_of(range(9, 0, -3)).tolist() == [9, 6, 3]


def open_files() -> set[int]:
    """Regular files that this process has open, by what the system calls them."""
    links = Path("/proc/self/fd").iterdir()
    return {link.stat().st_ino for link in list(links) if link.is_file()}


def tell(numbers: SharedNumbers, told) -> None:
    told.put((list(numbers), open_files()))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_reads_numbers_from_the_very_file(method):
    context = multiprocessing.get_context(method)
    numbers, told = SharedNumbers.of(np.arange(5))[1:3], context.Queue()
    worker = context.Process(target=tell, args=(numbers, told))
    worker.start()
    listed, files = told.get(timeout=60)
    worker.join()
    assert listed == [1, 2]
    assert files
    assert files <= open_files()


def test_numbers_beyond_the_end_are_an_error(tmp_path):
    (tmp_path / "f").write_bytes(bytes(20))
    file = SharedFile.opened(tmp_path / "f")
    assert read_numbers(file, 4, 2).tolist() == [0, 0]
    with pytest.raises(EOFError, match="2 numbers were expected at byte 8, and the file ends"):
        read_numbers(file, 8, 2)
