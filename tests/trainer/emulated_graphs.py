"""CUDA graphs on the CPU: what is captured is noted, operator by operator, and a replay writes to the same memory.

So everything but CUDA itself can be tested without a GPU. As there, a capture changes no weights, buffers or
generators, and who reads a number to the host is refused where that is asked for.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, ClassVar

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

READS = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.equal.default,
    torch.ops.aten.masked_select.default,
    torch.ops.aten.nonzero.default,
}
"""Operators that wait for the device."""


class EmulatedGraph:
    """Stands for ``torch.cuda.CUDAGraph``."""

    made: ClassVar[list[EmulatedGraph]] = []

    def __init__(self) -> None:
        self.operations: list[tuple[Any, Any, Any, Any]] = []
        self.num_replays = 0
        self.made.append(self)

    def replay(self) -> None:
        self.num_replays += 1
        with torch.no_grad():
            for operator, args, kwargs, results in self.operations:
                again = operator(*args, **kwargs)
                for old, new in zip(tree_leaves(results), tree_leaves(again)):
                    if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                        old.copy_(new)


class _Capturing(TorchDispatchMode):
    def __init__(self, graph: EmulatedGraph) -> None:
        super().__init__()
        self.graph, self.before = graph, []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        if operator in READS:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        kwargs = kwargs or {}
        for argument, value in zip(operator._schema.arguments, args):
            if is_written(argument):
                self.before += [(t, t.clone()) for t in tree_leaves(value)]
        results = operator(*args, **kwargs)
        self.graph.operations.append((operator, args, kwargs, results))
        return results


def is_written(argument: Any) -> bool:
    """Whether an operator changes it; batch normalisation does, and does not say so."""
    says_so = argument.alias_info is not None and argument.alias_info.is_write
    return says_so or argument.name in ("running_mean", "running_var")


class _Refusing(TorchDispatchMode):
    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        if operator in READS:
            raise RuntimeError("called a synchronizing CUDA operation")
        return operator(*args, **(kwargs or {}))


class _RefusingLists(TorchFunctionMode):
    """On the CPU, these are not made of operators."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in (torch.Tensor.tolist, torch.Tensor.numpy):
            raise RuntimeError("called a synchronizing CUDA operation")
        return function(*args, **(kwargs or {}))


@contextmanager
def capturing(graph, pool, stream, *, capture_error_mode):
    """Stands for ``torch.cuda.graph``."""
    assert pool is not None
    assert isinstance(stream, EmulatedStream)
    assert capture_error_mode == "thread_local"
    generator, mode = torch.get_rng_state(), _Capturing(graph)
    with mode:
        yield
    for tensor, value in reversed(mode.before):
        tensor.data.copy_(value)
    torch.set_rng_state(generator)


class EmulatedStream:
    """Stands for a stream; work on it is done at once."""

    def __init__(self, _device: Any = None) -> None:
        pass

    def wait_stream(self, _other: EmulatedStream) -> None:
        pass


class EmulatedSyncMode:
    """Stands for ``torch.cuda.set_sync_debug_mode``."""

    def __init__(self) -> None:
        self.mode: str | int = 0
        self._stack = ExitStack()

    def get(self) -> str | int:
        return self.mode

    def set(self, mode: str | int) -> None:
        self._stack.close()
        if mode == "error":
            self._stack.enter_context(_Refusing())
            self._stack.enter_context(_RefusingLists())
        self.mode = mode


def emulate(monkeypatch) -> list[EmulatedGraph]:
    """Let ``torch.cuda`` do so; returns the graphs, which are yet to come."""
    sync_mode = EmulatedSyncMode()
    monkeypatch.setattr(EmulatedGraph, "made", [])
    for name, stand_in in {
        "CUDAGraph": EmulatedGraph,
        "Stream": EmulatedStream,
        "current_stream": EmulatedStream,
        "get_sync_debug_mode": sync_mode.get,
        "graph": capturing,
        "graph_pool_handle": object,
        "set_sync_debug_mode": sync_mode.set,
        "stream": lambda _: nullcontext(),
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    return EmulatedGraph.made
