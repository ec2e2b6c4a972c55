from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from audiozen.errors import AudioError, RequestError
from audiozen.inference.live import CLOSED_READER, enhance_chunks, stream_pcm
from tests.inference.frame_models import HOP, Small, recorded

ROOT = Path(__file__).resolve().parents[2]


class Delayed:
    """Output ``delay`` samples late, times a gain; remembers as many inputs."""

    def __init__(self, hop_length: int = 2, delay: int = 3, gain: float = 1.0) -> None:
        self.hop_length, self.delay, self.gain = hop_length, delay, gain

    def initial_state(self, batch_size: int = 1) -> Tensor:
        return torch.zeros(batch_size, self.delay)

    def stream(self, chunk: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        assert chunk.shape == (1, self.hop_length)
        signal = torch.cat([state, self.gain * chunk], -1)
        return signal[:, : self.hop_length], signal[:, self.hop_length :]


class Trickle(io.RawIOBase):
    """Gives and takes a few bytes at a time, as a pipe may."""

    def __init__(self, content: bytes = b"") -> None:
        self.content, self.written, self.flushed_at = content, b"", []

    def read(self, size: int = -1) -> bytes:
        part, self.content = self.content[: min(size, 3)], self.content[min(size, 3) :]
        return part

    def write(self, content: Any) -> int:
        part = bytes(content[:3])
        self.written += part
        return len(part)

    def flush(self) -> None:
        self.flushed_at.append(len(self.written))


def through(model: Any, content: bytes, **settings: Any) -> bytes:
    sink = io.BytesIO()
    assert stream_pcm(model, io.BytesIO(content), sink, **settings)
    return sink.getvalue()


@given(
    samples=st.lists(st.integers(-32768, 32767), max_size=20),
    hop_length=st.integers(1, 7),
    delay=st.integers(0, 12),
)
def test_integers_come_back_bit_for_bit_in_their_place(
    samples: list[int], hop_length: int, delay: int
) -> None:
    content = np.array(samples, "<i2").tobytes()
    assert through(Delayed(hop_length, delay), content) == content


@pytest.mark.parametrize("length", [0, 1, HOP - 1, HOP, HOP + 1, 10 * HOP + 7])
def test_result_is_that_of_the_whole_signal(length: int) -> None:
    torch.manual_seed(0)
    model = Small().eval()
    noisy = recorded(1)[8000 : 8000 + length]
    content = through(model, noisy.numpy().tobytes(), sample_format="f32le")
    enhanced = torch.frombuffer(bytearray(content), dtype=torch.float32) if content else noisy
    expected = model(noisy[None])[0].detach() if length else noisy
    torch.testing.assert_close(enhanced, expected, rtol=0, atol=1e-6)


def test_output_lags_by_the_delay_until_the_input_ends() -> None:
    known = [len(c) for c in enhance_chunks(Delayed(), 3 * [np.ones(2, np.float32)])]
    assert known == [1, 2, 2, 1]


def test_bytes_may_come_and_go_in_small_pieces_and_each_chunk_is_flushed() -> None:
    content = np.arange(7, dtype="<i2").tobytes()
    source, sink = Trickle(content), Trickle()
    assert stream_pcm(Delayed(), source, sink)
    assert sink.written == content
    assert sink.flushed_at == [2, 6, 10, 14]


def test_loud_integers_are_clipped_and_floats_are_not() -> None:
    samples = np.array([20000, -20000, 100], "<i2")
    result = np.frombuffer(through(Delayed(gain=2.0), samples.tobytes()), "<i2")
    assert result.tolist() == [32767, -32768, 200]
    floats = np.array([0.75, -2.0], "<f4")
    result = through(Delayed(gain=2.0), floats.tobytes(), sample_format="f32le")
    assert np.frombuffer(result, "<f4").tolist() == [1.5, -4.0]


def test_integers_are_rounded() -> None:
    samples = np.array([1, -1, 3, -3], "<i2")
    result = through(Delayed(gain=0.9), samples.tobytes())
    assert np.frombuffer(result, "<i2").tolist() == [1, -1, 3, -3]


def test_silence_stays_silence() -> None:
    content = bytes(2 * 1000)
    assert through(Small().eval(), content) == content


@pytest.mark.parametrize("num_extra", [1, 2, 3])
def test_end_within_a_sample_is_told_after_what_was_complete(num_extra: int) -> None:
    content = np.array([0.1, 0.2, 0.3], "<f4").tobytes()
    source, sink = io.BytesIO(content + num_extra * b"x"), io.BytesIO()
    with pytest.raises(AudioError, match=rf"within sample 3: {num_extra} bytes? of 4; is it f32le"):
        stream_pcm(Delayed(), source, sink, sample_format="f32le")
    assert sink.getvalue() == content


@pytest.mark.parametrize("number", [0, 1, 2, 4])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_sample_that_is_not_finite_is_told_after_what_came_before(
    number: int, value: float
) -> None:
    samples = np.arange(5, dtype="<f4")
    samples[number] = value
    sink = io.BytesIO()
    with pytest.raises(AudioError, match=f"sample {number} of the input is {value}; is it f32le"):
        stream_pcm(Delayed(), io.BytesIO(samples.tobytes()), sink, sample_format="f32le")
    assert sink.getvalue() == samples[:number].tobytes()


def test_model_that_returns_no_numbers_is_told() -> None:
    with pytest.raises(AudioError, match="model returned samples that are not finite"):
        through(Delayed(gain=float("nan")), bytes(20))


def test_source_that_does_not_wait_is_refused() -> None:
    class Empty(io.RawIOBase):
        def read(self, size: int = -1) -> None:
            return None

    with pytest.raises(AudioError, match="does not wait; open it in blocking mode"):
        stream_pcm(Delayed(), Empty(), io.BytesIO())


def test_unknown_format_is_refused() -> None:
    with pytest.raises(RequestError, match="'s24le' is unknown; choose one of s16le, f32le"):
        through(Delayed(), b"", sample_format="s24le")


def test_closed_reader_ends_it_without_an_error() -> None:
    class Closed(io.BytesIO):
        def write(self, content: Any) -> int:
            raise BrokenPipeError

    source = io.BytesIO(bytes(1000))
    assert not stream_pcm(Delayed(), source, Closed())
    assert source.tell() < 100


def test_no_gradients_are_made_and_none_are_forbidden() -> None:
    inside: list[bool] = []

    class Watched(Delayed):
        def stream(self, chunk: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
            inside.append(torch.is_grad_enabled())
            return super().stream(chunk, state)

    chunks = enhance_chunks(Watched(), 3 * [np.ones(2, np.float32)])
    between = [torch.is_grad_enabled() for _ in chunks]
    assert set(inside) == {False}
    assert set(between) == {True}


# Processes ----------------------------------------------------------------------------------------

PROGRAM = """
import sys
import torch
from audiozen.inference.live import CLOSED_READER, stream_pcm
from tests.inference.frame_models import Small

torch.set_num_threads(1)
torch.manual_seed(0)
model = Small(512, 256, 512).eval()
if not stream_pcm(model, sys.stdin.buffer, sys.stdout.buffer, sample_format=sys.argv[1]):
    sys.exit(CLOSED_READER)
"""


def start(sample_format: str) -> subprocess.Popen[bytes]:
    """With the buffered output that a program has by default."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM, sample_format],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        bufsize=0,
    )


def write_for_ever(stream: Any) -> None:
    while True:
        stream.write(bytes(4096))


def test_process_answers_while_the_sound_still_comes_in() -> None:
    torch.manual_seed(0)
    model = Small(512, 256, 512).eval()
    noisy = recorded(1)[8000:8900]
    content = noisy.numpy().tobytes()
    with start("f32le") as process:
        process.stdin.write(content[: 4 * 512])
        first = process.stdout.read(4 * 256)  # while the input is open
        rest, message = process.communicate(content[4 * 512 :])
    assert (process.returncode, message) == (0, b"")
    enhanced = torch.frombuffer(bytearray(first + rest), dtype=torch.float32)
    torch.testing.assert_close(enhanced, model(noisy[None])[0].detach(), rtol=0, atol=1e-6)


def test_process_whose_reader_goes_ends_without_a_word() -> None:
    with start("s16le") as process:
        process.stdin.write(bytes(1024))
        process.stdout.read(512)
        process.stdout.close()
        with pytest.raises(BrokenPipeError):
            write_for_ever(process.stdin)
        assert process.wait() == CLOSED_READER == 141
        assert process.stderr.read() == b""
