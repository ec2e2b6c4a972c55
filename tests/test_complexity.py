from __future__ import annotations

import doctest

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_sequence

from audiozen import complexity
from audiozen.complexity import Parameters, count_macs, count_parameters, macs_per_second


def test_examples_in_the_docstring_are_true() -> None:
    result = doctest.testmod(complexity)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        (nn.Linear(257, 32), (2, 10, 257), 2 * 10 * 257 * 32),
        (nn.Linear(8, 4, bias=False), (8,), 8 * 4),
        (nn.Conv1d(6, 4, 3), (2, 6, 12), 2 * 10 * 4 * 6 * 3),
        (nn.Conv1d(6, 4, 3, stride=2, padding=1), (1, 6, 12), 6 * 4 * 6 * 3),
        (nn.Conv1d(6, 4, 3, groups=2), (1, 6, 12), 10 * 4 * 3 * 3),
        (nn.Conv1d(6, 6, 3, groups=6, dilation=4), (1, 6, 12), 4 * 6 * 3),
        (nn.Conv2d(3, 5, (3, 2)), (1, 3, 10, 10), 8 * 9 * 5 * 3 * 3 * 2),
        (nn.ConvTranspose1d(6, 4, 8, stride=4), (2, 6, 12), 2 * 12 * 6 * 4 * 8),
        (nn.ConvTranspose1d(6, 4, 8, stride=4, groups=2), (1, 6, 12), 12 * 6 * 2 * 8),
        (nn.ConvTranspose2d(3, 5, 4, stride=2), (1, 3, 7, 9), 7 * 9 * 3 * 5 * 16),
        (nn.Embedding(10, 4), None, 0),
        (nn.LayerNorm(16), (3, 16), 0),
    ],
    ids=str,
)
def test_layer_costs_what_its_formula_says(
    layer: nn.Module, shape: tuple[int, ...] | None, macs: int
) -> None:
    inputs = torch.zeros(3, dtype=torch.long) if shape is None else torch.zeros(shape)
    assert count_macs(layer, inputs) == macs


@pytest.mark.parametrize(
    ("layer", "gates"), [(nn.RNN(5, 7), 1), (nn.GRU(5, 7), 3), (nn.LSTM(5, 7), 4)], ids=str
)
def test_recurrent_layer_costs_its_gates_in_each_step(layer: nn.Module, gates: int) -> None:
    num_steps, batch = 11, 2
    macs = num_steps * batch * gates * (5 * 7 + 7 * 7)
    assert count_macs(layer, torch.zeros(num_steps, batch, 5)) == macs


def test_all_layers_and_directions_of_a_gru_count() -> None:
    gru = nn.GRU(5, 7, num_layers=2, bidirectional=True, batch_first=True)
    first, second = 3 * (5 * 7 + 7 * 7), 3 * (14 * 7 + 7 * 7)
    assert count_macs(gru, torch.zeros(2, 11, 5)) == 2 * 11 * 2 * (first + second)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_projection_of_an_lstm_counts() -> None:
    lstm = nn.LSTM(5, 7, proj_size=3)
    assert count_macs(lstm, torch.zeros(11, 1, 5)) == 11 * (4 * (5 * 7 + 3 * 7) + 7 * 3)


def test_recurrent_cell_costs_one_step() -> None:
    assert count_macs(nn.GRUCell(5, 7), torch.zeros(2, 5)) == 2 * 3 * (5 * 7 + 7 * 7)


def test_padding_of_a_packed_sequence_is_free() -> None:
    packed = pack_sequence([torch.zeros(9, 5), torch.zeros(2, 5)])
    assert count_macs(nn.GRU(5, 7), packed) == 11 * 3 * (5 * 7 + 7 * 7)


def attention_macs(length: int, width: int) -> int:
    projections = 4 * length * width * width
    query_key_and_value = 2 * length * length * width
    return projections + query_key_and_value


def test_multi_head_attention_costs_projections_and_both_products() -> None:
    attention = nn.MultiheadAttention(16, num_heads=4, batch_first=True)
    signal = torch.zeros(3, 10, 16)
    assert count_macs(attention, signal, signal, signal) == 3 * attention_macs(10, 16)


def test_transformer_layer_counts_although_evaluation_has_a_fused_kernel() -> None:
    layer = nn.TransformerEncoderLayer(16, nhead=4, dim_feedforward=32, batch_first=True)
    assert count_macs(layer, torch.zeros(1, 10, 16)) == attention_macs(10, 16) + 2 * 10 * 16 * 32


class FunctionalAttention(nn.Module):
    def forward(self, signal: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(signal, signal, signal)


def test_attention_without_a_module_counts() -> None:
    assert count_macs(FunctionalAttention(), torch.zeros(2, 4, 10, 8)) == 2 * 4 * 2 * 10 * 10 * 8


class Bands(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("bands", torch.zeros(257, 32))

    def forward(self, magnitude: Tensor) -> Tensor:
        return magnitude @ self.bands


def test_matrix_product_written_in_forward_counts() -> None:
    assert count_macs(Bands(), torch.zeros(4, 257)) == 4 * 257 * 32


class FullSubNet(nn.Module):
    """The layers of FullSubNet (ICASSP 2021) at 257 bins, without its normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.full_band = nn.LSTM(257, 512, num_layers=2, batch_first=True)
        self.full_band_output = nn.Linear(512, 257)
        self.sub_band = nn.LSTM(32, 384, num_layers=2, batch_first=True)
        self.sub_band_output = nn.Linear(384, 2)

    def forward(self, magnitude: Tensor) -> Tensor:
        self.full_band_output(self.full_band(magnitude)[0])
        num_frames = magnitude.shape[1]
        return self.sub_band_output(self.sub_band(torch.zeros(257, num_frames, 32))[0])


def test_fullsubnet_costs_what_is_published() -> None:
    macs_per_frame = count_macs(FullSubNet(), torch.zeros(1, 1, 257))
    assert macs_per_frame * 65 == pytest.approx(30.64e9, rel=1e-3)
    assert macs_per_frame * 62.5 == pytest.approx(29.46e9, rel=1e-3)


class Filterbank(nn.Module):
    """A fixed cost, and a frame of 16 samples every 8."""

    def __init__(self) -> None:
        super().__init__()
        self.frames = nn.Conv1d(1, 4, 16, stride=8, padding=32)
        self.fixed = nn.Linear(100, 100)

    def forward(self, waveform: Tensor) -> Tensor:
        return self.frames(waveform[:, None]) + self.fixed(torch.zeros(100)).sum()


def test_cost_per_second_is_without_what_does_not_grow() -> None:
    assert macs_per_second(Filterbank(), sample_rate=8000) == 1000 * 4 * 16


def test_shared_weights_count_once_and_frozen_ones_do_not_train() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    model[0].bias.requires_grad_(requires_grad=False)
    assert count_parameters(model) == Parameters(total=20, trainable=16)


def test_buffers_are_no_parameters() -> None:
    assert count_parameters(nn.BatchNorm1d(3)) == Parameters(total=6, trainable=6)


def test_counting_leaves_the_model_as_it_was() -> None:
    model = nn.Sequential(nn.GRU(4, 4), nn.BatchNorm1d(4))
    model[1].eval()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(AttributeError):
        count_macs(model, torch.zeros(3, 4))  # a GRU returns a tuple
    assert (model.training, model[0].training, model[1].training) == (True, True, False)
    assert not model[0]._forward_hooks
    assert not model[0]._forward_pre_hooks
    assert torch.backends.mha.get_fastpath_enabled()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, weights[name])
