"""What several processes have in common, however they share the work: the same beginning, and what is nobody's."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import zip_longest
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor, nn

from audiozen.errors import RequestError
from audiozen.strategies.one_process import OneProcess

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch.optim import Optimizer

CALL_THE_MODEL = (
    "With several processes, training_step must call the model itself, self.model(...), and not another method or a "
    "part of it: only then are gradients exchanged. Let forward() do that work"
)
NUM_SHOWN = 5


class SeveralProcesses(OneProcess):
    """What :class:`DDP` and :class:`FSDP` have in common.

    Args:
        device: of this process.
    """

    exchanges = True

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device
        self._modules: dict[str, nn.Module] = {}
        self._exchanged: set[Tensor] = set()
        self._depth = 0

    def enter(
        self, modules: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer]
    ) -> dict[str, nn.Module]:
        """As in :class:`OneProcess`. Modules without parameters to train are left bare."""
        check_nothing_is_shared(modules)
        check_same_everywhere(describe(modules, optimizers))
        for tensor in tensors_of(modules, optimizers):
            take_from_first([tensor])
            tensor.grad = None
        self._modules = dict(modules)
        wrapped = self._wrap({k: m for k, m in modules.items() if is_trainable(m)}, optimizers)
        self.trained = {**modules, **self.trained}
        return {**modules, **wrapped}

    def _wrap(
        self, modules: dict[str, nn.Module], optimizers: Mapping[str, Optimizer]
    ) -> dict[str, nn.Module]:
        """Set ``trained`` and ``_exchanged``; what ``training_step`` calls."""
        raise NotImplementedError

    def abandon(self) -> None:
        """As in :class:`OneProcess`."""
        super().abandon()
        self._modules, self._exchanged = {}, set()

    @contextmanager
    def published(self) -> Iterator[None]:
        """As in :class:`OneProcess`."""
        if self._depth == 0:
            self._publish()
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if self._depth == 0:
                self._withdraw()

    def _publish(self) -> None:
        take_from_first([b for module in self.trained.values() for b in module.buffers()])

    def _withdraw(self) -> None:
        """Undo what :meth:`_publish` did to the weights."""

    @torch.no_grad()
    def average_strays(self, parameters: Sequence[Tensor]) -> None:
        """As in :class:`OneProcess`; one exchange."""
        if self._exchanged.issuperset(parameters):
            return
        strays = [p for p in parameters if p.requires_grad and p not in self._exchanged]
        if not strays:
            return
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in strays]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        means = torch.split(flat / dist.get_world_size(), [p.numel() for p in strays])
        for parameter, gradient, mean in zip(strays, gradients, means):
            parameter.grad = gradient.copy_(mean.view_as(gradient))


def is_trainable(module: nn.Module) -> bool:
    """Whether there is a parameter to train."""
    return any(p.requires_grad for p in module.parameters())


def check_nothing_is_shared(modules: Mapping[str, nn.Module]) -> None:
    """Refuse parameters of several models, whose gradients would be averaged several times."""
    owners: dict[Tensor, str] = {}
    for name, module in modules.items():
        for key, parameter in module.named_parameters():
            owner = owners.setdefault(parameter, name)
            if owner != name and parameter.requires_grad:
                raise RequestError(
                    f"the models {owner!r} and {name!r} share the parameter {key}. With several processes a parameter "
                    "is of one model: pass one model that has both as parts"
                )


def describe(modules: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer]) -> list[str]:
    """One line for each parameter and buffer."""
    lines = []
    for name, module in modules.items():
        for key, p in module.named_parameters(prefix=name):
            lines.append(f"{key} {tuple(p.shape)} {p.dtype}{'' if p.requires_grad else ', frozen'}")
        lines += [
            f"{key} {tuple(b.shape)} {b.dtype}" for key, b in module.named_buffers(prefix=name)
        ]
    for name, optimizer in optimizers.items():
        shapes = [[tuple(p.shape) for p in group["params"]] for group in optimizer.param_groups]
        lines.append(f"the optimizer{name and ' '}{name} of {shapes}")
    return lines


def check_same_everywhere(lines: list[str]) -> None:
    """Refuse a model that is not that of process 0, before an exchange of its parts hangs. Collective."""
    box = [lines]
    dist.broadcast_object_list(box, src=0)
    for first, mine in zip_longest(box[0], lines):
        if first != mine:
            raise RequestError(
                f"process {dist.get_rank()} has built another model or optimizer than process 0: there {first}, here "
                f"{mine}. All processes must build the same"
            )


def tensors_of(
    modules: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer]
) -> list[Tensor]:
    """All parameters and buffers, each once."""
    found: dict[Tensor, None] = {}
    for module in modules.values():
        found |= dict.fromkeys([*module.parameters(), *module.buffers()])
    for optimizer in optimizers.values():
        found |= dict.fromkeys(parameters_of(optimizer))
    return list(found)


def parameters_of(optimizer: Optimizer) -> list[Tensor]:
    """The parameters of all groups."""
    return [p for group in optimizer.param_groups for p in group["params"]]


@torch.no_grad()
def take_from_first(tensors: Sequence[Tensor]) -> None:
    """Give these tensors the values of process 0, in one broadcast. Collective."""
    if not tensors:
        return
    parts = [t.detach().reshape(-1).view(torch.uint8) for t in tensors]
    flat = torch.cat(parts)
    dist.broadcast(flat, src=0)
    for tensor, part in zip(tensors, torch.split(flat, [p.numel() for p in parts])):
        aligned = part.clone()
        tensor.copy_(aligned.view(tensor.dtype).view_as(tensor))


def titled(name: str) -> str:
    """A model in a message."""
    return f"model {name!r}" if name else "the model"


def listed(names: Sequence[str]) -> str:
    """The first few names in a message."""
    more = len(names) - NUM_SHOWN
    return ", ".join(names[:NUM_SHOWN]) + (f" and {more} more" if more > 0 else "")
