"""From a user's dataloader to batches that are the same for any number of workers and processes.

::

    loader = TrainingLoader(DataLoader(dataset, batch_size=8, shuffle=True, num_workers=2), seed=0)
    for batch, num_samples, num_own in loader.batches(epoch=3, start=800):  # 800 samples were consumed
        ...
    for batch_idx, batch in EvaluationLoader(DataLoader(dataset, batch_size=8), seed=0):
        ...
"""

from __future__ import annotations

import logging
from itertools import count, islice
from typing import TYPE_CHECKING, Any

from audiozen.data.bad_samples import BadSamples
from audiozen.data.dataloaders import (
    as_dataloader,
    content_in_a_worker,
    order_of,
    rebuild,
    why_dealt_already,
    why_used_as_it_is,
)
from audiozen.data.dealing import ComputedOrder, draw, set_epoch
from audiozen.data.seeded_batches import DealtBatch
from audiozen.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch.utils.data import DataLoader

    from audiozen.data.bad_samples import BadSample
    from audiozen.data.dealing import Share
    from audiozen.data.seeded_batches import Loaded, OnBadSample

logger = logging.getLogger(__name__)


class TrainingLoader:
    """Batches of a training epoch as a pure function of (seed, epoch, position).

    A ``DataLoader`` over a map-style dataset is rebuilt: same dataset, ``collate_fn`` and workers, but the generators
    of Python, NumPy and PyTorch are seeded for each sample. Then neither the number of workers, nor that of processes,
    nor an interruption changes a sample, and loading samples does not disturb the generators of the process that
    trains. What the processes get at one time is a *global micro-batch*:

    - Of a dataset that is shuffled or in order, with or without ``DistributedSampler``, the order is computed, and
      positions are samples. A global micro-batch is the next ``world_size * batch_size`` samples, as one process with
      this larger batch size would see them; each process gets its contiguous share. The last one may be short, and the
      shares then differ by at most one sample.
    - Any other sampler or batch sampler is asked for its batches, and positions are batches. It draws with generators
      that start from (seed, epoch), its own ``generator`` included, and hears of the epoch if it has a ``set_epoch``.
      A global micro-batch is the next ``world_size`` batches, one for each process, as one process with so many times
      the gradient accumulation would see them; at the end it may be less. A sample that comes several times in an epoch
      has other random numbers each time. What such a sampler keeps from one epoch to the next is its own: a resumed
      run would not find it.
    - A list of batches is a dataset whose samples are these batches.

    Where nothing is left for a process, it gets a batch all the same, with ``num_own = 0``: all must make the same
    number of forward passes, and this one must not count.

    A sample that cannot be loaded ends the training, or has another one put in its place: any of the dataset where the
    order is computed, else one of the same batch. It is computed from (seed, epoch, index) and seeded as if it had been
    drawn itself, so whatever fails each time is replaced by the same sample in each run, whoever loads it. Only samples
    whose index is a number are replaced.

    Anything else that can be iterated more than once is used as it is, each process on its own; ``inexact`` says why.
    It must deal to several processes by itself, and give equally many batches to each; that cannot be checked here.
    Positions are batches over all processes. It draws with generators that start from (seed, epoch, rank). Resuming
    draws the consumed batches again and drops them.

    Where the dataset has a ``set_epoch``, it is called before the workers of that epoch start; persistent workers do
    not hear of it.

    Args:
        dataloader: a ``torch.utils.data.DataLoader``, or any iterable of batches.
        seed: start of all random numbers.
        rank: number of this process.
        world_size: number of processes.
        on_bad_sample: ``"raise"`` lets the error of a sample that cannot be loaded through, with a
            note which one it was; ``"skip"`` takes another sample. Without effect where inexact.
        keeps_generators: False leaves the global generators of this process wherever loading leaves them, which is
            faster, where samples are loaded in this process: for those who seed them before they draw.

    Attributes:
        inexact: why ``dataloader`` could not be rebuilt, and what that means on several processes; None where it was.
        bad_samples: samples that could not be loaded, of the batches that were handed out by this
            process.
        stride: how far a global micro-batch moves the position, unless it is a short one.

    Raises:
        RequestError: it cannot be iterated, or only once, or an epoch would have no batch.
    """

    def __init__(
        self,
        dataloader: Any,
        *,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        on_bad_sample: OnBadSample = "raise",
        keeps_generators: bool = True,
    ) -> None:
        dataloader = as_dataloader(dataloader)
        self.inexact = why_used_as_it_is(dataloader, world_size)
        self.bad_samples = BadSamples()
        self._source: _LoadedBatches | _ForeignBatches
        if self.inexact is None:
            self._source = _LoadedBatches(
                dataloader,
                seed,
                rank,
                world_size,
                on_bad_sample,
                self.bad_samples,
                keeps_generators=keeps_generators,
            )
        else:
            self._source = _ForeignBatches(dataloader, seed, rank, world_size)
            self._say_what_follows(world_size, on_bad_sample)
        self.stride = self._source.stride

    def _say_what_follows(self, world_size: int, on_bad_sample: OnBadSample) -> None:
        if on_bad_sample == "skip":
            logger.warning(
                'on_bad_sample = "skip" has no effect: samples cannot be replaced, because the '
                "train dataloader is used as it is: %s",
                self.inexact,
            )
        if world_size > 1:
            self.inexact = (
                f"{self.inexact}. Each of the {world_size} processes draws batches of its own, so it must deal to them "
                "by itself, and give equally many to each; what a DataLoader over a map-style dataset draws is dealt"
            )

    @property
    def num_positions(self) -> int | None:
        """Samples in an epoch (without those that ``drop_last`` drops), or batches where positions are batches; over
        all processes. None if unknown.
        """
        return self._source.num_positions

    def __len__(self) -> int:
        """Batches per epoch on each process. TypeError where that is unknown."""
        return len(self._source)

    def batches(self, epoch: int, start: int = 0) -> Iterator[DealtBatch]:
        """Batches of ``epoch`` for this process, one epoch at a time.

        Args:
            epoch: number of the epoch; another epoch has another order and other random numbers.
            start: position to go on from: what all processes together have consumed in this epoch. It need not be a
                multiple of ``stride``, so a run may go on with another number of processes or another batch size.

        Raises:
            RequestError: ``start`` is beyond the end of the epoch: the dataset is not the one it
                was.
            AudioError: and whatever else the dataset raises; see ``on_bad_sample``.
        """
        return self._source.batches(epoch, start)

    def end_from(self, start: int) -> int | None:
        """Position after the last batch of an epoch that goes on from ``start``. None: only the end itself can tell."""
        order = self._source.order
        if not isinstance(order, ComputedOrder):
            return None
        num_left = order.num_samples - start
        return start + (num_left // self.stride * self.stride if order.drop_last else num_left)

    def sample_indices(self, epoch: int, start: int, num_samples: int) -> list[int] | None:
        """Indices in the dataset of the samples at ``num_samples`` positions of ``epoch`` from ``start`` on.

        Samples of all processes. None where positions are batches. A bad sample that was replaced is still named by its
        own index.
        """
        order = self._source.order
        if isinstance(order, ComputedOrder):
            return order.sample_indices(epoch, start, num_samples)
        return None  # drawing again might change what a sampler with a state of its own draws next

    def identity(self) -> dict[str, Any]:
        """What must be the same when a run is resumed, as names and values that JSON knows.

        The number of workers does not belong to it, nor that of processes: ``global_batch_size`` is the ``stride``,
        however it comes about. ``content`` changes when the data change, and is None where that cannot be known: see
        :func:`audiozen.data.content.content_of`, which loads a few samples, in a worker if there are any.
        """
        return {**self._source.identity(), "global_batch_size": self.stride}


class EvaluationLoader:
    """Batches of an evaluation, as a single process would form them, dealt to the processes in
    turn.

    Batch k goes to process ``k % world_size``. Nothing is padded and nothing comes twice; a process
    may get no batch at all. Each sample sees the random numbers of epoch 0, so a random dataset is
    the same in each evaluation, and so is what a sampler draws. A sample that cannot be loaded is always an error:
    scores over other files could not be compared.

    A dataloader that cannot be rebuilt (see :class:`TrainingLoader`) is read as a whole by every
    process, with the same random numbers, and each keeps its own batches. So it must not deal by itself.

    Args:
        dataloader: a ``torch.utils.data.DataLoader``, or any iterable of batches.
        seed: start of all random numbers.
        rank: number of this process.
        world_size: number of processes.

    Raises:
        RequestError: ``dataloader`` cannot be iterated, or only once, or its sampler gives each process a part.
    """

    def __init__(self, dataloader: Any, *, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self._rank, self._world_size = rank, world_size
        self._given, self._seed = as_dataloader(dataloader), seed
        self._is_rebuilt = why_used_as_it_is(self._given, world_size) is None
        if self._is_rebuilt:
            self._order = order_of(self._given, seed, world_size)
            self._shares = _Shares()
            self._loader = rebuild(self._given, self._order, self._shares, rank, "raise")
        elif reason := why_dealt_already(self._given, world_size):
            raise RequestError(
                f"an evaluation deals its batches to the processes, so that each comes once, and {reason}; give it a "
                "sampler that draws all, or none"
            )

    def __len__(self) -> int:
        """Batches over all processes. TypeError where that is unknown."""
        return self._order.num_batches() if self._is_rebuilt else len(self._given)

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        """Yield ``(batch_idx, batch)`` with the number that the batch has on a single process."""
        if not self._is_rebuilt:
            batches = draw(self._given, self._seed, "evaluation")
            return islice(enumerate(batches), self._rank, None, self._world_size)
        self._shares.following = self._order.evaluation_shares(self._rank, self._world_size)
        loaded = _loaded_by(self._loader)
        return zip(count(self._rank, self._world_size), (one.unpacked().batch for one in loaded))


class _Shares:
    """What a rebuilt dataloader loads next. It asks once per epoch, and draws for as long as its workers can load."""

    def __init__(self) -> None:
        self.following: Iterable[Share] = ()

    def __iter__(self) -> Iterator[Share]:
        return iter(self.following)


def _loaded_by(loader: DataLoader[Loaded]) -> Iterator[Loaded]:
    """An epoch of a rebuilt dataloader, with little work for each batch that comes from a worker."""
    if not loader.num_workers:
        return iter(loader)
    batches: Any = iter(loader)
    # Its __next__ does the same inside of a range of PyTorch's profiler, which costs as much as the queue.
    return iter(batches._next_data, None)


class _LoadedBatches:
    """Training batches from a rebuilt ``DataLoader``; without workers, from its dataset itself."""

    def __init__(
        self,
        dataloader: DataLoader[Any],
        seed: int,
        rank: int,
        world_size: int,
        on_bad_sample: OnBadSample,
        bad_samples: BadSamples,
        *,
        keeps_generators: bool,
    ) -> None:
        self.order = order_of(dataloader, seed, world_size)
        self._rank, self._world_size = rank, world_size
        self.stride = self.order.batch_size * world_size
        if isinstance(self.order, ComputedOrder):
            self.order.refuse_empty_epoch(world_size)
        self._shares = _Shares()
        self._loader = rebuild(dataloader, self.order, self._shares, rank, on_bad_sample)
        self._dataloader, self._bad_samples = dataloader, bad_samples
        needs_loader = self._loader.num_workers or self._loader.pin_memory
        self._loads_here = not (needs_loader or keeps_generators)

    def __len__(self) -> int:
        return self.order.num_batches(self._world_size)

    @property
    def num_positions(self) -> int | None:
        return self.order.num_positions(self._world_size)

    def batches(self, epoch: int, start: int) -> Iterator[DealtBatch]:
        set_epoch(self._dataloader.dataset, epoch)
        shares = self.order.shares(epoch, start, self._rank, self._world_size)
        if self._loads_here:
            return self._loaded_here(shares)
        self._shares.following = shares
        return map(self._handed_out, _loaded_by(self._loader))

    def _loaded_here(self, shares: Iterable[Share]) -> Iterator[DealtBatch]:
        batches: Any = self._loader.dataset
        bad: list[BadSample] = []
        for share in shares:
            dealt: DealtBatch = batches.load(share, bad)
            for sample in bad:
                self._bad_samples.add(sample)
            bad.clear()
            yield dealt

    def _handed_out(self, loaded: Loaded) -> DealtBatch:
        return loaded.unpacked(self._bad_samples)

    def identity(self) -> dict[str, Any]:
        dataset = type(self._dataloader.dataset).__name__
        content = content_in_a_worker(self._dataloader, self.order.seed)
        return {**self.order.identity(), "dataset": dataset, "content": content}


class _ForeignBatches:
    """Training batches from an iterable that is used as it is; positions are batches over all processes."""

    order = None

    def __init__(self, dataloader: Any, seed: int, rank: int, world_size: int) -> None:
        self._dataloader, self._seed, self._rank, self.stride = dataloader, seed, rank, world_size

    def __len__(self) -> int:
        return len(self._dataloader)

    @property
    def num_positions(self) -> int | None:
        try:
            return len(self) * self.stride
        except TypeError:
            return None

    def identity(self) -> dict[str, Any]:
        # How many there are for several processes depends on how it deals.
        num_batches = self.num_positions if self.stride == 1 else None
        return {"dataloader": type(self._dataloader).__name__, "num_batches": num_batches}

    def batches(self, epoch: int, start: int) -> Iterator[DealtBatch]:
        for name in ("sampler", "batch_sampler", "dataset"):
            set_epoch(getattr(self._dataloader, name, None), epoch)
        batches = draw(self._dataloader, self._seed, epoch, self._rank, "batches")
        return (
            DealtBatch(batch, num_samples=self.stride, num_own=1)
            for batch in islice(batches, start // self.stride, None)
        )
