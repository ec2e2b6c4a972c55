from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from audiozen.data import audio
from audiozen.data.audio import read_audio
from audiozen.data.wav import read_wav
from audiozen.errors import AudioError

FAST = ["PCM_16", "PCM_24", "PCM_32", "FLOAT"]
OTHERS = ["PCM_U8", "DOUBLE", "ULAW", "ALAW", "IMA_ADPCM"]
NUM_SAMPLES = 300


def write(path: Path, subtype: str, channels: int = 1, container: str = "WAV") -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, (NUM_SAMPLES, channels))
    noise[0], noise[1] = -1, 1 - 2**-20
    soundfile.write(path, noise, 16_000, subtype, format=container)


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack("<4sI", name, len(content)) + content + bytes(len(content) % 2)


FORMAT = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 16_000, 32_000, 2, 16))
DATA = chunk(b"data", np.arange(-50, 50, dtype="<i2").tobytes())


def riff(*chunks: bytes) -> bytes:
    content = b"WAVE" + b"".join(chunks)
    return struct.pack("<4sI", b"RIFF", len(content)) + content


def assert_equal_to_libsndfile(path: Path, start: int, num_samples: int | None) -> None:
    """Not one bit may differ."""
    segment = read_wav(path, start, num_samples)
    length = -1 if num_samples is None else num_samples
    expected, rate = soundfile.read(path, length, start, dtype="float32", always_2d=True)
    assert segment is not None
    assert segment.sample_rate == rate
    assert segment.frames.dtype == np.float32
    assert segment.frames.shape == expected.shape
    assert segment.frames.tobytes() == expected.tobytes()


@pytest.mark.parametrize("container", ["WAV", "WAVEX"])
@pytest.mark.parametrize("channels", [1, 2, 7])
@pytest.mark.parametrize("subtype", FAST)
def test_samples_are_those_of_libsndfile(tmp_path, subtype, channels, container):
    path = tmp_path / "a.wav"
    write(path, subtype, channels, container)
    for start, length in ((0, None), (0, NUM_SAMPLES), (7, 11), (NUM_SAMPLES - 1, 1), (13, None)):
        assert_equal_to_libsndfile(path, start, length)
    assert read_wav(path, 0, 1).is_float == (subtype == "FLOAT")


@pytest.mark.parametrize("channels", [1, 5])
@pytest.mark.parametrize("subtype", FAST)
def test_long_segments_are_those_of_libsndfile(tmp_path, subtype, channels):
    noise = np.random.default_rng(0).uniform(-1, 1, (60_000, channels))
    path = tmp_path / "a.wav"
    soundfile.write(path, noise, 16_000, subtype)
    for start, length in ((0, None), (1, 49_152), (17, 24_576), (3, 24_577), (5, 16_385)):
        assert_equal_to_libsndfile(path, start, length)


@pytest.mark.parametrize("subtype", OTHERS)
def test_other_formats_are_left_to_libsndfile(tmp_path, subtype):
    path = tmp_path / "a.wav"
    write(path, subtype)
    assert read_wav(path, 0, 5) is None
    expected, _ = soundfile.read(path, 5, 3, dtype="float32")
    assert read_audio(path, start=3, num_samples=5).numpy().tobytes() == expected.tobytes()


@pytest.mark.parametrize("container", ["RF64", "W64", "AIFF", "FLAC", "CAF"])
def test_other_containers_with_the_ending_of_wav_are_read(tmp_path, container):
    path = tmp_path / "a.wav"
    write(path, "PCM_16", container=container)
    assert read_wav(path, 0, 5) is None
    expected, _ = soundfile.read(path, 5, 3, dtype="float32")
    assert read_audio(path, start=3, num_samples=5).numpy().tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    "passed_over",
    [
        chunk(b"JUNK", bytes(28)),
        chunk(b"PAD ", bytes(27)),
        chunk(b"fact", bytes(4)),
        chunk(b"PEAK", bytes(16)),
        chunk(b"LIST", b"INFO"),
        chunk(b"LIST", b"INFO" + chunk(b"ISFT", b"Lavf60.16.100") + chunk(b"INAM", b"a\0")),
    ],
)
def test_chunks_before_the_samples_are_passed_over(tmp_path, passed_over):
    path = tmp_path / "a.wav"
    path.write_bytes(riff(FORMAT, passed_over, DATA))
    assert_equal_to_libsndfile(path, 10, 20)


def test_odd_number_of_bytes_is_padded_or_not(tmp_path):
    path = tmp_path / "a.wav"
    eight_bits_wide = struct.pack("<HHIIHH", 1, 1, 16_000, 48_000, 3, 24)
    content = riff(chunk(b"fmt ", eight_bits_wide), chunk(b"data", bytes(range(15))))
    for ending in (content, content[:-1]):
        path.write_bytes(ending)
        assert_equal_to_libsndfile(path, 1, 3)


UNUSUAL = {
    "no format": riff(DATA),
    "format after the samples": riff(DATA, FORMAT),
    "two formats": riff(FORMAT, FORMAT, DATA),
    "unknown chunk": riff(FORMAT, chunk(b"what", b"ever"), DATA),
    "chunk after the samples": riff(FORMAT, DATA, chunk(b"LIST", b"INFO")),
    "half a sample": riff(FORMAT, chunk(b"data", bytes(3))),
    "samples that begin late": riff(FORMAT, chunk(b"JUNK", bytes(5000)), DATA),
    "count that is cut": riff(FORMAT, chunk(b"fact", b"12"), DATA),
    "peak of two channels": riff(FORMAT, chunk(b"PEAK", bytes(24)), DATA),
    "list of what": riff(FORMAT, chunk(b"LIST", b"adtl"), DATA),
    "list that is cut": riff(FORMAT, chunk(b"LIST", b"INFO" + chunk(b"INAM", b"name")[:-1]), DATA),
    "broadcast extension": riff(FORMAT, chunk(b"bext", bytes(602)), DATA),
    "big-endian": b"RIFX" + riff(FORMAT, DATA)[4:],
    "short format": riff(chunk(b"fmt ", bytes(8)), DATA),
    "long format": riff(chunk(b"fmt ", FORMAT[8:] + bytes(8)), DATA),
    "no channels": riff(chunk(b"fmt ", struct.pack("<HHIIHH", 1, 0, 9, 9, 0, 16)), DATA),
    "no rate": riff(chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 0, 0, 2, 16)), DATA),
    "strange frames": riff(chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 9, 36, 4, 24)), DATA),
    "chunk beyond the end": riff(FORMAT, struct.pack("<4sI", b"LIST", 2**31), DATA),
    "samples of unknown size": riff(FORMAT, b"data\xff\xff\xff\xff", DATA[8:]),
    "cut": riff(FORMAT, DATA)[:-2],
    "nothing": b"",
}


@pytest.mark.parametrize("content", UNUSUAL.values(), ids=UNUSUAL.keys())
def test_what_is_unusual_is_left_to_libsndfile(tmp_path, content):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    assert read_wav(path, 0, None) is None


def outcome(path: Path, **options: object) -> object:
    """Samples, or the text of the error."""
    try:
        return read_audio(path, **options).numpy().tobytes()
    except AudioError as error:
        return str(error)


def outcome_by_libsndfile(path: Path, monkeypatch: pytest.MonkeyPatch, **options: object) -> object:
    with monkeypatch.context() as patch:
        patch.setattr(audio, "read_wav", lambda *_: None)
        return outcome(path, **options)


@pytest.mark.parametrize("subtype", FAST)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"start": -1},
        {"start": 290, "num_samples": 11},
        {"num_samples": 0},
        {"expected_rate": 8000},
        {"expected_rate": 8000, "start": 301},
        {"channel": 1},
        {"channel": 2},
        {"channel": "mean"},
        {"channel": "mean", "sample_rate": 8000},
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_samples_and_errors_are_the_same_either_way(
    tmp_path, monkeypatch, subtype, options, channels
):
    path = tmp_path / "a.wav"
    write(path, subtype, channels)
    assert outcome(path, **options) == outcome_by_libsndfile(path, monkeypatch, **options)


def test_missing_file_and_folder_are_left_to_libsndfile(tmp_path):
    assert read_wav(tmp_path / "gone.wav", 0, None) is None
    assert read_wav(tmp_path, 0, None) is None


def test_segment_outside_of_the_file_is_left_to_libsndfile(tmp_path):
    path = tmp_path / "a.wav"
    write(path, "PCM_16")
    for start, length in ((-1, 5), (0, 0), (0, NUM_SAMPLES + 1), (NUM_SAMPLES, None)):
        assert read_wav(path, start, length) is None


def test_plain_wav_is_opened_once_and_libsndfile_never(tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    write(path, "PCM_16")
    opened, really = [], os.open
    monkeypatch.setattr(os, "open", lambda *words: opened.append(words[0]) or really(*words))
    monkeypatch.setattr(audio, "_opened", None)
    read_audio(path, start=5, num_samples=20)
    assert opened == [path]


def num_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("end", [None, 20])
def test_no_descriptor_is_left_open(tmp_path, end):
    path = tmp_path / "a.wav"
    path.write_bytes(riff(FORMAT, DATA)[:end])
    before = num_descriptors()
    read_wav(path, 0, None)
    assert num_descriptors() == before


CHUNKS = st.sampled_from([b"fmt ", b"data", b"LIST", b"fact", b"JUNK", b"PEAK", b"PAD ", b"odd?"])
TEXTS = st.builds(
    lambda parts: b"INFO" + b"".join(chunk(*part) for part in parts),
    st.lists(
        st.tuples(st.sampled_from([b"ISFT", b"INAM", b"ICMT", b"data"]), st.binary(max_size=9)),
        max_size=3,
    ),
)
FORMATS = st.builds(
    lambda *fields: struct.pack("<HHIIHH", *fields),
    st.sampled_from([1, 1, 3, 0xFFFE, 7]),
    st.sampled_from([1, 2, 3, 0]),
    st.sampled_from([16_000, 1, 0]),
    st.just(32_000),
    st.sampled_from([2, 4, 6, 3]),
    st.sampled_from([16, 24, 32, 8]),
)


@settings(deadline=None, max_examples=400)
@given(
    st.lists(st.tuples(CHUNKS, st.one_of(FORMATS, TEXTS, st.binary(max_size=40))), max_size=3),
    st.integers(0, 3),
)
def test_whatever_is_in_a_file_is_read_as_libsndfile_reads_it(tmp_path_factory, parts, start):
    path = tmp_path_factory.mktemp("any") / "a.wav"
    path.write_bytes(riff(FORMAT, *(chunk(*part) for part in parts), DATA))
    segment = read_wav(path, start, None)
    if segment is not None:
        assert_equal_to_libsndfile(path, start, None)


@settings(deadline=None, max_examples=300)
@given(FORMATS, st.integers(0, 60), st.integers(0, 5))
def test_whatever_the_format_says_is_read_as_libsndfile_reads_it(
    tmp_path_factory, fields, size, start
):
    path = tmp_path_factory.mktemp("any") / "a.wav"
    path.write_bytes(riff(chunk(b"fmt ", fields), chunk(b"data", bytes(range(size)))))
    if read_wav(path, start, None) is not None:
        assert_equal_to_libsndfile(path, start, None)


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 43), st.integers(0, 255))
def test_whatever_is_in_the_header_is_read_as_libsndfile_reads_it(tmp_path_factory, place, value):
    path = tmp_path_factory.mktemp("any") / "a.wav"
    content = bytearray(riff(FORMAT, DATA))
    content[place] = value
    path.write_bytes(content)
    if read_wav(path, 2, None) is not None:
        assert_equal_to_libsndfile(path, 2, None)
