"""What a model costs: parameters and multiply-accumulates. Times nothing.

>>> from torch import nn
>>> count_parameters(nn.Linear(3, 2))
Parameters(total=8, trainable=8)
>>> count_macs(nn.Linear(3, 2), torch.zeros(5, 3))
30
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

if TYPE_CHECKING:
    from collections.abc import Iterator


class Parameters(NamedTuple):
    """Numbers of single weights, not of tensors. A tensor that is shared is counted once."""

    total: int
    """All parameters; buffers are none."""
    trainable: int
    """Those that require a gradient."""


def count_parameters(model: nn.Module) -> Parameters:
    """Count the weights of a model.

    Args:
        model: any module. Parameters that are shared between its parts count once.
    """
    weights = list(model.parameters())
    return Parameters(
        total=sum(weight.numel() for weight in weights),
        trainable=sum(weight.numel() for weight in weights if weight.requires_grad),
    )


def count_macs(model: nn.Module, *inputs: Any, **named_inputs: Any) -> int:
    """Multiply-accumulates of one forward pass, for the whole batch.

    Counted: matrix products of any origin (linear layers, ``matmul``, ``einsum``), convolutions
    (strides, groups, dilation, transposed), attention (projections, QK and AV), and recurrent
    layers: ``gates * (inputs * hidden + hidden * hidden)`` per step, layer and direction.
    Not counted: Fourier transforms, normalisation, activations, biases, embeddings and
    ``nn.Bilinear``.

    The model runs once, in evaluation mode and without gradients; its mode is put back.

    Args:
        model: any module.
        inputs: what it is called with, such as a waveform ``(batch, time)``.
        named_inputs: further ones, by keyword.
    """
    # Only these arrive at the counter as the matrix products that they are made of.
    slow_attention = _fastpath_disabled(), sdpa_kernel(SDPBackend.MATH)
    with ExitStack() as stack:
        for context in (torch.no_grad(), _evaluating(model), *slow_attention):
            stack.enter_context(context)
        products = stack.enter_context(FlopCounterMode(display=False))
        recurrent = stack.enter_context(_RecurrentCounter(model, products))
        model(*inputs, **named_inputs)
    return int(products.get_total_flops()) // 2 + recurrent.macs


def macs_per_second(model: nn.Module, sample_rate: int) -> float:
    """Multiply-accumulates per second of audio, of a model that takes a waveform.

    The slope between one second and four, so that padding and fixed costs vanish.

    Args:
        model: called with zeros of shape ``(1, time)``, on the device of its parameters.
        sample_rate: of the waveform, in Hz.
    """
    device = next((weight.device for weight in model.parameters()), torch.device("cpu"))
    short, long = (
        count_macs(model, torch.zeros(1, num_seconds * sample_rate, device=device))
        for num_seconds in (1, 4)
    )
    return (long - short) / 3


class _RecurrentCounter:
    """Counts recurrent layers by formula while it is entered.

    A kernel for a whole sequence hides its matrix products, and which kernel runs depends on the
    machine; so what the other counter may have seen inside such a layer is taken back.
    """

    def __init__(self, model: nn.Module, products: FlopCounterMode) -> None:
        self.macs = 0
        self._products = products
        self._seen_before = 0
        self._layers = [
            layer for layer in model.modules() if isinstance(layer, (nn.RNNBase, nn.RNNCellBase))
        ]
        self._handles: list[Any] = []

    def __enter__(self) -> _RecurrentCounter:
        for layer in self._layers:
            self._handles.append(layer.register_forward_pre_hook(self._before))
            self._handles.append(layer.register_forward_hook(self._after))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _before(self, _layer: nn.Module, _inputs: tuple[Any, ...]) -> None:
        self._seen_before = self._products.get_total_flops()

    def _after(self, layer: nn.Module, inputs: tuple[Any, ...], _output: object) -> None:
        seen_inside = self._products.get_total_flops() - self._seen_before
        self.macs += _recurrent_macs(layer, inputs[0]) - seen_inside // 2


def _recurrent_macs(layer: nn.Module, sequence: Any) -> int:
    """Every weight matrix of a recurrent layer is used once per step of each sequence."""
    features = sequence.data  # of a packed sequence: without its padding
    num_steps = features.numel() // features.shape[-1]
    matrices = [weight.numel() for weight in layer.parameters() if weight.dim() == 2]
    return int(num_steps) * sum(matrices)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Every part of the model in evaluation mode, and back to what it was."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextmanager
def _fastpath_disabled() -> Iterator[None]:
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
