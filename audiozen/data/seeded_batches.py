"""Batches of a dataset in which each sample is a function of (seed, epoch, index), bad ones included."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from torch.utils.data import (
    Dataset,
    TensorDataset,
    default_collate,
    default_convert,
    get_worker_info,
)

from audiozen.data.bad_samples import BadSample, BadSamples, bad_sample
from audiozen.data.parcels import collate_into, packed
from audiozen.data.sampler import derive_seed, isolated_generators, seed_generators
from audiozen.data.workers import move_to_shared_memory, worker_death
from audiozen.errors import AudioZENError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from audiozen.data.dealing import Share
    from audiozen.data.parcels import Parcel
    from audiozen.data.slots import Slot, Slots

OnBadSample = Literal["raise", "skip"]

PLAIN_DATASETS = (list, tuple, TensorDataset)
PLAIN_COLLATES = (default_collate, default_convert)
"""They draw no random numbers, so that none need to be seeded."""

MAX_REPLACEMENTS = 10
"""After so many samples in the place of one that are bad as well, there is more wrong than a sample."""


def load_sample(dataset: Any, seed: int, epoch: int, index: Any, *draw: int) -> Any:
    """A sample with random numbers of its own. The global generators are left where it leaves them.

    Args:
        dataset: map-style.
        seed: start of all random numbers.
        epoch: number of the epoch.
        index: of the sample.
        draw: which time it is that the sample comes in this epoch, if it may come several times.
    """
    seed_generators(seed, epoch, index, *draw)
    try:
        return dataset[index]
    except StopIteration as error:  # it would end the epoch here, and nobody would know
        raise TrainingError(f"dataset[{index}] raised StopIteration in epoch {epoch}") from error
    except Exception as error:
        error.add_note(f"This was sample {index} in epoch {epoch}, seed {seed}.")
        raise


class SeededBatches(Dataset[Any]):
    """Whole batches of a dataset, each sample loaded with generators of its own.

    A key is a :class:`~audiozen.data.dealing.Share`: all that a worker must know. It has the epoch, because a worker
    that lives longer than an epoch hears of the next one in no other way.

    Args:
        dataset: map-style.
        collate: makes a batch of a list of samples, or of a sample.
        batched: whether ``collate`` gets a list.
        seed: start of all random numbers.
        on_bad_sample: ``"skip"`` puts another sample in the place of one that cannot be loaded.
        replace_within_batch: take it from the same batch. It may be the only place to take one from: a sampler of the
            user may leave out samples on purpose, such as those to validate with.

    Attributes:
        slots: where workers put their batches, set before they start. None: they send them as PyTorch does.
    """

    slots: Slots | None = None

    def __init__(
        self,
        dataset: Any,
        collate: Callable[[Any], Any],
        batched: bool,
        seed: int,
        on_bad_sample: OnBadSample,
        *,
        replace_within_batch: bool,
    ) -> None:
        self.dataset = dataset
        self._collate, self._batched, self._seed = collate, batched, seed
        self._on_bad_sample, self._replace_within_batch = on_bad_sample, replace_within_batch

        self._draws_nothing = collate in PLAIN_COLLATES and type(dataset) in PLAIN_DATASETS

    def __getitem__(self, share: Share) -> Loaded | Parcel:
        bad: list[BadSample] = []
        worker = get_worker_info()
        if worker is None:
            with isolated_generators():
                return Loaded(self.load(share, bad), bad, None)
        slot = None if self.slots is None else self.slots.free_slot(worker.id)
        collate = self._collate if slot is None else collate_into(slot, self._collate)
        try:
            dealt = self.load(share, bad, collate)
        except AudioZENError as error:
            return Loaded(DealtBatch(None, 0, 0), [], _failure(error))
        return _to_be_sent(Loaded(dealt, bad, None), slot)

    def load(
        self,
        share: Share,
        bad: list[BadSample],
        collate: Callable[[Any], Any] | None = None,
    ) -> DealtBatch:
        """The batch of a share. The generators are left where it leaves them.

        Args:
            share: of this process.
            bad: samples that are bad are added to it, by the process whose own they are.
            collate: in the place of the one that is known.
        """
        if self._draws_nothing:
            samples = list(map(self.dataset.__getitem__, share.indices))
        else:
            told = bad if share.num_own else []
            samples = []
            for place, index in enumerate(share.indices):
                try:
                    sample = self._at(share, place, index)
                except Exception as error:  # noqa: BLE001 - whatever a dataset raises
                    sample = self._instead(share, place, error, told)
                samples.append(sample)
        # The generators stand where the last sample left them, so a collate_fn that draws is
        # repeatable as well.
        batch = (collate or self._collate)(samples if self._batched else samples[0])
        return DealtBatch(batch, share.num_samples, share.num_own)

    def _instead(self, share: Share, place: int, error: Exception, bad: list[BadSample]) -> Any:
        """Another sample, or the error again."""
        index = share.indices[place]
        is_listed = isinstance(index, int)  # other names cannot be
        if self._on_bad_sample == "raise" or not is_listed or not _is_about_a_sample(error):
            raise error
        bad.append(bad_sample(share.epoch, index, error))
        return self._replacement(share, place, error, bad)

    def _replacement(self, share: Share, place: int, error: Exception, bad: list[BadSample]) -> Any:
        num_bad = len(bad)
        for other in self._others(share, place):
            try:
                return self._at(share, place, other)
            except Exception as another:
                if not _is_about_a_sample(another):
                    raise
                bad.append(bad_sample(share.epoch, other, another))
        error.add_note(self._why_none([sample.reason for sample in bad[num_bad:]]))
        raise error

    def _at(self, share: Share, place: int, index: Any) -> Any:
        """The sample ``index`` in some place of a batch."""
        draw = () if share.batch_number is None else (share.batch_number, place)
        return load_sample(self.dataset, self._seed, share.epoch, index, *draw)

    def _others(self, share: Share, place: int) -> Iterator[int]:
        """What to take in the place of a sample: never the sample itself."""
        candidates: Sequence[int] = share.indices
        index = candidates[place]
        if not self._replace_within_batch:
            candidates, place = range(len(self.dataset)), index
        num_others = len(candidates) - 1
        for attempt in range(MAX_REPLACEMENTS if num_others else 0):
            drawn = derive_seed(self._seed, share.epoch, index, "replacement", attempt)
            yield candidates[(place + 1 + drawn % num_others) % len(candidates)]

    def _why_none(self, reasons: list[str]) -> str:
        where = " of its batch" if self._replace_within_batch else ""
        if not reasons:
            return f"There is no other sample{where} to take its place."
        return (
            f"{len(reasons)} other samples{where} were tried in its place, and none could be loaded; the last one: "
            f"{reasons[-1]}"
        )


def _is_about_a_sample(error: Exception) -> bool:
    """And not about the program, or about a worker of another loader, whose death is told wherever we are."""
    return not isinstance(error, TrainingError) and worker_death(error) is None


class Failure(NamedTuple):
    """An error on its way from a worker: PyTorch would put the traceback into its text."""

    kind: type[AudioZENError]
    text: str
    notes: list[str]
    trace: str


class DealtBatch(NamedTuple):
    """A batch as one process gets it.

    Attributes:
        batch: what the dataset and ``collate_fn`` made.
        num_samples: samples of the global micro-batch, over all processes; batches where positions are batches.
        num_own: how many of them are this process's own. 0: the batch repeats what another process has, because all
            must make the same number of forward passes, and must not count.
    """

    batch: Any
    num_samples: int
    num_own: int


class Loaded(NamedTuple):
    """What a worker sends. A named tuple, because PyTorch pins the memory of tensors inside."""

    dealt: DealtBatch
    bad: list[BadSample]
    failure: Failure | None

    def unpacked(self, bad_samples: BadSamples | None = None) -> DealtBatch:
        """The batch, now that it is handed out; its bad samples are counted.

        Raises:
            AudioZENError: it could not be loaded.
        """
        if self.failure is not None:
            raise _again(self.failure)
        for sample in self.bad:
            assert bad_samples is not None
            bad_samples.add(sample)
        return self.dealt


def _to_be_sent(loaded: Loaded, slot: Slot | None) -> Loaded | Parcel:
    """The same, in a slot if one is free and it fits."""
    if slot is not None and (parcel := packed(loaded, slot)):
        return parcel
    move_to_shared_memory(loaded)
    return loaded


def _failure(error: AudioZENError) -> Failure:
    trace = "".join(traceback.format_exception(error))
    return Failure(type(error), str(error), getattr(error, "__notes__", []), trace)


def _again(failure: Failure) -> AudioZENError:
    # Not by calling the class, which may want other arguments than the text.
    error = failure.kind.__new__(failure.kind, failure.text)
    for note in failure.notes:
        error.add_note(note)
    error.__cause__ = RuntimeError(f"in a data-loader worker:\n{failure.trace}")
    return error
