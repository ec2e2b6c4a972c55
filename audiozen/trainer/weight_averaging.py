"""A moving average of the weights, for evaluation.

Source: Polyak & Juditsky, "Acceleration of stochastic approximation by averaging", 1992; in its exponential
form as used for training neural networks, e.g. Tarvainen & Valpola, "Mean teachers are better role models", NeurIPS
2017.
"""

from __future__ import annotations

from contextlib import contextmanager
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from audiozen.strategies.shards import is_sharded, local_part, placed_like

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


WITHOUT_GRADIENT = attrgetter("data")


class NoAveraging:
    """Evaluates the weights as they are."""

    is_on = False
    num_updates = 0

    def update(self) -> None:
        """Nothing to take note of."""

    def restart(self) -> None:
        """Nothing to forget."""

    def follow(self, modules: Mapping[str, nn.Module]) -> None:
        """Nothing to keep beside other modules."""

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The weights as they are."""
        yield

    def state_dict(self) -> dict[str, Any]:
        """Nothing to save."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to load."""


class ExponentialAveraging(NoAveraging):
    """Keeps ``average = decay * average + (1 - decay) * weights``, updated after each step.

    The first steps use ``min(decay, (1 + n) / (10 + n))`` after ``n`` updates, so that the initial weights are soon
    forgotten. Buffers (such as the statistics of batch normalisation) are not averaged.

    Args:
        modules: models by name.
        decay: in [0, 1). 0 gives the weights themselves.
    """

    is_on = True

    def __init__(self, modules: Mapping[str, nn.Module], decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {decay}")
        self.decay = decay
        self.num_updates = 0
        self.parameters = named_parameters(modules)
        self._is_sharded = any(map(is_sharded, self.parameters.values()))
        self.average = {key: value.detach().clone() for key, value in self.parameters.items()}

    def follow(self, modules: Mapping[str, nn.Module]) -> None:
        """Go on with other modules that have the same weights, sharded or whole; the averages become so too.

        Collective where they are put together.

        Args:
            modules: models by the same names.
        """
        self.parameters = named_parameters(modules)
        self._is_sharded = any(map(is_sharded, self.parameters.values()))
        for key, parameter in self.parameters.items():
            self.average[key] = placed_like(self.average[key], parameter)

    def update(self) -> None:
        """Take note of the weights after a step."""
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        averages: list[Tensor] = list(self.average.values())
        weights: list[Tensor] = list(map(WITHOUT_GRADIENT, self.parameters.values()))
        if self._is_sharded:
            averages, weights = self._averages(), self._local_weights()
        torch._foreach_lerp_(averages, weights, 1 - decay)
        self.num_updates += 1

    @torch.no_grad()
    def restart(self) -> None:
        """Begin with the weights that the models have now."""
        self.num_updates = 0
        torch._foreach_copy_(self._averages(), self._local_weights())

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within this context the models have the averaged weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for key, parameter in self.parameters.items():
            if is_sharded(parameter):
                swap_values(local_part(parameter.detach()), local_part(self.average[key]))
            else:
                # The tensors change places, so that whoever holds one of them still sees the same numbers.
                parameter.data, self.average[key] = self.average[key], parameter.data

    def _weights(self) -> list[Tensor]:
        return [parameter.detach() for parameter in self.parameters.values()]

    def _local_weights(self) -> list[Tensor]:
        return [local_part(weight) for weight in self._weights()]

    def _averages(self) -> list[Tensor]:
        return [local_part(average) for average in self.average.values()]

    def state_dict(self) -> dict[str, Any]:
        """The weights of training, and the number of updates. The average itself is what a checkpoint has as
        the model.
        """
        return {
            "num_updates": self.num_updates,
            "weights": dict(zip(self.parameters, self._weights())),
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint whose model weights, the average, have been loaded into the models."""
        self.num_updates = state["num_updates"]
        for key, parameter in self.parameters.items():
            self.average[key].copy_(parameter)
            parameter.copy_(state["weights"][key])


def named_parameters(modules: Mapping[str, nn.Module]) -> dict[str, nn.Parameter]:
    """Parameters of all modules, by the module's name and their own."""
    return {
        f"{name}.{key}" if name else key: parameter
        for name, module in modules.items()
        for key, parameter in module.named_parameters()
    }


def swap_values(first: Tensor, second: Tensor) -> None:
    """Let two tensors exchange their numbers; FSDP2 knows a shard by its memory, which has to stay where it is."""
    kept = first.clone()
    first.copy_(second)
    second.copy_(kept)
