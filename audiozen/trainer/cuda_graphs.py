"""Forward and backward pass of a step as one CUDA graph: hundreds of kernels are launched as one.

::

    graphs = StepGraphs(training_step, model.parameters(), "cuda")
    for batch_idx, batch in enumerate(batches_on_the_gpu):
        loss = graphs(batch, batch_idx)  # the gradients of this batch, and of no other, are in the parameters
        optimizer.step()
"""

from __future__ import annotations

import logging
import os
import traceback
from collections import Counter
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from audiozen.data.nested import map_leaves, tensors_of
from audiozen.errors import TrainingError
from audiozen.trainer.epoch_output import loss_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

    from torch import nn

    from audiozen.config.schema import TrainerConfig

logger = logging.getLogger(__name__)

NUM_WARM_UP = 3
"""Steps with batches of one layout that are made as ever, before the passes are captured: what libraries set up once
must not become a part of the graph."""
MAX_GRAPHS = 4
"""Layouts that get a graph. Each keeps gradients, inputs and outputs of its own; what lies between is shared."""
INDUCTOR_GRAPHS = "TORCHINDUCTOR_CUDAGRAPHS"
"""Set to 1, it lets torch.compile make CUDA graphs itself."""
WHAT_TO_DO = (
    "Let numbers stay on the device: no .item(), float(), print or if on a tensor, no index by a mask, no "
    "torch.tensor(..., device=...); or set cuda_graphs = false"
)


def graph_problems(
    config: TrainerConfig, device: torch.device, world_size: int, *, is_automatic: bool
) -> list[str]:
    """Why a training cannot be made of graphs, as far as its settings alone do not tell.

    Args:
        config: ``cuda_graphs`` and ``compile`` are read.
        device: of the training.
        world_size: number of processes.
        is_automatic: whether the trainer, and not the hook, calls the optimizers.
    """
    if not config.cuda_graphs:
        return []
    problems = []
    if device.type != "cuda":
        problems.append(
            f"cuda_graphs: needs a CUDA device, and this training is on {device}; set it to false"
        )
    if world_size > 1:
        problems.append(
            f"cuda_graphs: is for one process, and there are {world_size}; set it to false"
        )
    if not is_automatic:
        problems.append(
            "cuda_graphs: cannot hold a training_step that calls optimizer_step itself; set it to false"
        )
    if config.compile and os.environ.get(INDUCTOR_GRAPHS) == "1":
        problems.append(
            f"cuda_graphs: compile makes graphs of its own, as {INDUCTOR_GRAPHS} = 1 is set; take one of both"
        )
    return problems


class StepGraphs:
    """Calls ``training_step`` and its backward pass; after some steps, replays what they have launched.

    Each layout of a batch (structure, shapes, dtypes, and numbers that are not tensors) has a graph, for the first
    ``MAX_GRAPHS`` layouts that come; batches of others run as ever, such as a smaller one at the end of an epoch that
    comes only once. Inputs are copied to where the graph reads them, and gradients lie where it writes them.

    What the generators of the device draw follows their seed in each replay, as it does without a graph. Clipping, the
    optimizer, averages and all judgement of numbers stay outside: they read the gradients as ever.

    Python in ``training_step`` runs in the first steps only. So it may return nothing but tensors of the device, must
    not wait for the device, and whatever it decides, draws or looks up on the host stays as it was at the capture.

    Args:
        training_step: called as ``training_step(batch, batch_idx)``; returns what :func:`loss_of` takes.
        parameters: all that get gradients. They stay where they are in memory; see :meth:`start_epoch`.
        device: of the parameters and batches.
    """

    def __init__(
        self,
        training_step: Callable[[Any, int], Any],
        parameters: Iterable[nn.Parameter],
        device: torch.device | str,
    ) -> None:
        self._training_step = training_step
        self._parameters = list(parameters)
        self._device = torch.device(device)
        self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call] # by PyTorch
        self._pool = torch.cuda.graph_pool_handle()
        self._graphs: dict[Hashable, _Graph] = {}
        self._num_steps: Counter[Hashable] = Counter()
        self._weights = self._weights_now()
        self._has_told_of_layouts = False

    def __call__(self, batch: Any, batch_idx: int) -> Any:
        """What ``training_step`` returns, without its history: the backward pass has been made.

        Raises:
            TrainingError: the hook does what a graph cannot hold; the text names the place and says what to do.
        """
        layout = layout_of(batch)
        if layout in self._graphs:
            return self._graphs[layout].replay(batch)
        if layout not in self._num_steps and len(self._num_steps) >= MAX_GRAPHS:
            self._tell_of_layouts()
            return self._warm_up(batch, batch_idx)
        self._num_steps[layout] += 1
        if self._num_steps[layout] < NUM_WARM_UP:
            return self._warm_up(batch, batch_idx)
        if self._num_steps[layout] == NUM_WARM_UP:
            with reads_refused():
                return self._warm_up(batch, batch_idx)
        self._graphs[layout] = self._captured(batch, batch_idx)
        return self._graphs[layout].replay(batch)

    def start_epoch(self) -> None:
        """Forget all graphs if weights were replaced, frozen or unfrozen meanwhile."""
        weights = self._weights_now()
        if weights != self._weights:
            self._graphs.clear()
            self._num_steps.clear()
            # One that has lost its graphs is not taken again.
            self._pool = torch.cuda.graph_pool_handle()
            self._weights = weights

    def _weights_now(self) -> list[tuple[int, bool]]:
        return [(p.data_ptr(), p.requires_grad) for p in self._parameters]

    def _tell_of_layouts(self) -> None:
        if not self._has_told_of_layouts:
            self._has_told_of_layouts = True
            logger.info(
                "cuda_graphs: batches have more than %d layouts; those of further ones run without a graph",
                MAX_GRAPHS,
            )

    def _warm_up(self, batch: Any, batch_idx: int) -> Any:
        """As without graphs, but on the stream that captures: autograd remembers where it has put gradients."""
        computing = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(computing)
        with torch.cuda.stream(self._stream):
            output = self._passes(batch, batch_idx)
        computing.wait_stream(self._stream)
        return output

    def _captured(self, batch: Any, batch_idx: int) -> _Graph:
        inputs = map_leaves(_cloned, batch)
        graph = torch.cuda.CUDAGraph()
        # The outer context brings the current stream back where a capture fails. The threads of a DataLoader may
        # allocate page-locked memory meanwhile, which only "thread_local" allows.
        with (
            capture_explained(),
            torch.cuda.stream(self._stream),
            torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"),
        ):
            output = self._passes(inputs, batch_idx)
        gradients = [(p, p.grad) for p in self._parameters]
        return _Graph(graph, tensors_of(inputs), output, gradients)

    def _passes(self, batch: Any, batch_idx: int) -> Any:
        """Forward and backward. Gradients that are None are written, and not added to."""
        for parameter in self._parameters:
            parameter.grad = None
        output = self._training_step(batch, batch_idx)
        loss = loss_of(output)
        refuse_numbers(output, loss.device)
        loss.backward()  # type: ignore[no-untyped-call] # PyTorch leaves it untyped
        return map_leaves(Tensor.detach, dict(output) if isinstance(output, Mapping) else output)


class _Graph(NamedTuple):
    """The passes of one layout, and the memory that they read and write each time."""

    graph: torch.cuda.CUDAGraph
    inputs: Sequence[Tensor]
    output: Any
    gradients: Sequence[tuple[nn.Parameter, Tensor | None]]

    def replay(self, batch: Any) -> Any:
        for mine, tensor in zip(self.inputs, tensors_of(batch)):
            mine.copy_(tensor, non_blocking=True)
        self.graph.replay()
        for parameter, gradient in self.gradients:
            parameter.grad = gradient
        return map_leaves(torch.clone, self.output)  # the next replay writes to the same place


def layout_of(value: Any) -> Hashable:
    """What two batches have in common that one graph can serve.

    Shapes, strides and dtypes of tensors, numbers themselves, and of anything else (names, for instance) the type.
    """
    if isinstance(value, Tensor):
        return value.shape, value.stride(), value.dtype
    if isinstance(value, dict):
        return tuple((key, layout_of(part)) for key, part in value.items())
    if isinstance(value, (list, tuple)):
        return (type(value), *map(layout_of, value))
    if is_dataclass(value) and not isinstance(value, type):
        return (type(value), *(layout_of(getattr(value, field.name)) for field in fields(value)))
    number: Hashable = value if isinstance(value, (int, float)) else None
    return type(value), number


def refuse_numbers(output: Any, device: torch.device) -> None:
    """Refuse what a graph would not compute again: whatever is no tensor of the device.

    Raises:
        TrainingError: there is such a thing; the text names it.
    """
    parts = output.items() if isinstance(output, Mapping) else ()
    names = [
        name
        for name, value in parts
        if not isinstance(value, Tensor) or value.device.type != device.type
    ]
    if names:
        raise TrainingError(
            f"training_step returned {', '.join(map(repr, names))} as a number of the host, which would stay the same "
            "in each replay of a CUDA graph. Return a tensor that is computed on the device, or set cuda_graphs = false"
        )


@contextmanager
def reads_refused() -> Iterator[None]:
    """Within this context, whoever waits for the device is told where, which a failed capture cannot.

    Raises:
        TrainingError: somebody does.
    """
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    except RuntimeError as error:
        if "synchroniz" not in str(error):
            raise
        raise TrainingError(
            f"training_step waits for the device{place_of(error)}, which a CUDA graph cannot do. {WHAT_TO_DO}"
        ) from error
    finally:
        torch.cuda.set_sync_debug_mode(before)


@contextmanager
def capture_explained() -> Iterator[None]:
    """Turn the error of a capture into one that says what to do.

    Raises:
        TrainingError: a capture failed.
    """
    try:
        yield
    except RuntimeError as error:
        first = error
        # The end of a capture that failed fails, too.
        while isinstance(first.__context__, RuntimeError):
            first = first.__context__
        if isinstance(first, torch.OutOfMemoryError):
            raise first from None
        if not any("captur" in str(e) for e in (error, first)):
            raise
        reason = str(first).partition("\n")[0]
        raise TrainingError(
            f"training_step does what a CUDA graph cannot hold{place_of(first)}: {reason}. {WHAT_TO_DO}"
        ) from error


def place_of(error: BaseException) -> str:
    """Where it was raised, outside of PyTorch and of this module; empty where nobody knows."""
    library, here = str(Path(torch.__file__).parent), __file__
    frames = traceback.extract_tb(error.__traceback__)
    places = [f for f in frames if not f.filename.startswith(library) and f.filename != here]
    return f" in {places[-1].filename}, line {places[-1].lineno}" if places else ""


def _cloned(leaf: Any) -> Any:
    return leaf.clone() if isinstance(leaf, Tensor) else leaf
