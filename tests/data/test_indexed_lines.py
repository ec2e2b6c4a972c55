from __future__ import annotations

import logging
import multiprocessing
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audiozen.data import indexed_lines
from audiozen.data.indexed_lines import IndexedLines
from audiozen.data.shared_file import SharedFile
from audiozen.errors import ManifestError

LINES = [f"line {number}{'x' * (number % 7)}".encode() for number in range(1000)]
HEADER_SIZE = 56
CHANGED = "text was written to while it was in use, or its index is damaged"


@pytest.fixture
def text(tmp_path) -> Path:
    path = tmp_path / "text"
    path.write_bytes(b"".join(line + b"\n" for line in LINES))
    return path


def stripped(lines: IndexedLines) -> list[bytes]:
    return [line.strip() for line in lines.stretch(0, len(lines))]


def index_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.index")


def identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


# ---- which lines there are --------------------------------------------------------------------


def test_lines_come_by_number_and_in_a_row(text):
    lines = IndexedLines.opened(text)
    assert len(lines) == 1000
    assert stripped(lines) == LINES
    assert [lines[number].strip() for number in (999, 0, 500)] == [LINES[999], LINES[0], LINES[500]]
    assert [line.strip() for line in lines.stretch(10, 12)] == LINES[10:12]
    assert list(lines.stretch(10, 10)) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from([b"a", b" b", b"cc\r", b"", b" \t", b"\r", b"d \x0c", b"\x00"])),
    st.booleans(),
    st.integers(1, 12),
)
def test_lines_are_those_that_are_not_blank_wherever_a_block_ends(
    tmp_path, monkeypatch, parts, ends_with_newline, block_size
):
    monkeypatch.setattr(indexed_lines, "_BLOCK_SIZE", block_size)
    monkeypatch.setattr(indexed_lines, "_LINES_AT_ONCE", block_size)
    path = tmp_path / "text"
    path.write_bytes(b"\n".join(parts) + b"\n" * ends_with_newline)
    index_of(path).unlink(missing_ok=True)
    lines = IndexedLines.opened(path)
    expected = [(number, part) for number, part in enumerate(parts, 1) if part.strip(b" \t\r")]
    assert [line.strip(b" \t\r\n") for line in lines.stretch(0, len(lines))] == [
        part.strip(b" \t\r") for _, part in expected
    ]
    assert [lines.line_number(place) for place in range(len(lines))] == [
        number for number, _ in expected
    ]


def test_line_that_is_longer_than_a_block_is_one_line(text, monkeypatch):
    monkeypatch.setattr(indexed_lines, "_BLOCK_SIZE", 64)
    text.write_bytes(b"a\n" + b"x" * 1000 + b"\nb\n")
    assert [len(line) for line in IndexedLines.opened(text).stretch(0, 3)] == [2, 1001, 2]


# ---- the index beside the text ----------------------------------------------------------------


def test_index_is_made_once(text):
    first = IndexedLines.opened(text)
    made = identity(index_of(text))
    assert index_of(text).stat().st_size == HEADER_SIZE + 8 * 1001
    second = IndexedLines.opened(text)
    assert identity(index_of(text)) == made
    assert stripped(second) == LINES
    assert second.digest == first.digest
    assert sorted(path.name for path in text.parent.iterdir()) == ["text", "text.index"]


def test_text_with_another_size_or_time_gets_another_index(text):
    digests = [IndexedLines.opened(text).digest]
    text.write_bytes(text.read_bytes() + b"one more\n")
    assert stripped(IndexedLines.opened(text)) == [*LINES, b"one more"]
    digests.append(IndexedLines.opened(text).digest)
    text.write_bytes(text.read_bytes().replace(b"more", b"less"))
    os.utime(text, ns=(0, 1))
    assert stripped(IndexedLines.opened(text)) == [*LINES, b"one less"]
    digests.append(IndexedLines.opened(text).digest)
    assert len(set(digests)) == 3


def test_text_without_lines_that_gets_some_gets_another_index(text):
    text.write_bytes(b"\n \n")
    assert len(IndexedLines.opened(text)) == 0
    text.write_bytes(b"a\nb\n")
    assert stripped(IndexedLines.opened(text)) == [b"a", b"b"]


def test_other_lines_of_the_same_size_and_time_are_noticed(text):
    IndexedLines.opened(text)
    before = text.stat()
    text.write_bytes(b"".join(line + b"\n" for line in reversed(LINES)))
    os.utime(text, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert text.stat().st_size == before.st_size
    assert stripped(IndexedLines.opened(text)) == LINES[::-1]


def damaged(content: bytes) -> dict[str, bytes]:
    half = HEADER_SIZE + 8 * 500
    return {
        "empty": b"",
        "half a header": content[:30],
        "header alone": content[:HEADER_SIZE],
        "half of it": content[:half],
        "one number short": content[:-8],
        "one byte short": content[:-1],
        "foreign": b"something else entirely" * 1000,
        "another version": content[:15] + b"2" + content[16:],
        "fewer lines stated": content[:32] + (999).to_bytes(8, sys.byteorder) + content[40:],
        "more lines stated": content[:32] + (1001).to_bytes(8, sys.byteorder) + content[40:],
        "less than no lines": content[:32] + b"\xff" * 8 + content[40:],
        "shifted": content[:HEADER_SIZE]
        + (np.frombuffer(content[HEADER_SIZE:], np.int64) + 1).tobytes(),
        "zeros": content[:HEADER_SIZE] + bytes(len(content) - HEADER_SIZE),
        "first line left out": content[:32]
        + (999).to_bytes(8, sys.byteorder)
        + content[40:HEADER_SIZE]
        + content[HEADER_SIZE + 8 :],
    }


@pytest.mark.parametrize("kind", damaged(bytes(HEADER_SIZE + 8 * 1001)))
def test_damaged_index_is_made_anew(text, kind):
    IndexedLines.opened(text)
    good = index_of(text).read_bytes()
    wrong = damaged(good)[kind]
    assert wrong != good
    index_of(text).write_bytes(wrong)
    assert stripped(IndexedLines.opened(text)) == LINES
    assert index_of(text).read_bytes() == good


def begin_of(number: int) -> int:
    return sum(len(line) + 1 for line in LINES[:number])


@pytest.mark.parametrize(
    "offset",
    [
        begin_of(500),
        begin_of(499),
        begin_of(501) - 1,
        begin_of(501) + 1,
        begin_of(502),
        begin_of(503),
        begin_of(1000) + 1,
        2**62,
        -(2**62),
    ],
)
def test_damage_that_no_probe_meets_is_an_error_where_it_is_read(text, offset):
    IndexedLines.opened(text)
    content = bytearray(index_of(text).read_bytes())
    place = HEADER_SIZE + 8 * 501
    content[place : place + 8] = offset.to_bytes(8, sys.byteorder, signed=True)
    index_of(text).write_bytes(content)
    lines = IndexedLines.opened(text)
    assert [lines[number].strip() for number in (499, 502)] == [LINES[499], LINES[502]]
    for number in (500, 501):
        with pytest.raises(ManifestError, match=CHANGED):
            lines[number]
    with pytest.raises(ManifestError, match=f"remove {index_of(text)}"):
        list(lines.stretch(0, 1000))


def test_index_that_cannot_be_written_is_kept_elsewhere_and_told_once(text, caplog):
    index_of(text).mkdir()
    (index_of(text) / "something").touch()  # so that nothing can take its name
    with caplog.at_level(logging.WARNING):
        lines = IndexedLines.opened(text)
        assert stripped(lines) == LINES
    [record] = caplog.records
    assert f"the lines of {text} are found anew at each start" in record.getMessage()
    assert "Is a directory" in record.getMessage()
    assert sorted(path.name for path in text.parent.iterdir()) == ["text", "text.index"]


def open_at_once(path: Path, barrier, told) -> None:
    barrier.wait()
    told.put(stripped(IndexedLines.opened(path)) == LINES)


def test_several_processes_make_the_index_at_once(text):
    fork = multiprocessing.get_context("fork")
    for _ in range(10):
        barrier, told = fork.Barrier(4), fork.Queue()
        workers = [fork.Process(target=open_at_once, args=(text, barrier, told)) for _ in range(4)]
        for worker in workers:
            worker.start()
        assert [told.get(timeout=60) for _ in workers] == [True] * 4
        for worker in workers:
            worker.join()
        assert sorted(path.name for path in text.parent.iterdir()) == ["text", "text.index"]
        index_of(text).unlink()


# ---- a text that changes ----------------------------------------------------------------------


def test_text_that_is_replaced_stays_what_was_opened(text):
    lines = IndexedLines.opened(text)
    other = text.with_name("other")
    other.write_text("something else\n")
    other.replace(text)
    assert stripped(lines) == LINES
    assert stripped(IndexedLines.opened(text)) == [b"something else"]
    assert stripped(lines) == LINES


def test_text_that_is_removed_stays_what_was_opened(text):
    lines = IndexedLines.opened(text)
    text.unlink()
    index_of(text).unlink()
    assert stripped(lines) == LINES


@pytest.mark.parametrize("number", [0, 500, 999])
@pytest.mark.parametrize(
    "changed",
    [b"", b"line", LINES[0] + b"\n", b"\n".join(LINES).replace(b"line", b"LINE") + b"\n"],
    ids=["empty", "cut short", "one line", "other letters"],
)
def test_text_that_is_written_over_is_an_error_and_never_another_line(text, changed, number):
    lines = IndexedLines.opened(text)
    text.write_bytes(changed)
    with pytest.raises(ManifestError, match=CHANGED):
        lines[number]


def test_text_that_grows_is_an_error(text):
    lines = IndexedLines.opened(text)
    with text.open("ab") as file:
        file.write(b"one more\n")
    with pytest.raises(ManifestError, match=CHANGED):
        lines[0]


def test_text_that_cannot_be_read_any_more_is_an_error_with_its_name(text, tmp_path):
    lines = IndexedLines.opened(text)
    folder = os.open(tmp_path, os.O_RDONLY)
    for link in list(Path("/proc/self/fd").iterdir()):
        if link.resolve() == text:
            os.dup2(folder, int(link.name))  # no byte can be read where a folder is
    os.close(folder)
    with pytest.raises(ManifestError, match=rf"cannot read {text} any more: .*Is a directory"):
        lines[0]


def test_text_that_is_missing_or_a_folder_cannot_be_opened(tmp_path):
    with pytest.raises(FileNotFoundError):
        IndexedLines.opened(tmp_path / "gone")
    with pytest.raises(IsADirectoryError):
        IndexedLines.opened(tmp_path)


def test_index_of_another_text_is_refused(text, tmp_path):
    IndexedLines.opened(text)
    other = tmp_path / "other"
    other.write_text("a\nb\n")
    with pytest.raises(ManifestError, match="other was written to"):
        IndexedLines(other, SharedFile.opened(other), SharedFile.opened(index_of(text)))
