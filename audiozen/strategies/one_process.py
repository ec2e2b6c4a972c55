"""One process alone; and what every strategy does for the engine."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from audiozen.strategies.shards import local_part

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch.optim import Optimizer

T = TypeVar("T")


class OneProcess:
    """One process, which trains the bare modules themselves.

    Attributes:
        name: what settings and messages call it.
        exchanges: whether gradients are; else :meth:`start_micro_batch` and :meth:`average_strays` do nothing.
        trained: from :meth:`enter` to :meth:`leave`, the modules that hold the parameters that are trained, by name.
    """

    name = "one process"
    exchanges = False

    def __init__(self) -> None:
        self.trained: dict[str, nn.Module] = {}

    # ---- around training ------------------------------------------------------------------

    def enter(
        self, modules: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer]
    ) -> dict[str, nn.Module]:
        """Begin to train. Collective.

        Args:
            modules: the bare modules, by name.
            optimizers: they may have been built, and may have loaded their state, at any time before.

        Returns:
            What ``training_step`` calls, by the same names. Everything is as process 0 had it.

        Raises:
            RequestError: these modules cannot be trained so; the text says why.
        """
        del optimizers
        self.trained = dict(modules)
        return dict(modules)

    def leave(self) -> None:
        """End training well: bare modules and optimizers are whole and plain again. Collective."""
        self.abandon()

    def abandon(self) -> None:
        """End training after a failure. Needs no other process; modules that were sharded are lost."""
        self.trained = {}

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Around steps: what PyTorch says about a wrong use of the modules is said so that one knows what to do.

        Raises:
            TrainingError: in the place of such an error.
        """
        yield

    @contextmanager
    def published(self) -> Iterator[None]:
        """Within this context the bare modules have the trained weights and process 0's buffers. Collective.

        Buffers, such as the statistics of batch normalisation, are each process's own up to here, and those of process
        0 from here on. Contexts may be nested.
        """
        yield

    # ---- one step ---------------------------------------------------------------------------

    def start_micro_batch(self, *, is_last: bool) -> None:
        """Before forward and backward of a micro-batch: gradients are exchanged in the last of a step only."""

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of ``loss``, averaged over the processes where this is the last micro-batch.

        Raises:
            TrainingError: gradients were not exchanged; the text says which, and what to do.
        """
        loss.backward()  # type: ignore[no-untyped-call] # PyTorch leaves it untyped

    def average_strays(self, parameters: Sequence[Tensor]) -> None:
        """Average the gradients of those ``parameters`` that belong to no wrapped module. Collective.

        Such are the weights of a loss function. Where one has no gradient, that counts as zero.

        Args:
            parameters: of the optimizers that step next.
        """

    def norms(self, gradients: list[Tensor]) -> Tensor:
        """The 2-norm of each gradient as a whole, shape ``(num_gradients,)``, on the device. Collective."""
        return torch.stack(torch._foreach_norm(gradients))

    def scale_(self, gradients: list[Tensor], factor: Tensor) -> None:
        """Multiply the gradients by ``factor``, in place."""
        torch._foreach_mul_([local_part(g) for g in gradients], factor)

    # ---- checkpoints --------------------------------------------------------------------------

    def whole(self, value: T, *, keep: bool) -> T:
        """``value`` with every shard in it replaced by the whole tensor. Collective.

        Args:
            value: dicts, lists and tuples in any nesting, with the same shards in the same order on every process.
            keep: True: whole tensors come to the CPU. False: None takes their place, and nothing is held.
        """
        del keep
        return value
