from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_sequence

from audiozen.complexity import count_macs, macs_per_second
from tests.complexity.models import GTCRN, BCResNet, ConvTasNet, FullSubNet


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


def test_projection_of_an_lstm_counts() -> None:
    lstm = nn.LSTM(5, 7, proj_size=3)
    assert count_macs(lstm, torch.zeros(11, 1, 5)) == 11 * (4 * (5 * 7 + 3 * 7) + 7 * 3)


@pytest.mark.parametrize(
    ("cell", "gates"),
    [(nn.RNNCell(5, 7), 1), (nn.GRUCell(5, 7), 3), (nn.LSTMCell(5, 7), 4)],
    ids=str,
)
def test_recurrent_cell_costs_one_step(cell: nn.Module, gates: int) -> None:
    assert count_macs(cell, torch.zeros(2, 5)) == 2 * gates * (5 * 7 + 7 * 7)


def test_bilinear_layer_uses_every_weight_once() -> None:
    assert count_macs(nn.Bilinear(3, 4, 5), torch.zeros(2, 3), torch.zeros(2, 4)) == 2 * 3 * 4 * 5


def test_padding_of_a_packed_sequence_is_free() -> None:
    packed = pack_sequence([torch.zeros(9, 5), torch.zeros(2, 5)])
    assert count_macs(nn.GRU(5, 7), packed) == 11 * 3 * (5 * 7 + 7 * 7)


class Packed(nn.Module):
    """The width of the output has to be right for the next layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.output = layer, nn.Linear(14, 2)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return self.output(self.layer(pack_sequence([first, second]))[0].data)


@pytest.mark.parametrize(("kind", "gates"), [(nn.RNN, 1), (nn.GRU, 3), (nn.LSTM, 4)])
def test_packed_sequence_goes_in_both_directions(kind: type[nn.Module], gates: int) -> None:
    model = Packed(kind(5, 7, bidirectional=True))
    per_step = 2 * gates * (5 * 7 + 7 * 7) + 14 * 2
    assert count_macs(model, torch.zeros(9, 5), torch.zeros(2, 5)) == 11 * per_step


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


# Figures of docs/complexity.md, which are the papers' or were counted on the authors' code.


def test_fullsubnet_costs_what_is_published() -> None:
    model = FullSubNet()
    assert count_macs(model, torch.zeros(1, 16_000)) == 65 * MACS_PER_FRAME_OF_FULLSUBNET
    assert round(65 * MACS_PER_FRAME_OF_FULLSUBNET / 1e9, 2) == 30.64
    assert round(62.5 * MACS_PER_FRAME_OF_FULLSUBNET / 1e9, 2) == 29.46
    # 188 frames lie between 1 s and 4 s, where 3 s have 187.5.
    assert macs_per_second(model, 16_000) == MACS_PER_FRAME_OF_FULLSUBNET * 188 / 3


MACS_PER_FRAME_OF_FULLSUBNET = 3_803_648 + 257 * 1_819_392


@pytest.mark.parametrize(("last_residual", "macs"), [(True, 4_976_640_000), (False, 4_911_104_000)])
def test_conv_tasnet_costs_what_is_published(macs: int, *, last_residual: bool) -> None:
    rate = macs_per_second(ConvTasNet(last_residual=last_residual), 8000)
    assert rate == macs
    assert 4.9e9 < rate < 5.05e9


@pytest.mark.parametrize(("width", "macs"), [(1, 2.46e6), (8, 85.1e6)])
def test_bc_resnet_costs_what_is_published(width: int, macs: float) -> None:
    clip = torch.zeros(1, 1, 40, 100)
    assert count_macs(BCResNet(width), clip) == pytest.approx(macs, rel=3e-3)


def test_frame_of_gtcrn_costs_its_products() -> None:
    """The 32 to 33 M/s of the literature have normalisation, activations and element-wise products in them."""
    bands = 3 * 192 * 64 + 2 * 64 * 192
    encoder = 65 * 9 * 16 * 5 + 33 * 16 * 8 * 5
    decoder = 33 * 16 * 8 * 5 + 65 * 16 * 2 * 5
    block = 33 * (24 * 16 + 16 * 9 + 16 * 8) + 3 * 16 * (8 + 16) + 16 * 8
    intra = 33 * (4 * 3 * 4 * (8 + 4) + 16 * 16)
    inter = 33 * (2 * 3 * 8 * (8 + 8) + 16 * 16)
    per_frame = bands + encoder + decoder + 6 * block + 2 * (intra + inter)
    assert per_frame == 420_944
    assert count_macs(GTCRN(), torch.zeros(1, 62 * 256)) == 63 * per_frame


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


class Stacked(nn.Module):
    """Every kind of layer that is counted by formula; its output has to have the right shape for the next one."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                nn.GRU(4, 3, bidirectional=True),
                nn.LSTM(6, 8, num_layers=2, proj_size=2, batch_first=True),
                nn.RNN(2, 4, nonlinearity="relu"),
            ]
        )
        self.cells = nn.ModuleList([nn.GRUCell(4, 5), nn.RNNCell(5, 3)])
        self.lstm_cell = nn.LSTMCell(3, 2)
        self.bilinear = nn.Bilinear(2, 2, 6)

    def forward(self, signal: Tensor) -> Tensor:
        shapes = []
        for layer in self.layers:
            signal, state = layer(signal)
            shapes += [signal.shape, *(part.shape for part in state)]
        signal = signal[0]
        for cell in self.cells:
            signal = cell(signal)
        hidden, memory = self.lstm_cell(signal)
        self.seen = [*shapes, hidden.shape, memory.shape]
        return self.bilinear(hidden, memory)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_what_is_not_computed_has_the_shape_that_it_would_have() -> None:
    model, signal = Stacked(), torch.zeros(7, 3, 4)
    output = model(signal).shape
    computed = model.seen
    kept: list[torch.Size] = []
    model.register_forward_hook(lambda copy, _, result: kept.extend([result.shape, *copy.seen]))
    count_macs(model, signal)
    assert kept == [output, *computed]


class InverseTransform(nn.Module):
    def __init__(self, **settings: object) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(64))
        self.settings = settings

    def forward(self, spec: Tensor) -> Tensor:
        return torch.istft(spec, 64, window=self.window, **self.settings)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"hop_length": 32},
        {"win_length": 64, "center": True},
        {"hop_length": 16, "length": 300},
        {"hop_length": 16, "length": 290, "center": True},
    ],
    ids=str,
)
def test_inverse_transform_without_data_has_the_right_length(settings: dict[str, object]) -> None:
    model = InverseTransform(**settings)
    spec = torch.zeros(2, 33, 20, dtype=torch.complex64)
    shape = model(spec).shape
    kept: list[tuple[str, torch.Size]] = []
    model.register_forward_hook(lambda *call: kept.append((call[2].device.type, call[2].shape)))
    assert count_macs(model, spec) == 0
    assert kept == [("meta", shape)]


class LooksAtValues(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.recurrent = nn.GRU(4, 4, batch_first=True)

    def forward(self, signal: Tensor) -> Tensor:
        if signal.abs().max() > 1:
            return signal
        return self.recurrent(self.linear(signal))[0]


def test_model_that_looks_at_values_is_counted_with_them() -> None:
    model = LooksAtValues()
    assert count_macs(model, torch.zeros(1, 3, 4)) == 3 * 4 * 4 + 3 * 3 * (4 * 4 + 4 * 4)
    assert count_macs(model, torch.full((1, 3, 4), 2.0)) == 0


def test_nothing_is_computed_where_shapes_suffice() -> None:
    gigantic = nn.Conv1d(1, 1024, 1024, bias=False)
    assert count_macs(gigantic, torch.zeros(1, 1, 10**7)) == (10**7 - 1023) * 1024 * 1024


@pytest.mark.filterwarnings("ignore:Using `torch.compile.module.` when there are global hooks")
def test_compiled_model_is_counted_without_compiling() -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("compiled")

    model = torch.compile(nn.Sequential(nn.Linear(4, 4), nn.Sigmoid()), backend=refuse)
    assert count_macs(model, torch.zeros(5, 4)) == 5 * 16
