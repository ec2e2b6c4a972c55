"""From a user's dataloader to batches that are the same for any number of workers and processes.

::

    loader = TrainingLoader(DataLoader(dataset, batch_size=8, shuffle=True, num_workers=2), seed=0)
    for batch in loader.batches(epoch=3, start=800):  # goes on where 800 samples were consumed
        ...
    for batch_idx, batch in EvaluationLoader(DataLoader(dataset, batch_size=8), seed=0):
        ...
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
)
from torch.utils.data.distributed import DistributedSampler

from audiozen.data.bad_samples import BadSamples
from audiozen.data.content import content_of
from audiozen.data.sampler import (
    Permutation,
    derive_seed,
    generator_states,
    isolated_generators,
    restore_generators,
    seed_generators,
)
from audiozen.data.seeded_batches import Keys, Loaded, OnBadSample, SeededBatches
from audiozen.data.workers import WorkerStart
from audiozen.errors import RequestError

logger = logging.getLogger(__name__)


class TrainingLoader:
    """Batches of a training epoch as a pure function of (seed, epoch, position).

    A ``DataLoader`` over a map-style dataset, shuffled or in order, with or without
    ``DistributedSampler``, is rebuilt: same dataset, batch size, ``drop_last``, ``collate_fn`` and
    workers, but the order is computed and the generators of Python, NumPy and PyTorch are seeded
    for each sample. Then neither the number of workers nor an interruption changes a sample, and
    drawing samples does not disturb the generators of the process that trains.

    With ``world_size`` processes and batch size B, a global batch is the next ``world_size * B``
    samples of the epoch, so it is the batch that one process with batch size ``world_size * B``
    would see. Process ``rank`` gets its contiguous share. The last global batch may be short: then
    the shares differ by at most one sample, and where there are fewer samples than processes, some
    are given to two processes, so that all make the same number of steps.

    A sample that cannot be loaded ends the training, or has another one put in its place, which is
    computed from (seed, epoch, index) and seeded as if it had been drawn itself. So whatever fails
    each time is replaced by the same sample in each run, whoever loads it.

    Anything else that can be iterated more than once is used as it is, each process on its own;
    ``inexact`` says why. Its batches are drawn with generators of their own that start from (seed,
    epoch, rank), and where its samplers or its dataset have a ``set_epoch``, it is called. Resuming
    draws the consumed batches again and drops them.

    Args:
        dataloader: a ``torch.utils.data.DataLoader``, or any iterable of batches.
        seed: start of all random numbers.
        rank: number of this process.
        world_size: number of processes.
        on_bad_sample: ``"raise"`` lets the error of a sample that cannot be loaded through, with a
            note which one it was; ``"skip"`` takes another sample. Without effect where inexact.

    Attributes:
        inexact: why ``dataloader`` could not be rebuilt; None where it was.
        bad_samples: samples that could not be loaded, of the batches that were handed out by this
            process.
        stride: how far one batch moves the position: samples of a global batch, or 1 (a batch)
            where inexact.

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
    ) -> None:
        self.inexact = _why_inexact(dataloader, world_size)
        self.bad_samples = BadSamples()
        self._source: _ComputedBatches | _DrawnBatches
        if self.inexact is None:
            self._source = _ComputedBatches(
                dataloader, seed, rank, world_size, on_bad_sample, self.bad_samples
            )
        else:
            self._source = _DrawnBatches(dataloader, seed, rank)
            if on_bad_sample == "skip":
                logger.warning(
                    'on_bad_sample = "skip" has no effect: samples cannot be replaced, because the '
                    "train dataloader is used as it is: %s",
                    self.inexact,
                )
        self.stride = self._source.stride

    @property
    def num_positions(self) -> int | None:
        """Samples in an epoch (without those that ``drop_last`` drops); batches where inexact; None
        if unknown.
        """
        return self._source.num_positions

    def __len__(self) -> int:
        """Batches per epoch on this process. TypeError where that is unknown."""
        return len(self._source)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """Batches of ``epoch`` for this process, one epoch at a time.

        Args:
            epoch: number of the epoch; another epoch has another order and other random numbers.
            start: position to go on from: samples that all processes together have consumed in this
                epoch (batches of this process where inexact). It need not be a multiple of
                ``stride``, so a run may go on with another number of processes or another batch
                size.

        Raises:
            RequestError: ``start`` is beyond the end of the epoch: the dataset is not the one it
                was.
            AudioError: and whatever else the dataset raises; see ``on_bad_sample``.
        """
        return self._source.batches(epoch, start)

    def sample_indices(self, epoch: int, start: int, num_samples: int) -> list[int] | None:
        """Indices in the dataset of the samples at ``num_samples`` positions of ``epoch`` from ``start`` on.

        Samples of all processes. None where inexact. A bad sample that was replaced is still named
        by its own index.
        """
        if isinstance(self._source, _DrawnBatches):
            return None
        return self._source.sample_indices(epoch, start, num_samples)

    def identity(self) -> dict[str, Any]:
        """What must be the same when a run is resumed, as names and values that JSON knows.

        Neither the number of workers nor that of processes belongs to it. ``content`` changes when
        the data change, and is None where that cannot be known: see
        :func:`audiozen.data.content.content_of`, which loads a few samples, in a worker if there are any.
        """
        return self._source.identity()


class EvaluationLoader:
    """Batches of an evaluation, as a single process would form them, dealt to the processes in
    turn.

    Batch k goes to process ``k % world_size``. Nothing is padded and nothing comes twice; a process
    may get no batch at all. Each sample sees the random numbers of epoch 0, so a random dataset is
    the same in each evaluation. A sample that cannot be loaded is always an error: scores over other
    files could not be compared.

    A dataloader that cannot be rebuilt (see :class:`TrainingLoader`) is read as a whole by every
    process, with the same random numbers, and each keeps its own batches.

    Args:
        dataloader: a ``torch.utils.data.DataLoader``, or any iterable of batches.
        seed: start of all random numbers.
        rank: number of this process.
        world_size: number of processes.

    Raises:
        RequestError: ``dataloader`` cannot be iterated, or only once.
    """

    def __init__(self, dataloader: Any, *, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self._rank, self._world_size = rank, world_size
        self._given, self._seed = dataloader, seed
        self._layout: _Layout | None = None
        if _why_inexact(dataloader, world_size) is None:
            self._layout = _Layout.of(dataloader, seed)
            dealt = _EvaluationPlan(self._layout, rank, world_size)
            self._loader = _rebuild(dataloader, dealt, seed, rank, "raise")

    def __len__(self) -> int:
        """Batches over all processes. TypeError where that is unknown."""
        if self._layout is None:
            return len(self._given)
        return self._layout.num_batches(self._layout.batch_size)

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        """Yield ``(batch_idx, batch)`` with the number that the batch has on a single process."""
        if self._layout is None:
            batches = _draw(self._given, self._seed, "evaluation")
            return islice(enumerate(batches), self._rank, None, self._world_size)
        numbers = range(self._rank, len(self), self._world_size)
        return zip(numbers, map(Loaded.unpacked, self._loader))


# ---- dataloaders that can be rebuilt -------------------------------------------------------------


class _ComputedBatches:
    """Training batches from a rebuilt ``DataLoader``; positions are samples."""

    def __init__(
        self,
        dataloader: DataLoader[Any],
        seed: int,
        rank: int,
        world_size: int,
        on_bad_sample: OnBadSample,
        bad_samples: BadSamples,
    ) -> None:
        self._layout = _Layout.of(dataloader, seed)
        self.stride = self._layout.batch_size * world_size
        if len(self) == 0:
            raise RequestError(
                f"the training dataset has {self._layout.num_samples} samples, which is not one "
                f"batch of {self.stride} (batch_size {self._layout.batch_size} on {world_size} "
                f"processes, drop_last {self._layout.drop_last}); lower batch_size or add data"
            )
        self._plan = _TrainingPlan(self._layout, rank, world_size)
        self._loader = _rebuild(dataloader, self._plan, seed, rank, on_bad_sample)
        self._dataloader, self._bad_samples = dataloader, bad_samples

    def __len__(self) -> int:
        return self._layout.num_batches(self.stride)

    @property
    def num_positions(self) -> int:
        return min(len(self) * self.stride, self._layout.num_samples)

    def batches(self, epoch: int, start: int) -> Iterator[Any]:
        if not 0 <= start <= self._layout.num_samples:
            raise RequestError(
                f"cannot go on at sample {start} of epoch {epoch}: the training dataset has "
                f"{self._layout.num_samples} samples; is it the one that the run was started with?"
            )
        self._plan.epoch, self._plan.start = epoch, start
        return map(self._handed_out, iter(self._loader))

    def _handed_out(self, loaded: Loaded) -> Any:
        return loaded.unpacked(self._bad_samples)

    def sample_indices(self, epoch: int, start: int, num_samples: int) -> list[int]:
        order = self._layout.order(epoch)
        stop = min(start + num_samples, self._layout.num_samples)
        return [order[position] for position in range(start, stop)]

    def identity(self) -> dict[str, Any]:
        layout = asdict(self._layout)
        seed = layout.pop("seed")
        dataset = type(self._dataloader.dataset).__name__
        return {**layout, "dataset": dataset, "content": _content(self._dataloader, seed)}


@dataclass(frozen=True)
class _Layout:
    """How many samples there are, in which order they come, and how they are cut into batches."""

    num_samples: int
    batch_size: int
    drop_last: bool
    shuffle: bool
    seed: int

    @classmethod
    def of(cls, dataloader: DataLoader[Any], seed: int) -> _Layout:
        batch_sampler, sampler = _samplers(dataloader)
        return cls(
            num_samples=len(dataloader.dataset),  # type: ignore[arg-type]  # checked by _why_inexact
            batch_size=1 if batch_sampler is None else batch_sampler.batch_size,
            drop_last=batch_sampler is not None and batch_sampler.drop_last,
            shuffle=getattr(sampler, "shuffle", isinstance(sampler, RandomSampler)),
            seed=seed,
        )

    def num_batches(self, size: int) -> int:
        return self.num_samples // size if self.drop_last else -(-self.num_samples // size)

    def order(self, epoch: int) -> Sequence[int] | Permutation:
        """Index of the sample at each position of ``epoch``."""
        if self.shuffle:
            return Permutation(self.num_samples, derive_seed(self.seed, epoch, "order"))
        return range(self.num_samples)

    def cuts(self, size: int, start: int = 0) -> Iterator[range]:
        """Positions of one batch of ``size`` after the other."""
        positions = range(self.num_samples)
        for begin in range(start, self.num_samples, size):
            cut = positions[begin : begin + size]
            if len(cut) == size or not self.drop_last:
                yield cut


class _TrainingPlan:
    """Sampler of a training epoch: the share of one process in each global batch."""

    def __init__(self, layout: _Layout, rank: int, world_size: int) -> None:
        self._layout, self._rank, self._world_size = layout, rank, world_size
        self.epoch = 0
        self.start = 0

    def __iter__(self) -> Iterator[Keys]:
        return self._keys(self.epoch, self.start)  # what holds now, not at the first batch

    def _keys(self, epoch: int, start: int) -> Iterator[Keys]:
        order = self._layout.order(epoch)
        for cut in self._layout.cuts(self._layout.batch_size * self._world_size, start):
            yield epoch, [order[position] for position in self._share(cut)]

    def _share(self, cut: range) -> range:
        begin, end = (len(cut) * rank // self._world_size for rank in (self._rank, self._rank + 1))
        return cut[
            begin : max(end, begin + 1)
        ]  # a process without a sample would make the others wait for ever


class _EvaluationPlan:
    """Sampler of an evaluation: every ``world_size``-th batch."""

    def __init__(self, layout: _Layout, rank: int, world_size: int) -> None:
        self._layout, self._rank, self._world_size = layout, rank, world_size

    def __iter__(self) -> Iterator[Keys]:
        order = self._layout.order(epoch=0)
        cuts = self._layout.cuts(self._layout.batch_size)
        for cut in islice(cuts, self._rank, None, self._world_size):
            yield 0, [order[position] for position in cut]


class _Content(Dataset[str | None]):
    """What :func:`content_of` says of a dataset, as its only item."""

    def __init__(self, dataset: Any, seed: int) -> None:
        self.dataset, self._seed = dataset, seed

    def __getitem__(self, index: int) -> str | None:
        return content_of(self.dataset, self._seed)


def _content(dataloader: DataLoader[Any], seed: int) -> str | None:
    """The same, found where samples are loaded: a file that is opened here would be shared with all workers."""
    [content] = DataLoader(
        _Content(dataloader.dataset, seed),
        batch_size=None,
        sampler=[0],
        collate_fn=_as_it_is,
        generator=torch.Generator(),
        num_workers=min(1, dataloader.num_workers),
        worker_init_fn=WorkerStart(dataloader.worker_init_fn),
        multiprocessing_context=dataloader.multiprocessing_context,
    )
    found: str | None = content
    return found


def _rebuild(
    dataloader: DataLoader[Any],
    plan: Iterable[Keys],
    seed: int,
    rank: int,
    on_bad_sample: OnBadSample,
) -> DataLoader[Loaded]:
    """The same dataloader with computed order and seeded samples."""
    batched = _samplers(dataloader)[0] is not None
    # Its own generator, because a DataLoader draws a seed for its workers at the start of each
    # epoch.
    generator = torch.Generator().manual_seed(derive_seed(seed, rank, "workers"))
    return DataLoader(
        SeededBatches(dataloader.dataset, dataloader.collate_fn, batched, seed, on_bad_sample),
        batch_size=None,  # a sample of this loader is a batch
        sampler=plan,
        collate_fn=_as_it_is,
        generator=generator,
        num_workers=dataloader.num_workers,
        worker_init_fn=WorkerStart(dataloader.worker_init_fn),
        pin_memory=dataloader.pin_memory and torch.accelerator.is_available(),
        pin_memory_device=dataloader.pin_memory_device,
        timeout=dataloader.timeout,
        multiprocessing_context=dataloader.multiprocessing_context,
        prefetch_factor=dataloader.prefetch_factor,
        persistent_workers=dataloader.persistent_workers,
    )


def _as_it_is(batch: Any) -> Any:
    return batch


# ---- which dataloaders those are -----------------------------------------------------------------


def _samplers(dataloader: DataLoader[Any]) -> tuple[Any, Any]:
    """Batch sampler (None: samples are not batched) and sampler, which may have been given inside
    the former.
    """
    batch_sampler = dataloader.batch_sampler
    return batch_sampler, getattr(batch_sampler, "sampler", dataloader.sampler)


def _why_inexact(dataloader: Any, world_size: int) -> str | None:
    """What keeps the order and the samples from being computed, as the end of "it is used as it is:
    …".
    """
    if not isinstance(dataloader, DataLoader):
        _refuse_what_cannot_be_repeated(dataloader)
        return f"it is a {type(dataloader).__name__}, not a torch DataLoader"
    if type(dataloader).__iter__ is not DataLoader.__iter__:
        return f"its class {type(dataloader).__name__} has an __iter__ of its own"
    if isinstance(dataloader.dataset, IterableDataset):
        return f"its dataset {type(dataloader.dataset).__name__} is iterable: samples have no index"
    if not dataloader.in_order:
        return "in_order=False hands out batches as they happen to be ready"
    batch_sampler, sampler = _samplers(dataloader)
    if batch_sampler is not None and type(batch_sampler) is not BatchSampler:
        return f"it has a batch sampler of its own, {type(batch_sampler).__name__}"
    return _why_not_computed(sampler, dataloader.dataset, world_size)


def _why_not_computed(sampler: Any, dataset: Any, world_size: int) -> str | None:
    if type(sampler) not in (RandomSampler, SequentialSampler, DistributedSampler):
        return f"it has a sampler of its own, {type(sampler).__name__}"
    if not hasattr(dataset, "__len__"):
        return f"its dataset {type(dataset).__name__} has no length"
    if isinstance(sampler, RandomSampler) and sampler.replacement:
        return "its RandomSampler draws with replacement"
    if isinstance(sampler, DistributedSampler):
        if sampler.num_replicas != world_size:
            return (
                f"its DistributedSampler deals to {sampler.num_replicas} processes; there are "
                f"{world_size}"
            )
        num_drawn = len(sampler.dataset)  # type: ignore[arg-type]
    else:
        num_drawn = len(sampler)
    if num_drawn != len(dataset):
        return f"its sampler draws {num_drawn} of {len(dataset)} samples"
    return None


def _refuse_what_cannot_be_repeated(dataloader: Any) -> None:
    if not isinstance(dataloader, Iterable):
        raise RequestError(
            f"a dataloader must give batches when iterated, and a {type(dataloader).__name__} "
            "cannot be iterated; use a torch DataLoader or a list of batches"
        )
    if isinstance(dataloader, Iterator):
        raise RequestError(
            f"a dataloader is iterated once per epoch, and a {type(dataloader).__name__} is empty "
            "after the first time; use a torch DataLoader, a list of batches, or an object whose "
            "__iter__ starts anew"
        )


# ---- those that cannot ---------------------------------------------------------------------------


class _DrawnBatches:
    """Training batches from an iterable that is used as it is; positions are batches."""

    stride = 1

    def __init__(self, dataloader: Any, seed: int, rank: int) -> None:
        self._dataloader, self._seed, self._rank = dataloader, seed, rank

    def __len__(self) -> int:
        return len(self._dataloader)

    @property
    def num_positions(self) -> int | None:
        try:
            return len(self)
        except TypeError:
            return None

    def identity(self) -> dict[str, Any]:
        return {"dataloader": type(self._dataloader).__name__, "num_batches": self.num_positions}

    def batches(self, epoch: int, start: int) -> Iterator[Any]:
        for name in ("sampler", "batch_sampler", "dataset"):
            part: Any = getattr(self._dataloader, name, None)
            if hasattr(part, "set_epoch"):
                part.set_epoch(epoch)
        return islice(
            _draw(self._dataloader, self._seed, epoch, self._rank, "batches"), start, None
        )


def _draw(dataloader: Iterable[Any], *seed_parts: int | str) -> Iterator[Any]:
    """Batches of ``dataloader``, drawn with generators that start from ``seed_parts`` and are seen
    by nobody else.
    """
    with isolated_generators():
        seed_generators(*seed_parts)
        batches, states = iter(dataloader), generator_states()
    while True:
        with isolated_generators():
            restore_generators(states)
            try:
                batch = next(batches)
            except StopIteration:
                return
            states = generator_states()
        yield batch
