from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from audiozen.acoustics import STFT, istft, stft
from audiozen.errors import RequestError, ShapeError


def white_noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def largest_error(transform: STFT, waveform: torch.Tensor) -> float:
    restored = transform.inverse(transform(waveform), length=waveform.shape[-1])
    assert restored.shape == waveform.shape
    return float((restored - waveform).abs().max())


@pytest.mark.parametrize("window", ["hann", "sqrt_hann", "hamming"])
@pytest.mark.parametrize("length", [1, 2, 255, 256, 257, 511, 512, 513, 767, 769, 16001])
def test_every_length_comes_back(window, length):
    assert largest_error(STFT(512, 256, 512, window), white_noise(2, length)) < 1e-5


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_every_length_comes_back_from_every_grid(data):
    n_fft = 2 * data.draw(st.integers(1, 48))
    win_length = data.draw(st.integers(2, n_fft))
    hop_length = data.draw(st.integers(1, win_length // 2))
    window = data.draw(st.sampled_from(["hann", "sqrt_hann", "hamming"]))
    length = data.draw(st.integers(1, 3 * n_fft))
    transform = STFT(n_fft, hop_length, win_length, window)
    assert largest_error(transform, white_noise(length, seed=length)) < 1e-5


def test_double_precision_comes_back_to_double_precision():
    assert largest_error(STFT(512, 128, 400), white_noise(3001, dtype=torch.float64)) < 1e-12


@pytest.mark.parametrize("leading", [(), (3,), (2, 3), (2, 1, 3)])
def test_leading_axes_are_kept(leading):
    transform = STFT(64, 16)
    waveform = white_noise(*leading, 100)
    spec = transform(waveform)
    assert spec.shape == (*leading, 33, 8)
    assert transform.inverse(spec, length=100).shape == (*leading, 100)


def test_leading_axes_are_independent_signals():
    waveform = white_noise(2, 3, 100)
    torch.testing.assert_close(stft(waveform, 64, 16)[1, 2], stft(waveform[1, 2], 64, 16))


def test_equals_librosa_up_to_the_extra_frame():
    import librosa

    waveform = white_noise(1000, dtype=torch.float64)
    expected = librosa.stft(
        waveform.numpy(), n_fft=512, hop_length=160, win_length=400, pad_mode="constant"
    )
    ours = STFT(512, 160, 400)(waveform).numpy()
    assert ours.shape == (257, expected.shape[1] + 1)
    # Our window is kept in float32.
    np.testing.assert_allclose(ours[:, :-1], expected, atol=1e-5)


def test_sine_peaks_at_its_bin_with_half_the_window_sum():
    time = torch.arange(4096, dtype=torch.float64)
    magnitude = stft(torch.cos(2 * torch.pi * 32 / 512 * time), 512, 256).abs()
    assert int(magnitude[:, 8].argmax()) == 32
    assert float(magnitude[32, 8]) == pytest.approx(512 / 2 / 2, rel=1e-6)


def test_sqrt_hann_squared_is_hann():
    torch.testing.assert_close(
        STFT(64, 16, window="sqrt_hann").window ** 2, STFT(64, 16, window="hann").window
    )


def test_inverse_is_the_least_squares_solution():
    """Of a modified spectrum, no other signal has a nearer spectrum."""
    transform = STFT(32, 8)
    waveform = white_noise(50, dtype=torch.float64)
    target = transform(waveform) * torch.rand(17, 8, dtype=torch.float64)
    best = transform.inverse(target, length=56)
    distance = (transform(best) - target).abs().square()
    distance[1:-1] *= 2  # a real signal has each inner bin twice
    for direction in white_noise(5, 56, seed=1, dtype=torch.float64):
        other = (transform(best + 1e-3 * direction) - target).abs().square()
        other[1:-1] *= 2
        assert other.sum() > distance.sum()


@pytest.mark.parametrize(
    ("n_fft", "hop_length", "win_length"), [(512, 256, 512), (64, 16, 47), (60, 7, 60)]
)
@pytest.mark.parametrize("window", ["hann", "sqrt_hann", "hamming"])
def test_inverse_of_any_spectrum_is_that_of_pytorch(n_fft, hop_length, win_length, window):
    transform, length = STFT(n_fft, hop_length, win_length, window).double(), 20 * hop_length
    real, imag = white_noise(2, 3, n_fft // 2 + 1, 21, dtype=torch.float64)
    spec = torch.complex(real, imag)
    expected = torch.istft(spec, n_fft, hop_length, win_length, transform.window, length=length)
    torch.testing.assert_close(transform.inverse(spec, length), expected)


class Operators(TorchDispatchMode):
    """Names of what is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        self.names.append(operator.name())
        return operator(*args, **(kwargs or {}))


def test_no_number_is_read_from_the_device_on_the_way_there_and_back():
    transform, waveform = STFT(64, 16), white_noise(2, 100)
    with Operators() as operators:
        transform.inverse(transform(waveform), length=100)
    assert "aten::_fft_c2r" in operators.names
    assert not {"aten::equal", "aten::_local_scalar_dense"} & set(operators.names)


def test_functions_equal_the_module():
    waveform = white_noise(2, 777)
    spec = stft(waveform, 256, 64, 200, "sqrt_hann")
    torch.testing.assert_close(spec, STFT(256, 64, 200, "sqrt_hann")(waveform), rtol=0, atol=0)
    restored = istft(spec, 256, 64, 200, "sqrt_hann", length=777)
    torch.testing.assert_close(restored, waveform, atol=1e-5, rtol=0)


def test_window_first_used_in_inference_mode_can_train_later():
    sizes = (44, 11)  # used by no other test, so that the window is made here
    with torch.inference_mode():
        stft(torch.ones(100), *sizes)
    waveform = white_noise(100).requires_grad_()
    stft(waveform, *sizes).abs().sum().backward()
    assert waveform.grad is not None


def test_window_is_not_in_the_state_dict():
    assert not STFT().state_dict()


def test_survives_pickling():
    transform = pickle.loads(pickle.dumps(STFT(64, 16, 48, "hamming")))
    waveform = white_noise(100)
    torch.testing.assert_close(transform(waveform), STFT(64, 16, 48, "hamming")(waveform))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    waveform = white_noise(100).to(dtype)
    torch.testing.assert_close(stft(waveform, 64, 16), stft(waveform.float(), 64, 16))


def test_gradient_flows_through_both_directions():
    waveform = white_noise(70, dtype=torch.float64).requires_grad_()
    transform = STFT(16, 4).double()
    assert torch.autograd.gradcheck(
        lambda x: transform.inverse(transform(x) * 0.5, length=70), [waveform]
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"window": "kaiser"}, "'kaiser' is unknown; choose one of hann, sqrt_hann, hamming"),
        ({"n_fft": 513}, "n_fft must be even, got 513"),
        ({"hop_length": 0}, "1 <= hop_length"),
        ({"win_length": 1024}, "win_length 1024, n_fft 512"),
        ({"hop_length": 500}, "use at most 256"),
    ],
)
def test_impossible_grid_is_refused(arguments, text):
    with pytest.raises(RequestError, match=text):
        STFT(**{"n_fft": 512, "hop_length": 256, **arguments})


@pytest.mark.parametrize("shape", [(0,), (2, 0), ()])
def test_no_samples_are_refused(shape):
    with pytest.raises(ShapeError, match="no samples"):
        stft(torch.zeros(shape))


@pytest.mark.parametrize("length", [0, 256, 1024])
def test_length_of_other_frames_is_refused(length):
    spec = stft(torch.ones(512))
    with pytest.raises(ShapeError, match="257 bins and, for this length"):
        istft(spec, length=length)


def test_other_number_of_bins_is_refused():
    with pytest.raises(ShapeError, match="does not give 512 samples"):
        istft(stft(torch.ones(512), 256, 256 // 2), length=512)
