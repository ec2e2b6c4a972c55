"""Multiply-accumulates of a model: what a forward pass computes, whatever it runs on."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import FlopCounterMode

from audiozen.complexity._copies import copy_with, evaluating

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SECONDS = (1, 4)
"""Of the two signals whose difference is the cost per second of audio."""


def count_macs(model: nn.Module, *inputs: Any, **named_inputs: Any) -> int:
    """Multiply-accumulates of one forward pass, for the whole batch. One multiplication with its addition is 1.

    Counted: matrix products of any origin (linear layers, ``matmul``, ``einsum``), convolutions
    (strides, groups, dilation, transposed), attention (projections, QK and AV), recurrent layers:
    ``gates * (inputs * hidden + hidden * hidden)`` per step, layer and direction, and bilinear
    layers: ``outputs * inputs * other_inputs``.
    Not counted: Fourier transforms, normalisation, activations, biases, element-wise products, embeddings, and what
    TorchScript compiled.

    Only shapes matter, so a copy of the model runs on PyTorch's ``meta`` device, which computes nothing. A model
    that does not run there (it looks at values) runs as it is, without gradients and in evaluation mode, which is
    put back. Recurrent layers are not computed in either case.

    Args:
        model: any module.
        inputs: what it is called with, such as a waveform ``(batch, time)``.
        named_inputs: further ones, by keyword.
    """
    try:
        return _count(*_without_data(model, inputs, named_inputs))
    except Exception:  # noqa: BLE001 - whatever a model raises that cannot do without data
        return _count(model, inputs, named_inputs)


def macs_per_second(model: nn.Module, sample_rate: int) -> float:
    """Multiply-accumulates per second of audio, of a model that takes a waveform. Counted as by :func:`count_macs`.

    The slope between one second and four, so that padding and fixed costs vanish.

    Args:
        model: called with zeros of shape ``(1, time)``, on the device of its parameters.
        sample_rate: of the waveform, in Hz.
    """
    device = next((weight.device for weight in model.parameters()), torch.device("cpu"))
    short, long = (
        count_macs(model, torch.zeros(1, seconds * sample_rate, device=device))
        for seconds in SECONDS
    )
    return (long - short) / (SECONDS[1] - SECONDS[0])


def _without_data(model: nn.Module, *inputs: Any) -> tuple[Any, ...]:
    def to_meta(tensor: Tensor) -> Tensor:
        return tensor.to("meta")

    return copy_with(model, to_meta), *tree_map_only(Tensor, to_meta, inputs)


def _count(model: nn.Module, inputs: tuple[Any, ...], named_inputs: dict[str, Any]) -> int:
    contexts: list[AbstractContextManager[Any]] = [
        torch.no_grad(),
        evaluating(model),
        # Only these arrive at the counter as the matrix products that they are made of.
        _fastpath_disabled(),
        sdpa_kernel(SDPBackend.MATH),
    ]
    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        products = stack.enter_context(FlopCounterMode(display=False))
        formulas = _Formulas()
        stack.enter_context(formulas)
        model(*inputs, **named_inputs)
    return int(products.get_total_flops()) // 2 + formulas.macs


class _Formulas(TorchFunctionMode):
    """Counts by formula what hides its matrix products in a kernel, and returns zeros in its place."""

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function not in _FORMULAS:
            return function(*args, **(kwargs or {}))
        macs, output = _FORMULAS[function](*args, **(kwargs or {}))
        self.macs += macs
        return output


def _recurrent(
    features: Tensor, *arguments: Any, is_lstm: bool = False
) -> tuple[int, tuple[Any, ...]]:
    """Every weight matrix of a recurrent layer is used once per step of each sequence."""
    if isinstance(arguments[2], bool):
        states, weights = arguments[:2]
        is_bidirectional = arguments[6]
    else:  # a packed sequence, which is without its padding
        _, states, weights = arguments[:3]
        is_bidirectional = arguments[7]
    states = tuple(states) if is_lstm else (states,)
    width = states[0].shape[-1] * (2 if is_bidirectional else 1)
    num_steps = features.numel() // features.shape[-1]
    output = features.new_zeros(*features.shape[:-1], width)
    return num_steps * _matrix_sizes(weights), (output, *map(torch.zeros_like, states))


def _lstm(*arguments: Any) -> tuple[int, tuple[Any, ...]]:
    return _recurrent(*arguments, is_lstm=True)


def _cell(features: Tensor, state: Tensor, *weights: Any) -> tuple[int, Tensor]:
    num_sequences = features.numel() // features.shape[-1]
    return num_sequences * _matrix_sizes(weights), torch.zeros_like(state)


def _lstm_cell(
    features: Tensor, states: tuple[Tensor, Tensor], *weights: Any
) -> tuple[int, tuple[Tensor, Tensor]]:
    macs, hidden = _cell(features, states[0], *weights)
    return macs, (hidden, torch.zeros_like(states[1]))


def _matrix_sizes(weights: Sequence[Tensor | None]) -> int:
    return sum(weight.numel() for weight in weights if weight is not None and weight.dim() == 2)


def _bilinear(first: Tensor, _second: Tensor, weight: Tensor, *_bias: Any) -> tuple[int, Tensor]:
    """Every weight is used once; that the two inputs are multiplied with each other is not counted."""
    output = first.new_zeros(*first.shape[:-1], weight.shape[0])
    return output.numel() * weight[0].numel(), output


def _istft(spec: Tensor, n_fft: int, *arguments: Any, **settings: Any) -> tuple[int, Tensor]:
    """It looks at the values of its window, so that it does not run on the meta device."""
    if not spec.is_meta:
        return 0, torch.istft(spec, n_fft, *arguments, **settings)
    names = ("hop_length", "win_length", "window", "center")
    settings |= dict(zip((*names, "normalized", "onesided", "length"), arguments))
    hop_length = settings.get("hop_length") or (settings.get("win_length") or n_fft) // 4
    length = settings.get("length")
    if length is None:
        cut = n_fft // 2 * 2 if settings.get("center", True) else 0
        length = n_fft + hop_length * (spec.shape[-1] - 1) - cut
    return 0, spec.real.new_zeros(*spec.shape[:-2], length)


_FORMULAS: dict[Any, Callable[..., tuple[int, Any]]] = {
    torch.rnn_tanh: _recurrent,
    torch.rnn_relu: _recurrent,
    torch.gru: _recurrent,
    torch.lstm: _lstm,
    torch.rnn_tanh_cell: _cell,
    torch.rnn_relu_cell: _cell,
    torch.gru_cell: _cell,
    torch.lstm_cell: _lstm_cell,
    torch.bilinear: _bilinear,
    torch.istft: _istft,
    Tensor.istft: _istft,
}


@contextmanager
def _fastpath_disabled() -> Iterator[None]:
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
