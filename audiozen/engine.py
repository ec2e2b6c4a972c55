"""Where the work runs: device, threads, precision; and the parts of one step."""

from __future__ import annotations

import logging
import math
import os
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from operator import attrgetter, is_not
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from audiozen.data.device_copies import DeviceCopies
from audiozen.errors import ConfigError
from audiozen.processes.cores import num_cores
from audiozen.processes.group import Group
from audiozen.processes.memory import keep_freed_memory
from audiozen.strategies import OneProcess, make_strategy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from torch.optim import Optimizer

    from audiozen.config.schema import TrainerConfig

T = TypeVar("T")
F = TypeVar("F", bound="Callable[..., Any]")

logger = logging.getLogger(__name__)

AUTOCAST_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Engine:
    """One process of a run, and its device.

    Attributes:
        device: where the model and the batches live.
        group: the processes of the run.
        strategy: how they train a model together.
    """

    def __init__(self, config: TrainerConfig) -> None:
        keep_freed_memory()
        self.device = find_device(config.device, int(os.environ.get("LOCAL_RANK", "0")))
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)  # what NCCL takes for the GPU of this process
        self.group = Group(
            "nccl" if self.device.type == "cuda" else "gloo",
            joins_alone=config.strategy != "auto",
            stall_timeout=config.stall_timeout,
            contact_timeout=config.contact_timeout,
        )
        self.strategy: OneProcess = make_strategy(
            config.strategy,
            self.device,
            self.group.world_size,
            units=config.fsdp_units,
            find_unused_parameters=config.find_unused_parameters,
        )
        self._copies = DeviceCopies(self.device)
        self.autocast_dtype = AUTOCAST_DTYPES[config.precision]
        self.compiles = config.compile
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=config.precision == "fp16")
        self.scales_loss = self.scaler.is_enabled()
        set_num_threads(config.num_threads, self.group.local_world_size)
        if config.deterministic:
            # cuBLAS reads this when it starts; without it, deterministic mode refuses matrix products.
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(mode=True)

    def describe(self) -> str:
        """One line for the log: device, threads, precision, processes."""
        precision = str(self.autocast_dtype).removeprefix("torch.")
        threads, num_processes = torch.get_num_threads(), self.group.world_size
        text = f"{self.device}, {threads} thread{'s' * (threads > 1)}, {precision}, "
        if num_processes == 1:
            return f"{text}1 process"
        return f"{text}each of {num_processes} processes, {self.strategy.name}"

    # ---- model and batches ----------------------------------------------------------

    def prepare(
        self, modules: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer]
    ) -> dict[str, nn.Module]:
        """The modules as training calls them: shared between the processes, and compiled where the settings say so."""
        self._tell_of_batch_statistics(modules.values())
        wrapped = self.strategy.enter(modules, optimizers)
        if self.compiles:
            wrapped = {name: torch.compile(module) for name, module in wrapped.items()}  # type: ignore[misc]
        return wrapped

    def _tell_of_batch_statistics(self, modules: Iterable[nn.Module]) -> None:
        found = {
            type(part).__name__ for m in modules for part in m.modules() if is_batch_norm(part)
        }
        if found and self.group.world_size > 1:
            logger.warning(
                "%s takes its statistics from the part of a batch that one process has, so results depend on the "
                "number of processes; with GroupNorm, and on GPUs with torch.nn.SyncBatchNorm, they do not",
                ", ".join(sorted(found)),
            )

    def to_device(self, batch: T) -> T:
        """``batch``, with its tensors, in any nesting, on the device."""
        if self.device.type == "cpu":  # where dataloaders leave them
            return batch
        return self._copies(batch)

    def autocast(self) -> AbstractContextManager[object]:
        """Arithmetic of the forward pass as ``precision`` says."""
        if self.autocast_dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.autocast_dtype)

    def autocast_in(self, function: F) -> F:
        """``function`` under :meth:`autocast`; itself where that changes nothing."""
        if self.autocast_dtype == torch.float32:
            return function
        decorated: F = torch.autocast(self.device.type, dtype=self.autocast_dtype)(function)
        return decorated

    # ---- the parts of one step -------------------------------------------------------

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of ``loss``; in fp16, scaled so that they do not vanish."""
        if self.scales_loss:
            loss = self.scaler.scale(loss)
        if self.strategy.exchanges:
            self.strategy.backward(loss)
        else:
            loss.backward()  # type: ignore[no-untyped-call] # PyTorch leaves it untyped

    def average_strays(self, optimizers: Sequence[Optimizer]) -> None:
        """Exchange the gradients that the backward pass has not; for who does not call :meth:`clip_gradients`."""
        self.strategy.average_strays(parameters_of(optimizers))

    def clip_gradients(self, optimizers: Sequence[Optimizer], max_grad_norm: float) -> Gradients:
        """Scale the gradients down to ``max_grad_norm`` in place; what they measured before that is returned."""
        parameters = parameters_of(optimizers)
        if self.strategy.exchanges:
            self.strategy.average_strays(parameters)
        if self.scales_loss:
            for optimizer in optimizers:
                self.scaler.unscale_(optimizer)
        gradients = measure_gradients(parameters, self.strategy)
        if max_grad_norm != math.inf and gradients.parameters:
            factor = (max_grad_norm / (gradients.norm + EPSILON)).clamp(max=1.0)
            self.strategy.scale_(gradients.values, factor)
        return gradients

    def step(self, optimizers: Sequence[Optimizer], drop: Tensor | None = None) -> None:
        """Let the optimizers change the weights, except where fp16 gradients overflow.

        Args:
            optimizers: those whose gradients were clipped.
            drop: 1: weights and optimizers stay as they are, bit for bit. 0 or None: they change. It is read to the
                host only for optimizers that cannot obey it on the device.
        """
        if self.scales_loss:
            for optimizer in optimizers:
                step_unless(self._or_overflow(drop, optimizer), optimizer)
            self.scaler.update()
            return
        for optimizer in optimizers:
            if drop is None:
                optimizer.step()
            else:
                step_unless(drop, optimizer)

    def _or_overflow(self, drop: Tensor | None, optimizer: Optimizer) -> Tensor | None:
        """``drop``, or 1 where :meth:`clip_gradients` has seen scaled gradients that overflow."""
        for found_inf in self.scaler._found_inf_per_device(optimizer).values():
            drop = found_inf if drop is None else torch.maximum(drop, found_inf)
        return drop


GRADIENT, HAS_HISTORY = attrgetter("grad"), attrgetter("requires_grad")
IS_THERE = partial(is_not, None)

EPSILON = 1e-6
"""PyTorch adds it to the norm where it clips."""


class Gradients(NamedTuple):
    """What gradients measure, on the device.

    Attributes:
        norm: of all together.
        parameters: those that have a gradient.
        values: the gradients themselves, in the same order.
        norms: of each of them, shape ``(num_parameters,)``; None where only the whole can be measured.
    """

    norm: Tensor
    parameters: list[Tensor]
    values: list[Tensor]
    norms: Tensor | None


def parameters_of(optimizers: Iterable[Optimizer]) -> list[Tensor]:
    """The parameters of all groups of all optimizers."""
    return [
        p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]
    ]


def measure_gradients(parameters: Iterable[Tensor], strategy: OneProcess) -> Gradients:
    """The norms of the gradients of ``parameters``, and of all of them together.

    Args:
        parameters: those without a gradient are left out.
        strategy: knows where the parts of a gradient are.
    """
    parameters = list(parameters)
    values: list[Tensor] = list(filter(IS_THERE, map(GRADIENT, parameters)))
    if len(values) < len(parameters):
        parameters = [p for p in parameters if p.grad is not None]
    if not values:
        return Gradients(torch.zeros(()), parameters, values, None)
    if any(map(HAS_HISTORY, values)):  # create_graph
        values = [value.detach() for value in values]
    norms = strategy.norms(values)
    return Gradients(torch.linalg.vector_norm(norms), parameters, values, norms)


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


def is_batch_norm(module: nn.Module) -> bool:
    """Whether a module normalises by the statistics of the batch, on each process for itself."""
    batch_norm = torch.nn.modules.batchnorm._BatchNorm
    return isinstance(module, batch_norm) and not isinstance(module, nn.SyncBatchNorm)


def set_num_threads(num_threads: int | None, num_processes: int) -> None:
    """Give this process its share of the machine's cores, as far as the settings leave it to us; told where it matters.

    Args:
        num_threads: what the settings say.
        num_processes: processes on this machine.
    """
    share = max(1, num_cores() // num_processes)
    if num_threads is not None:
        torch.set_num_threads(num_threads)
        if num_threads * num_processes > max(num_cores(), num_processes):
            logger.warning(
                "num_threads = %d on each of %d processes is more than the %d cores there are",
                num_threads,
                num_processes,
                num_cores(),
            )
    elif torch.get_num_threads() > share:
        torch.set_num_threads(share)


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
