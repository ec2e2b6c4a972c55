"""Where the work runs: device, precision, processes. torch.distributed behind a few verbs.

Alone, every verb about processes is a no-op, so that callers never ask how many there are.
"""

from __future__ import annotations

import atexit
import dataclasses
import math
import os
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_

from audiozen.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch.optim import Optimizer

    from audiozen.config.schema import TrainerConfig

T = TypeVar("T")

AUTOCAST_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Engine:
    """One process of a run, and its device.

    Started by ``torchrun`` (or anything that sets ``RANK``, ``WORLD_SIZE`` and ``LOCAL_RANK``), it joins the other
    processes; started alone it is the only one.

    Attributes:
        device: where the model and the batches live.
        rank: number of this process, from 0.
        world_size: number of processes.
    """

    def __init__(self, config: TrainerConfig) -> None:
        self.rank = int(os.environ.get("RANK", "0"))
        self.world_size = int(os.environ.get("WORLD_SIZE", "1"))
        self.device = find_device(config.device, int(os.environ.get("LOCAL_RANK", "0")))
        self.autocast_dtype = AUTOCAST_DTYPES[config.precision]
        self.compiles = config.compile
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=config.precision == "fp16")
        if config.num_threads is not None:
            torch.set_num_threads(config.num_threads)
        if config.deterministic:
            # cuBLAS reads this when it starts; without it, deterministic mode refuses matrix products.
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(mode=True)
        if self.world_size > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo")
            atexit.register(leave_process_group)  # its threads abort a process that ends without

    @property
    def is_main_process(self) -> bool:
        """Whether this process writes files and computes scores."""
        return self.rank == 0

    def describe(self) -> str:
        """One line for the log: device, threads, precision, processes."""
        precision = str(self.autocast_dtype).removeprefix("torch.")
        processes = "1 process" if self.world_size == 1 else f"{self.world_size} processes"
        return f"{self.device}, {torch.get_num_threads()} threads, {precision}, {processes}"

    # ---- model and batches ----------------------------------------------------------

    def prepare(self, module: nn.Module) -> nn.Module:
        """The module as training calls it: compiled and wrapped where the settings say so."""
        if self.compiles:
            module = torch.compile(module)  # type: ignore[assignment]
        if self.world_size > 1:
            module = DistributedDataParallel(module)
        return module

    def to_device(self, batch: T) -> T:
        """A copy of ``batch`` whose tensors, in any nesting, are on the device."""
        moved: T = move_tensors(batch, self.device, non_blocking=True)
        return moved

    def forward_context(
        self, modules: Iterable[nn.Module], *, is_last: bool
    ) -> AbstractContextManager[object]:
        """Around one training forward and backward: autocast, and no exchange of gradients before the last one."""
        waiting = [m for m in modules if isinstance(m, DistributedDataParallel)]
        if is_last or not waiting:
            return nullcontext()
        stack = ExitStack()
        for module in waiting:
            stack.enter_context(module.no_sync())
        return stack

    def autocast(self) -> AbstractContextManager[object]:
        """Arithmetic of the forward pass as ``precision`` says."""
        if self.autocast_dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.autocast_dtype)

    # ---- the parts of one step -------------------------------------------------------

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of ``loss``; in fp16, scaled so that they do not vanish."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def clip_gradients(self, optimizers: Sequence[Optimizer], max_grad_norm: float) -> Gradients:
        """Scale the gradients down to ``max_grad_norm`` in place; what they measured before that is returned."""
        parameters = []
        for optimizer in optimizers:
            self.scaler.unscale_(optimizer)
            parameters += [p for group in optimizer.param_groups for p in group["params"]]
        gradients = measure_gradients(parameters)
        if max_grad_norm != math.inf:
            clip_grads_with_norm_(gradients.parameters, max_grad_norm, gradients.norm)
        return gradients

    def step(self, optimizers: Sequence[Optimizer], drop: Tensor | None = None) -> None:
        """Let the optimizers change the weights, except where fp16 gradients overflow.

        Args:
            optimizers: those whose gradients were clipped.
            drop: 1: weights and optimizers stay as they are, bit for bit. 0 or None: they change. It is read to the
                host only for optimizers that cannot obey it on the device.
        """
        for optimizer in optimizers:
            step_unless(self._or_overflow(drop, optimizer), optimizer)
        self.scaler.update()

    def _or_overflow(self, drop: Tensor | None, optimizer: Optimizer) -> Tensor | None:
        """``drop``, or 1 where :meth:`clip_gradients` has seen scaled gradients that overflow."""
        if not self.scaler.is_enabled():
            return drop
        for found_inf in self.scaler._found_inf_per_device(optimizer).values():
            drop = found_inf if drop is None else torch.maximum(drop, found_inf)
        return drop

    # ---- processes -------------------------------------------------------------------

    def wait_for_everyone(self) -> None:
        """Go on when every process is here."""
        if self.world_size > 1:
            dist.barrier()

    def broadcast(self, value: T) -> T:
        """The main process's value, on every process."""
        if self.world_size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: T) -> list[T]:
        """Everyone's values in order of rank, on every process."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def sum(self, value: Tensor) -> Tensor:
        """The sum of everyone's values, on every process. Stays on the device."""
        if self.world_size == 1:
            return value
        value = value.clone()
        dist.all_reduce(value)
        return value

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any process; the same answer on all of them."""
        return any(self.gather(flag))


class Gradients(NamedTuple):
    """What gradients measure, on the device.

    Attributes:
        norm: of all together.
        parameters: those that have a gradient.
        norms: of each of them, shape ``(num_parameters,)``; None where only the whole can be measured.
    """

    norm: Tensor
    parameters: list[Tensor]
    norms: Tensor | None


@torch.no_grad()
def measure_gradients(parameters: Iterable[Tensor]) -> Gradients:
    """The norms of the gradients of ``parameters``, and of all of them together."""
    parameters = [p for p in parameters if p.grad is not None]
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return Gradients(torch.zeros(()), parameters, None)
    norms = torch.stack(torch._foreach_norm(gradients, 2.0))
    return Gradients(torch.linalg.vector_norm(norms), parameters, norms)


def is_fused(optimizer: Optimizer) -> bool:
    """Whether the optimizer can leave out a step by a number on the device."""
    return bool(getattr(optimizer, "_step_supports_amp_scaling", False))


def lacks_momentum(optimizer: Optimizer) -> bool:
    """Whether a momentum begins with the next step."""
    return any(
        p.grad is not None and p not in optimizer.state
        for group in optimizer.param_groups
        if group.get("momentum")
        for p in group["params"]
    )


def step_unless(drop: Tensor | None, optimizer: Optimizer) -> None:
    """Let the optimizer step, or leave everything as it is if ``drop`` is 1."""
    if drop is None:
        optimizer.step()
    # Fused SGD that drops the step in which a momentum begins would go on with what was in that memory before.
    elif is_fused(optimizer) and not lacks_momentum(optimizer):
        step_fused_unless(drop, optimizer)
    elif drop.item() == 0:
        optimizer.step()
    else:
        mark_as_stepped(optimizer)


def step_fused_unless(drop: Tensor, optimizer: Any) -> None:
    """As :func:`step_unless`, without waiting for the device."""
    optimizer.grad_scale, optimizer.found_inf = None, drop
    try:
        optimizer.step()
    finally:
        del optimizer.grad_scale, optimizer.found_inf


def mark_as_stepped(optimizer: Any) -> None:
    """Schedules go on over a dropped update, and warn of optimizers that have never stepped."""
    optimizer._opt_called = True


def leave_process_group() -> None:
    """Part from the other processes, if that has not been done."""
    if dist.is_initialized():
        dist.destroy_process_group()


def find_device(name: str, local_rank: int) -> torch.device:
    """The device of this process.

    Args:
        name: ``"auto"``, or what ``torch.device`` takes.
        local_rank: number of this process on its machine; chooses the GPU.

    Raises:
        ConfigError: PyTorch does not know the device, or this machine does not have it.
    """
    if name == "auto":
        name = f"cuda:{local_rank}" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            "trainer settings", [f"device: {name!r} cannot be used: {reason}"]
        ) from error
    return device


def move_tensors(value: Any, device: torch.device | str, *, non_blocking: bool = False) -> Any:
    """``value`` with every tensor in it on ``device``; dicts, lists, tuples and dataclasses are walked through."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=non_blocking)
    if isinstance(value, dict):
        return {k: move_tensors(v, device, non_blocking=non_blocking) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        moved = [move_tensors(v, device, non_blocking=non_blocking) for v in value]
        return type(value)(*moved) if hasattr(value, "_fields") else type(value)(moved)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
        return dataclasses.replace(value, **move_tensors(fields, device, non_blocking=non_blocking))
    return value
