"""Every process holds a part: PyTorch's ``fully_shard``."""

from __future__ import annotations

import copy
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from audiozen.errors import RequestError, TrainingError
from audiozen.strategies.several_processes import (
    CALL_THE_MODEL,
    SeveralProcesses,
    listed,
    parameters_of,
    titled,
)
from audiozen.strategies.shards import is_sharded, local_part, placed_like, whole_tensor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.fsdp import FSDPModule
    from torch.optim import Optimizer

T = TypeVar("T")


class FSDP(SeveralProcesses):
    """Every process holds a part of each weight, and of its optimizer's memory; FSDP2 gathers them where needed.

    What is trained is a copy of the bare modules. Their own parameters are empty meanwhile, except within
    :meth:`published`, so that they hold no memory and nobody trains them by mistake. Of the copy, only parameters and
    buffers find their way back.

    Args:
        device: of this process.
        units: classes, by name, of submodules that are gathered and released one after the other. Without, a model is
            gathered as a whole.
    """

    name = "fsdp"

    def __init__(self, device: torch.device, units: Sequence[str] = ()) -> None:
        super().__init__(device)
        self.units = units
        self._optimizers: dict[str, Optimizer] = {}
        self._roots: list[Any] = []
        self._shards: dict[Tensor, Tensor] = {}
        self._hooks = ExitStack()
        self._exchanges = True

    # ---- around training ------------------------------------------------------------------

    def _wrap(
        self, modules: dict[str, nn.Module], optimizers: Mapping[str, Optimizer]
    ) -> dict[str, nn.Module]:
        for name, optimizer in optimizers.items():
            check_fused(name, optimizer)
        self.trained = copied(modules)
        self._roots = shard_modules(self.trained, self.device, self.units)
        self._shards = match_parameters(modules, self.trained)
        self._exchanged = {shard for shard in self._shards.values() if is_sharded(shard)}
        self._optimizers, self._exchanges = dict(optimizers), True
        for optimizer in optimizers.values():
            replace_parameters(optimizer, self._shards)
        self._withdraw()
        self._release_stale_weights()
        return dict(self.trained)

    def _release_stale_weights(self) -> None:
        """FSDP2 keeps the gathered weights of a model after its forward, for a backward pass. They must not stay where
        none comes, or where a step changes them before.
        """
        for root in self._roots:
            self._hooks.callback(root.register_forward_hook(release_without_backward).remove)
        for optimizer in self._optimizers.values():
            stepped = set(parameters_of(optimizer))
            roots = [root for root in self._roots if not stepped.isdisjoint(root.parameters())]
            hook = optimizer.register_step_post_hook(partial(release, roots))
            self._hooks.callback(hook.remove)

    def leave(self) -> None:
        """As in :class:`OneProcess`."""
        self._publish()
        bare = {shard: parameter for parameter, shard in self._shards.items()}
        for optimizer in self._optimizers.values():
            replace_parameters(optimizer, bare)
        self.abandon()

    def abandon(self) -> None:
        """As in :class:`OneProcess`; the bare modules stay empty."""
        super().abandon()
        self._hooks.close()
        self._optimizers, self._roots, self._shards = {}, [], {}

    @torch.no_grad()
    def _publish(self) -> None:
        super()._publish()
        for parameter, shard in self._shards.items():
            parameter.data = whole_tensor(shard.detach())
        for name, module in self._modules.items():
            for buffer, trained in zip(module.buffers(), self.trained[name].buffers()):
                buffer.copy_(trained)

    def _withdraw(self) -> None:
        for parameter in self._shards:
            parameter.data = parameter.data.new_empty(0)

    # ---- one step ---------------------------------------------------------------------------

    def start_micro_batch(self, *, is_last: bool) -> None:
        """As in :class:`OneProcess`."""
        if is_last != self._exchanges:
            self._exchanges = is_last
            for root in self._roots:
                root.set_requires_gradient_sync(is_last)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """As in :class:`OneProcess`."""
        try:
            yield
        except RuntimeError as error:
            if "mixed torch.Tensor and DTensor" not in str(error):
                raise
            raise TrainingError(CALL_THE_MODEL) from error

    @torch.no_grad()
    def norms(self, gradients: list[Tensor]) -> Tensor:
        """As in :class:`OneProcess`; one exchange."""
        is_first = dist.get_rank() == 0
        # What every process has as a whole counts on one of them.
        parts = [local_part(g) if is_sharded(g) or is_first else g.new_empty(0) for g in gradients]
        norms = super().norms(parts)
        squares = norms.double().square()  # which float32 could not hold where it holds the norm
        dist.all_reduce(squares)
        return squares.sqrt().to(norms.dtype)

    # ---- checkpoints --------------------------------------------------------------------------

    @torch.no_grad()
    def whole(self, value: T, *, keep: bool) -> T:
        """As in :class:`OneProcess`; one tensor at a time."""

        def fetch(tensor: Tensor) -> Tensor | None:
            if not is_sharded(tensor):
                return tensor
            gathered = whole_tensor(tensor.detach())
            return gathered.cpu() if keep else None

        fetched: T = tree_map_only(Tensor, fetch, value)
        return fetched


def check_fused(name: str, optimizer: Optimizer) -> None:
    """Refuse fused optimizers that PyTorch cannot run on sharded parameters."""
    fused = any(group.get("fused") for group in optimizer.param_groups)
    if fused and not isinstance(optimizer, (torch.optim.Adam, torch.optim.AdamW)):
        raise RequestError(
            f"the optimizer{name and ' '}{name}: PyTorch has no fused {type(optimizer).__name__} for sharded "
            'parameters, only Adam and AdamW. Leave out fused = true, or use strategy = "ddp"'
        )


def copied(modules: dict[str, nn.Module]) -> dict[str, nn.Module]:
    """A deep copy of all modules together.

    Raises:
        RequestError: they cannot be copied.
    """
    try:
        return copy.deepcopy(modules)
    except (RuntimeError, TypeError, AttributeError, AssertionError) as error:
        raise RequestError(
            f'strategy = "fsdp" trains a copy of the model, and this one cannot be copied: {error}. Take what cannot '
            'be copied out of the model, or use strategy = "ddp"'
        ) from error


def shard_modules(
    modules: Mapping[str, nn.Module], device: torch.device, units: Sequence[str]
) -> list[FSDPModule]:
    """Split the parameters of the modules, in place, over all processes.

    Args:
        modules: by name.
        device: where they are.
        units: classes, by name, of submodules that are gathered one after the other.

    Raises:
        RequestError: there is no such class, or PyTorch cannot shard a module; the text has its reason.
    """
    from torch.distributed.device_mesh import init_device_mesh

    check_units(modules, units)
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for name, module in modules.items():
        try:
            shard_module(module, mesh, units)
        except (ValueError, NotImplementedError) as error:
            raise RequestError(
                f'strategy = "fsdp" cannot split {titled(name)}: {error}. Change that, or use strategy = "ddp"'
            ) from error
    return cast("list[FSDPModule]", list(modules.values()))


def check_units(modules: Mapping[str, nn.Module], units: Sequence[str]) -> None:
    """Refuse names of classes that no submodule is of."""
    classes = {
        type(m).__name__ for root in modules.values() for m in root.modules() if m is not root
    }
    if unknown := sorted(set(units) - classes):
        raise RequestError(
            f"fsdp_units: no part of the model is of the class {listed(unknown)}; there are {listed(sorted(classes))}"
        )


def shard_module(module: nn.Module, mesh: DeviceMesh, units: Sequence[str]) -> None:
    """Split the parameters of one module, in place. Numbers (of shape ``()``) are left whole."""
    from torch.distributed.fsdp import fully_shard

    numbers = {p for p in module.parameters() if p.ndim == 0}
    for parameter in module.parameters():
        parameter.data = parameter.data.contiguous()  # FSDP2 knows no other layout
    inner_first = [
        m for m in reversed(list(module.modules())) if type(m).__name__ in units and m is not module
    ]
    for part in (*inner_first, module):
        # Before FSDP2's own hook, which sees what this returns.
        part.register_forward_hook(without_views)
        fully_shard(part, mesh=mesh, ignored_params=numbers)


def without_views(module: nn.Module, inputs: Any, output: T) -> T:
    """A forward hook: FSDP2 follows the outputs of a module to its backward pass, and loses a view that is changed in
    place.
    """
    del module, inputs
    unviewed: T = tree_map_only(
        Tensor, lambda t: t.clone() if t.requires_grad and t._is_view() else t, output
    )
    return unviewed


def release_without_backward(root: Any, *_: object) -> None:
    """A forward hook: no gradients, no backward pass."""
    if not torch.is_grad_enabled():
        root.reshard()


def release(roots: Sequence[FSDPModule], *_: object) -> None:
    """An optimizer's hook: the gathered weights are old."""
    for root in roots:
        root.reshard()


def match_parameters(
    modules: Mapping[str, nn.Module], trained: Mapping[str, nn.Module]
) -> dict[Tensor, Tensor]:
    """The sharded parameter of each bare one.

    Raises:
        RequestError: a parameter with several names was one, and is several now.
    """
    shards: dict[Tensor, Tensor] = {}
    for name, module in modules.items():
        counterparts = dict(trained[name].named_parameters(remove_duplicate=False))
        for key, parameter in module.named_parameters(remove_duplicate=False):
            if shards.setdefault(parameter, counterparts[key]) is not counterparts[key]:
                raise RequestError(
                    f"fsdp_units: {titled(name)} uses {key} in a unit and outside of it. Leave that unit out of "
                    'fsdp_units, or use strategy = "ddp"'
                )
    return shards


def replace_parameters(optimizer: Optimizer, counterparts: Mapping[Tensor, Tensor]) -> None:
    """Let an optimizer go on with other parameters, and its memory with it. Collective where these are whole.

    Args:
        optimizer: its groups stay the same objects.
        counterparts: the new parameter for each old one; others stay.
    """
    for group in optimizer.param_groups:
        group["params"][:] = [counterparts.get(p, p) for p in group["params"]]
    memory = list(optimizer.state.items())
    optimizer.state.clear()
    for old, values in memory:
        new = counterparts.get(old, old)
        optimizer.state[new] = tree_map_only(Tensor, partial(placed_like, parameter=new), values)
