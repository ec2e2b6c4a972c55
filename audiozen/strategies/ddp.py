"""Every process holds everything: PyTorch's ``DistributedDataParallel``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from audiozen.errors import TrainingError
from audiozen.strategies.several_processes import CALL_THE_MODEL, SeveralProcesses, listed, titled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch.optim import Optimizer


class DDP(SeveralProcesses):
    """Every process holds all weights; gradients are averaged during the backward pass.

    Args:
        device: of this process.
        find_unused_parameters: parameters may have no part in a loss. Costs a walk through the graph in each step.
    """

    name = "ddp"

    def __init__(self, device: torch.device, *, find_unused_parameters: bool = False) -> None:
        super().__init__(device)
        self.find_unused_parameters = find_unused_parameters
        self._exchanging: dict[str, ExchangingModule] = {}

    def _wrap(
        self, modules: dict[str, nn.Module], optimizers: Mapping[str, Optimizer]
    ) -> dict[str, nn.Module]:
        del optimizers
        self.trained = modules
        self._exchanged = {p for m in modules.values() for p in m.parameters() if p.requires_grad}
        self._exchanging = {name: self._exchanging_module(m) for name, m in modules.items()}
        return dict(self._exchanging)

    def _exchanging_module(self, module: nn.Module) -> ExchangingModule:
        return ExchangingModule(
            module,
            device_ids=[self.device] if self.device.type == "cuda" else None,
            init_sync=False,  # done before
            gradient_as_bucket_view=True,
            find_unused_parameters=self.find_unused_parameters,
        )

    def abandon(self) -> None:
        """As in :class:`OneProcess`; the bare modules have the weights as they are."""
        for parameter in self._exchanged:
            parameter.grad = None  # a view of a bucket, which would keep all of it
        super().abandon()
        self._exchanging = {}

    def start_micro_batch(self, *, is_last: bool) -> None:
        """As in :class:`OneProcess`."""
        for module in self._exchanging.values():
            module.was_called = False
            module.require_backward_grad_sync = is_last  # what no_sync() sets

    def backward(self, loss: Tensor) -> None:
        """As in :class:`OneProcess`."""
        super().backward(loss)
        for name, module in self._exchanging.items():
            if module.require_backward_grad_sync:
                self._check_exchange(name, module)

    def _check_exchange(self, name: str, module: ExchangingModule) -> None:
        missing = [k for k, p in module.to_exchange.items() if p.grad is None]
        if len(missing) == len(module.to_exchange):
            return
        if not module.was_called:
            raise TrainingError(
                f"{titled(name)} has gradients of this step, but its forward() had no part in this backward pass. "
                f"{CALL_THE_MODEL}"
            )
        if missing and not self.find_unused_parameters:
            raise TrainingError(
                f"{titled(name)}: {len(missing)} of {len(module.to_exchange)} parameters got no gradient: "
                f"{listed(missing)}. Give them a part in the loss, freeze them (requires_grad = False), or set "
                "find_unused_parameters = true, which costs time in each step"
            )


class ExchangingModule(DistributedDataParallel):
    """PyTorch's DDP, through which the attributes of its module can be read.

    Attributes:
        was_called: whether there was a forward pass with gradients since this was set to False.
        to_exchange: parameters whose gradients are averaged, by name.
    """

    def __init__(self, module: nn.Module, **settings: Any) -> None:
        super().__init__(module, **settings)
        # As an argument, what it is called depends on PyTorch's version.
        self.broadcast_buffers = False
        self.was_called = False
        self.to_exchange = {k: p for k, p in module.named_parameters() if p.requires_grad}

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("module"), name)

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """The module's, and what DDP has to do for the backward pass."""
        self.was_called |= torch.is_grad_enabled()
        return super().forward(*inputs, **kwargs)  # type: ignore[no-untyped-call] # PyTorch leaves it untyped
