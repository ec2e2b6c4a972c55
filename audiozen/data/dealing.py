"""Which samples come when, and which process loads them. Here are indices only; others load what they stand for.

A process is a rank and the number of all processes, which is 1 where nothing is dealt.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
from torch.utils.data import BatchSampler

from audiozen.data.sampler import (
    Permutation,
    derive_seed,
    generator_states,
    isolated_generators,
    restore_generators,
    seed_generators,
)
from audiozen.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

T = TypeVar("T")

BLOCK_SIZE = 64
"""Batches that are dealt at a time."""


class Share(NamedTuple):
    """What one process loads of a global micro-batch.

    Attributes:
        epoch: number of the epoch.
        indices: of the samples, as the dataset knows them.
        num_samples: of the global micro-batch; batches where the order counts in batches.
        num_own: how many of them are this process's own. Where it is 0, the indices are those of another process: all
            must make the same number of forward passes.
        batch_number: of the batch in the epoch, where a sample may come more than once and must not look the same each
            time; None where each comes once.
    """

    epoch: int
    indices: list[Any]
    num_samples: int
    num_own: int
    batch_number: int | None = None


class Identity:
    """The order in which the samples are."""

    def at(self, positions: Sequence[int]) -> list[int]:
        """The positions themselves."""
        return list(positions)


@dataclass(frozen=True)
class ComputedOrder:
    """A whole dataset, shuffled or not, in batches of one size. Positions are samples.

    Any place of any epoch is computed from the seed, in constant time and memory.
    """

    num_samples: int
    batch_size: int
    drop_last: bool
    shuffle: bool
    seed: int

    def num_batches(self, world_size: int = 1) -> int:
        """Global micro-batches in an epoch."""
        size = self.batch_size * world_size
        return self.num_samples // size if self.drop_last else -(-self.num_samples // size)

    def num_positions(self, world_size: int = 1) -> int:
        """Samples in an epoch, without those that ``drop_last`` drops."""
        return min(self.num_batches(world_size) * self.batch_size * world_size, self.num_samples)

    def refuse_empty_epoch(self, world_size: int) -> None:
        """Raise RequestError where an epoch would not have one global micro-batch."""
        if self.num_batches(world_size) == 0:
            raise RequestError(
                f"no batch: the training dataset has {self.num_samples} samples, which is not one batch of "
                f"{self.batch_size * world_size} (batch_size {self.batch_size} on {world_size} processes, drop_last "
                f"{self.drop_last}); lower batch_size or add data"
            )

    def shares(self, epoch: int, start: int, rank: int, world_size: int) -> Iterator[Share]:
        """What a process loads from position ``start`` on: its part of one global micro-batch after the other.

        Raises:
            RequestError: ``start`` is beyond the end of the dataset.
        """
        if not 0 <= start <= self.num_samples:
            raise RequestError(
                f"cannot go on at sample {start} of epoch {epoch}: the training dataset has "
                f"{self.num_samples} samples; is it the one that the run was started with?"
            )
        return self._shares(epoch, start, rank, world_size)

    def _shares(self, epoch: int, start: int, rank: int, world_size: int) -> Iterator[Share]:
        order = self._order(epoch)
        cuts = self._cuts(self.batch_size * world_size, start)
        while block := list(islice(cuts, BLOCK_SIZE)):
            owns = [
                cut[len(cut) * rank // world_size : len(cut) * (rank + 1) // world_size]
                for cut in block
            ]
            # Positions of many batches are looked up at once, which is much faster.
            loaded = [own or cut[:1] for own, cut in zip(owns, block)]
            indices = iter(order.at(list(chain(*loaded))))
            for cut, own, part in zip(block, owns, loaded):
                yield Share(epoch, list(islice(indices, len(part))), len(cut), len(own))

    def evaluation_shares(self, rank: int, world_size: int) -> Iterator[Share]:
        """Every ``world_size``-th batch of a single process."""
        order = self._order(epoch=0)
        for cut in islice(self._cuts(self.batch_size), rank, None, world_size):
            yield Share(0, order.at(cut), len(cut), len(cut))

    def sample_indices(self, epoch: int, start: int, num_samples: int) -> list[int]:
        """Indices at ``num_samples`` positions from ``start`` on."""
        positions = range(start, min(start + num_samples, self.num_samples))
        return self._order(epoch).at(positions)

    def identity(self) -> dict[str, Any]:
        """What must be the same when a run is resumed, as far as it is known here."""
        return {
            name: getattr(self, name)
            for name in ("num_samples", "batch_size", "drop_last", "shuffle")
        }

    def _order(self, epoch: int) -> Identity | Permutation:
        """Index of the sample at each position."""
        if self.shuffle:
            return Permutation(self.num_samples, derive_seed(self.seed, epoch, "order"))
        return Identity()

    def _cuts(self, size: int, start: int = 0) -> Iterator[range]:
        """Positions of one batch of ``size`` after the other."""
        end = self.num_samples
        if self.drop_last:
            end = start + (end - start) // size * size
        begins = range(start, end, size)
        return map(
            range(self.num_samples).__getitem__,
            map(slice, begins, range(start + size, end + size, size)),
        )


@dataclass(frozen=True)
class SamplerOrder:
    """What a sampler of the user draws, one batch after the other. Positions are batches.

    All processes draw the same, with generators that start from (seed, epoch). The batches are dealt in turn, a round
    to all processes being a global micro-batch.

    Attributes:
        batch_sampler: gives lists of indices; None where samples are not batched.
        sampler: gives indices.
        seed: start of the random numbers of both, that of their own ``generator`` included.
    """

    batch_sampler: Any
    sampler: Any
    seed: int

    batch_size = 1

    def num_batches(self, world_size: int = 1) -> int:
        """Global micro-batches in an epoch. TypeError where the sampler has no length."""
        if (num_drawn := self.num_positions()) is None:
            raise TypeError(f"{self._name} has no length")
        return -(-num_drawn // world_size)

    def num_positions(self, world_size: int = 1) -> int | None:
        """Batches in an epoch, whatever ``world_size`` is; None where the sampler has no length."""
        del world_size
        try:
            return len(self._drawn)
        except (TypeError, NotImplementedError):
            return None

    def shares(self, epoch: int, start: int, rank: int, world_size: int) -> Iterator[Share]:
        """What a process loads from position ``start`` on: its batch of one round after the other.

        Raises:
            RequestError: as soon as something is drawn: ``start`` is beyond what the sampler draws.
        """
        for batches in draw(self._rounds(epoch, start, world_size), self.seed, epoch, "sampler"):
            is_own = rank < len(batches)
            chosen = rank if is_own else 0
            yield Share(epoch, batches[chosen], len(batches), int(is_own), start + chosen)
            start += len(batches)

    def evaluation_shares(self, rank: int, world_size: int) -> Iterator[Share]:
        """Every ``world_size``-th batch of a single process."""
        shares = self.shares(0, 0, rank, world_size)
        return (share._replace(batch_number=None) for share in shares if share.num_own)

    def identity(self) -> dict[str, Any]:
        """What must be the same when a run is resumed, as far as it is known here."""
        return {"sampler": self._name, "num_batches": self.num_positions()}

    @property
    def _drawn(self) -> Any:
        return self.sampler if self.batch_sampler is None else self.batch_sampler

    @property
    def _name(self) -> str:
        """The part that the user wrote, which may be inside of a usual one."""
        is_usual = type(self.batch_sampler) is BatchSampler
        return type(self.sampler if is_usual else self._drawn).__name__

    def _rounds(self, epoch: int, start: int, world_size: int) -> Iterator[list[list[Any]]]:
        """``world_size`` batches at a time; at the end, what is left."""
        self._start(epoch)
        batches = map(self._indices, self._drawn)
        num_skipped = sum(1 for _ in islice(batches, start))
        if num_skipped < start:
            raise RequestError(
                f"cannot go on at batch {start} of epoch {epoch}: {self._name} draws {num_skipped} batches; is it "
                "the one that the run was started with, and the dataset as well?"
            )
        while together := list(islice(batches, world_size)):
            yield together

    def _start(self, epoch: int) -> None:
        for part in (self.sampler, self.batch_sampler):
            set_epoch(part, epoch)
            generator = getattr(part, "generator", None)
            if isinstance(generator, torch.Generator):
                generator.manual_seed(derive_seed(self.seed, epoch, "sampler"))

    def _indices(self, drawn: Any) -> list[Any]:
        return [plain(drawn)] if self.batch_sampler is None else [plain(index) for index in drawn]


def plain(index: Any) -> Any:
    """An index as an int, if it is a number: a tensor would give other random numbers than the int does."""
    try:
        return operator.index(index)
    except TypeError:
        return index


def set_epoch(part: Any, epoch: int) -> None:
    """Tell a sampler or a dataset which epoch begins, if it wants to know."""
    if hasattr(part, "set_epoch"):
        part.set_epoch(epoch)


def draw(iterable: Iterable[T], *seed_parts: int | str) -> Iterator[T]:
    """Items of ``iterable``, drawn with generators that start from ``seed_parts`` and are seen by nobody else."""
    with isolated_generators():
        seed_generators(*seed_parts)
        items, states = iter(iterable), generator_states()
    while True:
        with isolated_generators():
            restore_generators(states)
            try:
                item = next(items)
            except StopIteration:
                return
            states = generator_states()
        yield item
