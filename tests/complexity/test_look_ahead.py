from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from audiozen.acoustics import STFT
from audiozen.complexity import LookAhead, look_ahead
from audiozen.errors import AudioZENError, ShapeError
from tests.complexity.models import GTCRN, ConvTasNet

RATE = 8000


class Apply(nn.Module):
    """A function of the waveform ``(batch, time)`` as a model."""

    def __init__(self, function: Any, *parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(parts)

    def forward(self, noisy: Tensor) -> Tensor:
        return self.function(noisy, *self.parts)


def channelled(layer: nn.Module) -> nn.Module:
    """A layer of ``(batch, channels, time)`` with one channel."""
    return Apply(lambda noisy, layer: layer(noisy[:, None])[:, 0], layer)


def samples(model: nn.Module, sample_rate: int = RATE) -> int | None:
    torch.manual_seed(0)
    return look_ahead(model, sample_rate).samples


def advanced(noisy: Tensor, num_samples: int) -> Tensor:
    return F.pad(noisy, (0, num_samples))[:, num_samples:]


@pytest.mark.parametrize("num_samples", [0, 1, 7, 255, 256, 1000, 1500, 5000, 15_000])
def test_shift_looks_as_far_as_it_shifts(num_samples: int) -> None:
    assert samples(Apply(lambda noisy: advanced(noisy, num_samples))) == num_samples


@pytest.mark.parametrize("num_samples", [1, 300, 1900, 20_000])
def test_delay_is_causal(num_samples: int) -> None:
    model = Apply(lambda noisy: F.pad(noisy, (num_samples, 0))[:, : noisy.shape[-1]])
    assert look_ahead(model, RATE).is_causal


def test_time_that_is_turned_around_is_the_whole_signal() -> None:
    assert samples(Apply(lambda noisy: noisy.flip(-1))) is None


@pytest.mark.parametrize(("kernel_size", "dilation"), [(3, 1), (5, 1), (9, 4), (3, 301)])
def test_centred_convolution_looks_half_its_width_ahead(kernel_size: int, dilation: int) -> None:
    conv = nn.Conv1d(1, 1, kernel_size, dilation=dilation, padding="same")
    assert samples(channelled(conv)) == (kernel_size - 1) // 2 * dilation


def test_causal_convolution_is_causal() -> None:
    conv = nn.Conv1d(1, 1, 9)
    assert samples(Apply(lambda noisy, conv: conv(F.pad(noisy, (8, 0))[:, None])[:, 0], conv)) == 0


def test_recurrent_layer_is_causal_and_one_that_runs_backwards_is_not() -> None:
    def run(noisy: Tensor, layer: nn.Module, output: nn.Module) -> Tensor:
        return output(layer(noisy[..., None])[0])[..., 0]

    assert samples(Apply(run, nn.GRU(1, 4, batch_first=True), nn.Linear(4, 1)), 1000) == 0
    torch.manual_seed(0)
    backwards = nn.LSTM(1, 4, batch_first=True, bidirectional=True)
    assert samples(Apply(run, backwards, nn.Linear(8, 1)), 1000) is None


def spectral(
    n_fft: int, hop_length: int, window: Any, process: Any, *parts: nn.Module
) -> nn.Module:
    """A model of magnitudes ``(batch, frames, freq)`` that gives a mask."""

    def run(noisy: Tensor, stft: Any, *parts: nn.Module) -> Tensor:
        spec = stft(noisy)
        mask = process(spec.abs().transpose(1, 2), *parts).transpose(1, 2)
        return stft.inverse(spec * mask, length=noisy.shape[-1])

    return Apply(run, STFT(n_fft, hop_length, window=window), *parts)


def sigmoid_mask(magnitude: Tensor, layer: nn.Module) -> Tensor:
    return torch.sigmoid(layer(magnitude))


def forwards(magnitude: Tensor, layer: nn.GRU) -> Tensor:
    return torch.sigmoid(layer(magnitude)[0])


@pytest.mark.parametrize("window", ["hann", "sqrt_hann", "hamming"])
@pytest.mark.parametrize(("n_fft", "hop_length"), [(64, 16), (512, 256), (512, 100), (400, 160)])
def test_frame_looks_to_its_last_sample(n_fft: int, hop_length: int, window: str) -> None:
    model = spectral(
        n_fft, hop_length, window, sigmoid_mask, nn.Linear(n_fft // 2 + 1, n_fft // 2 + 1)
    )
    # The first sample of a Hann window is 0, so the first that a frame gives is its second.
    assert samples(model) == n_fft - (1 if window == "hamming" else 2)


def test_recurrence_over_frames_looks_no_further_than_its_frame() -> None:
    assert (
        samples(spectral(256, 128, "hamming", forwards, nn.GRU(129, 129, batch_first=True))) == 255
    )


@pytest.mark.parametrize("num_frames", [1, 2])
def test_frames_ahead_add_their_hops(num_frames: int) -> None:
    def ahead(magnitude: Tensor, layer: nn.Module) -> Tensor:
        return torch.sigmoid(layer(F.pad(magnitude, (0, 0, 0, num_frames))[:, num_frames:]))

    model = spectral(512, 128, "hamming", ahead, nn.Linear(257, 257))
    assert samples(model) == 511 + num_frames * 128


def test_recurrence_backwards_over_frames_is_the_whole_signal() -> None:
    def both(magnitude: Tensor, layer: nn.Module, output: nn.Module) -> Tensor:
        return torch.sigmoid(output(layer(magnitude)[0]))

    layers = nn.LSTM(129, 16, batch_first=True, bidirectional=True), nn.Linear(32, 129)
    assert samples(spectral(256, 128, "hann", both, *layers)) is None


@pytest.mark.parametrize(
    "normalise",
    [
        lambda noisy: noisy - noisy.mean(-1, keepdim=True),
        lambda noisy: noisy / noisy.std(-1, keepdim=True),
        lambda noisy: noisy / noisy.abs().amax(-1, keepdim=True),
    ],
    ids=["mean", "deviation", "peak"],
)
def test_normalisation_over_the_signal_is_the_whole_signal(normalise: Any) -> None:
    assert samples(Apply(normalise)) is None


def test_cumulative_normalisation_is_causal() -> None:
    def run(noisy: Tensor) -> Tensor:
        return noisy / noisy.abs().cumsum(-1)

    assert samples(Apply(run)) == 0


def attention(noisy: Tensor, *, causal: bool) -> Tensor:
    steps = noisy[:, : noisy.shape[-1] // 20 * 20].unflatten(-1, (-1, 20))
    mixed = F.scaled_dot_product_attention(steps, steps, steps, is_causal=causal)
    return F.pad(mixed.flatten(1), (0, noisy.shape[-1] % 20))


def test_masked_attention_is_no_look_ahead() -> None:
    assert samples(Apply(lambda noisy: attention(noisy, causal=True))) == 19
    assert samples(Apply(lambda noisy: attention(noisy, causal=False))) is None


def test_convolution_by_fourier_transform_of_the_whole_signal_is_causal() -> None:
    kernel = torch.randn(50, dtype=torch.float64)

    def run(noisy: Tensor) -> Tensor:
        length = noisy.shape[-1]
        spec = torch.fft.rfft(noisy, 2 * length) * torch.fft.rfft(kernel, 2 * length)
        return torch.fft.irfft(spec, 2 * length)[:, :length]

    assert samples(Apply(run)) == 0


def test_edge_of_many_convolutions_is_found_although_it_is_faint() -> None:
    convolutions = [nn.Conv1d(1, 1, 3, dilation=2**x % 31, padding="same") for x in range(40)]
    for conv in convolutions:
        nn.init.constant_(conv.weight, 0.01)
        conv.weight.data[..., 1] = 1.0
    total = sum(2**x % 31 for x in range(40))
    assert 0.01**40 < 1e-13
    assert samples(channelled(nn.Sequential(*convolutions))) == total


def test_dependence_behind_a_mask_and_a_rectifier_is_seen() -> None:
    def run(noisy: Tensor, conv: nn.Module) -> Tensor:
        gate = torch.relu(conv(F.pad(noisy, (0, 40))[:, None])[:, 0])
        return noisy * gate[:, : noisy.shape[-1]]

    torch.manual_seed(0)
    assert samples(Apply(run, nn.Conv1d(1, 1, 41, bias=False))) == 40


@pytest.mark.parametrize("chunk", [160, 400, 1001, 3000])
def test_chunks_look_to_their_end(chunk: int) -> None:
    def run(noisy: Tensor) -> Tensor:
        padded = F.pad(noisy, (0, -noisy.shape[-1] % chunk)).unflatten(-1, (-1, chunk))
        return (padded - padded.mean(-1, keepdim=True)).flatten(1)[:, : noisy.shape[-1]]

    assert samples(Apply(run)) == chunk - 1


def test_longer_of_two_kinds_of_chunks_counts_wherever_it_is() -> None:
    def run(noisy: Tensor) -> Tensor:
        # With 335 samples a pair, 3/4 of the shortest signal lies in a shorter chunk.
        pairs = F.pad(noisy, (0, -noisy.shape[-1] % 335)).unflatten(-1, (-1, 335))
        parts = [part - part.mean(-1, keepdim=True) for part in pairs.split([165, 170], -1)]
        return torch.cat(parts, -1).flatten(1)[:, : noisy.shape[-1]]

    assert samples(Apply(run)) == 169


def test_published_models() -> None:
    assert look_ahead(GTCRN(), 16_000).samples == 510
    model = ConvTasNet()
    model.blocks = model.blocks[:1]
    assert look_ahead(model, RATE).looks_at_whole_signal  # in its global normalisation


class Strided(nn.Module):
    """Down and up again, as in a U-Net: the grid has as many phases as the product of the strides."""

    def __init__(self, layers: list[tuple[int, int]], offset: int) -> None:
        super().__init__()
        self.offset = offset
        self.down = nn.ModuleList(nn.Conv1d(1, 1, size, stride) for size, stride in layers)
        self.up = nn.ModuleList(
            nn.ConvTranspose1d(1, 1, size, stride) for size, stride in reversed(layers)
        )

    def forward(self, noisy: Tensor) -> Tensor:
        signal = F.pad(noisy, (self.offset, 200))[:, None]
        for layer in (*self.down, *self.up):
            signal = layer(signal)
        return signal[:, 0, self.offset : self.offset + noisy.shape[-1]]


def by_gradient(model: nn.Module, length: int) -> int:
    """The look-ahead of all outputs in the middle of a signal."""
    noisy = torch.randn(1, length, dtype=torch.float64, requires_grad=True)
    output = model.double()(noisy)[0]
    reach = []
    for sample in range(length // 4, length // 2):
        (gradient,) = torch.autograd.grad(output[sample], noisy, retain_graph=True)
        reach.append(int(gradient[0].nonzero().max()) - sample)
    return max(0, *reach)


@settings(max_examples=15, deadline=None)
@given(
    layers=st.lists(st.tuples(st.integers(3, 8), st.integers(1, 3)), min_size=1, max_size=3),
    offset=st.integers(0, 20),
)
def test_agrees_with_the_gradients_of_every_output(
    layers: list[tuple[int, int]], offset: int
) -> None:
    torch.manual_seed(0)
    model = Strided(layers, offset)
    assert look_ahead(model, RATE).samples == by_gradient(model, 400)


@pytest.mark.parametrize("extra", [-9, 9])
def test_output_of_another_length_is_aligned_at_the_beginning(extra: int) -> None:
    assert samples(Apply(lambda noisy: F.pad(advanced(noisy, 5), (0, extra)))) == 5


def test_several_sources_count_together() -> None:
    model = Apply(lambda noisy: torch.stack([noisy, advanced(noisy, 3), advanced(noisy, 2)], 1))
    assert samples(model) == 3


def test_randomness_of_a_model_is_no_dependence() -> None:
    assert samples(Apply(lambda noisy: noisy + 0.01 * torch.randn_like(noisy))) == 0


def test_dropout_is_off_and_the_model_stays_as_it_was() -> None:
    model = nn.Sequential(nn.Dropout(), channelled(nn.Conv1d(1, 1, 3, padding=1)))
    model[0].eval()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    generator = torch.get_rng_state()
    assert look_ahead(model, RATE).samples == 1
    assert torch.equal(torch.get_rng_state(), generator)
    assert torch.get_default_dtype() == torch.float32
    assert (model.training, model[0].training) == (True, False)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, weights[name])
        assert tensor.dtype == weights[name].dtype


def test_tensors_that_are_no_parameters_follow() -> None:
    def run(noisy: Tensor, holder: Any) -> Tensor:
        smoothed = F.conv1d(noisy[:, None], holder.kernel, padding=1)[:, 0]
        return smoothed @ torch.eye(noisy.shape[-1])

    holder = nn.Module()
    holder.kernel = torch.ones(1, 1, 3)
    assert samples(Apply(run, holder), 400) == 1


@pytest.mark.parametrize(
    ("function", "error", "text"),
    [
        (lambda noisy: noisy.mean(-1), ShapeError, r"\(1, 2000\) became \(1,\)"),
        (lambda noisy: noisy.unfold(-1, 64, 32), ShapeError, r"became \(1, 61, 64\)"),
        (lambda noisy: (noisy, noisy), ShapeError, "became tuple"),
        (lambda noisy: noisy.sum(), ShapeError, r"became \(\)"),
        (lambda noisy: noisy / 0, AudioZENError, "not finite"),
        (torch.zeros_like, AudioZENError, "does not depend on the input"),
        (torch.ones_like, AudioZENError, "does not depend on the input"),
    ],
)
def test_what_cannot_be_found_out_is_refused(
    function: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        look_ahead(Apply(function), RATE)


def test_limit_that_is_too_short_tells_how_far_the_model_looks_at_least() -> None:
    with pytest.raises(AudioZENError, match=r"more than 188 ms; .* longer than 0\.0 s"):
        look_ahead(Apply(lambda noisy: noisy.flip(-1)), RATE, time_limit=0)


def test_limit_does_not_spoil_what_a_short_signal_shows() -> None:
    assert look_ahead(Apply(lambda noisy: advanced(noisy, 9)), RATE, time_limit=0).samples == 9


@pytest.mark.parametrize(
    ("num_samples", "hop_length", "ms"),
    [
        (0, 1, 1 / 16),
        (510, 1, 511 / 16),
        (511, 1, 32),
        (0, 256, 16),
        (255, 256, 16),
        (256, 256, 32),
        (510, 256, 32),
        (None, 256, None),
    ],
)
def test_latency_is_look_ahead_and_the_sample_in_whole_hops(
    num_samples: int | None, hop_length: int, ms: float | None
) -> None:
    assert LookAhead(num_samples, 16_000).latency_ms(hop_length) == ms
