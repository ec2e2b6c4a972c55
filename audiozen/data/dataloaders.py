"""What a user's dataloader is made of, and the same made anew: with an order of ours and seeded samples."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

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

from audiozen.data.content import content_of
from audiozen.data.dealing import ComputedOrder, SamplerOrder
from audiozen.data.sampler import derive_seed
from audiozen.data.seeded_batches import Loaded, OnBadSample, SeededBatches
from audiozen.data.slots import SPARE_SLOTS, made_slots
from audiozen.data.workers import WorkerStart
from audiozen.errors import RequestError

if sys.platform != "win32":
    from audiozen.data.queues import with_quick_queues

if TYPE_CHECKING:
    from audiozen.data.dealing import Share

Order = ComputedOrder | SamplerOrder


def as_dataloader(dataloader: Any) -> Any:
    """A list of batches as a ``DataLoader`` whose samples are these batches; anything else as it is.

    Raises:
        RequestError: it cannot be iterated, or only once.
    """
    if isinstance(dataloader, Sequence):
        return DataLoader(dataloader, batch_size=None, collate_fn=_as_it_is)  # type: ignore[arg-type]  # has what is needed
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
    return dataloader


def why_used_as_it_is(dataloader: Any, world_size: int) -> str | None:
    """What keeps a dataloader from being rebuilt, as the end of "it is used as it is: …"; None if nothing does."""
    if not isinstance(dataloader, DataLoader):
        return f"it is a {type(dataloader).__name__}, not a torch DataLoader"
    if type(dataloader).__iter__ is not DataLoader.__iter__:
        return f"its class {type(dataloader).__name__} has an __iter__ of its own"
    if isinstance(dataloader.dataset, IterableDataset):
        return f"its dataset {type(dataloader.dataset).__name__} is iterable: samples have no index"
    if not dataloader.in_order:
        return "in_order=False hands out batches as they happen to be ready"
    if _is_computable(dataloader, world_size):
        return None
    return why_dealt_already(dataloader, world_size)


def why_dealt_already(dataloader: Any, world_size: int) -> str | None:
    """Which sampler gives each process a part by itself, as its ``num_replicas`` or ``world_size`` tells; or None."""
    for part in samplers(dataloader):
        for name in ("num_replicas", "world_size"):
            num_parts = getattr(part, name, 1)
            if isinstance(num_parts, int) and num_parts != 1:
                return f"its {type(part).__name__} deals to {num_parts} processes by itself; there are {world_size}"
    return None


def order_of(dataloader: DataLoader[Any], seed: int, world_size: int) -> Order:
    """In which order the samples of a dataloader come that can be rebuilt."""
    batch_sampler, sampler = samplers(dataloader)
    if not _is_computable(dataloader, world_size):
        return SamplerOrder(batch_sampler, sampler, seed)
    return ComputedOrder(
        num_samples=len(dataloader.dataset),  # type: ignore[arg-type]  # it has a length, or would not be computable
        batch_size=1 if batch_sampler is None else batch_sampler.batch_size,
        drop_last=batch_sampler is not None and batch_sampler.drop_last,
        shuffle=getattr(sampler, "shuffle", isinstance(sampler, RandomSampler)),
        seed=seed,
    )


def samplers(dataloader: Any) -> tuple[Any, Any]:
    """Batch sampler (None: samples are not batched) and sampler, which may have been given inside the former."""
    batch_sampler = getattr(dataloader, "batch_sampler", None)
    return batch_sampler, getattr(batch_sampler, "sampler", getattr(dataloader, "sampler", None))


def _is_computable(dataloader: DataLoader[Any], world_size: int) -> bool:
    """Whether each sample of the dataset comes once, in order or shuffled, in batches of one size."""
    batch_sampler, sampler = samplers(dataloader)
    if batch_sampler is not None and type(batch_sampler) is not BatchSampler:
        return False
    dataset: Any = dataloader.dataset
    return hasattr(dataset, "__len__") and _num_drawn(sampler, world_size) == len(dataset)


def _num_drawn(sampler: Any, world_size: int) -> int | None:
    """How many samples all processes draw with a sampler of the usual kind; None where it is of another."""
    kind = type(sampler)
    if kind is DistributedSampler and sampler.num_replicas == world_size:
        return len(sampler.dataset)
    if kind is SequentialSampler or (kind is RandomSampler and not sampler.replacement):
        return len(sampler)
    return None


def rebuild(
    dataloader: DataLoader[Any],
    order: Order,
    shares: Iterable[Share],
    rank: int,
    on_bad_sample: OnBadSample,
) -> DataLoader[Loaded]:
    """The same dataloader with other samples, which are seeded.

    Args:
        dataloader: one that :func:`why_used_as_it_is` has nothing against.
        order: of it.
        shares: what to load; iterated at the start of each epoch.
        rank: number of this process.
        on_bad_sample: what to do with a sample that cannot be loaded.
    """
    batches = SeededBatches(
        dataloader.dataset,
        dataloader.collate_fn,
        dataloader.batch_sampler is not None,
        order.seed,
        on_bad_sample,
        replace_within_batch=isinstance(order, SamplerOrder),
    )
    # Its own generator, because a DataLoader draws a seed for its workers at the start of each epoch.
    generator = torch.Generator().manual_seed(derive_seed(order.seed, rank, "workers"))
    return _SlotLoader(
        batches,
        batch_size=None,  # a sample of this loader is a batch
        sampler=shares,
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


class _SlotLoader(DataLoader[Loaded]):
    """A ``DataLoader`` of seeded batches, with new slots and quick queues for its workers whenever they are started."""

    def _get_iterator(self) -> Any:
        if self.prefetch_factor is None:  # there are no workers
            return super()._get_iterator()
        if sys.platform != "win32":
            self.multiprocessing_context = with_quick_queues(self.multiprocessing_context)
        batches: Any = self.dataset
        batches.slots = made_slots(self.num_workers, self.prefetch_factor + SPARE_SLOTS)
        iterator: Any = super()._get_iterator()
        # They last as long as something may arrive.
        iterator.slots, batches.slots = batches.slots, None
        return iterator


def content_in_a_worker(dataloader: DataLoader[Any], seed: int) -> str | None:
    """:func:`content_of` its dataset, found where samples are loaded: a file that is opened here would be shared
    with all workers.
    """
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


class _Content(Dataset[str | None]):
    """What :func:`content_of` says of a dataset, as its only item."""

    def __init__(self, dataset: Any, seed: int) -> None:
        self.dataset, self._seed = dataset, seed

    def __getitem__(self, index: int) -> str | None:
        return content_of(self.dataset, self._seed)


def _as_it_is(batch: Any) -> Any:
    return batch
