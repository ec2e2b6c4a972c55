"""Batches of a dataset in which each sample is a function of (seed, epoch, index), bad ones included."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from torch.utils.data import Dataset, get_worker_info

from audiozen.data.bad_samples import BadSample, BadSamples, bad_sample
from audiozen.data.sampler import derive_seed, isolated_generators, seed_sample
from audiozen.data.workers import move_to_shared_memory, worker_death
from audiozen.errors import AudioZENError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OnBadSample = Literal["raise", "skip"]
Keys = tuple[int, list[int]]  # an epoch and the indices of one batch: all that a worker must know

MAX_REPLACEMENTS = 10
"""After so many samples in the place of one that are bad as well, there is more wrong than a sample."""


def load_sample(dataset: Any, seed: int, epoch: int, index: int) -> Any:
    """A sample with random numbers of its own. The global generators are left where it leaves them."""
    seed_sample(seed, epoch, index)
    try:
        return dataset[index]
    except StopIteration as error:  # it would end the epoch here, and nobody would know
        raise TrainingError(f"dataset[{index}] raised StopIteration in epoch {epoch}") from error
    except Exception as error:
        error.add_note(f"This was sample {index} in epoch {epoch}, seed {seed}.")
        raise


class SeededBatches(Dataset["Loaded"]):
    """Whole batches of a dataset, each sample loaded with generators of its own.

    The epoch is part of the key, because a worker that lives longer than an epoch hears of the next one in no other
    way.

    Args:
        dataset: map-style.
        collate: makes a batch of a list of samples, or of a sample.
        batched: whether ``collate`` gets a list.
        seed: start of all random numbers.
        on_bad_sample: ``"skip"`` puts another sample in the place of one that cannot be loaded.
    """

    def __init__(
        self,
        dataset: Any,
        collate: Callable[[Any], Any],
        batched: bool,
        seed: int,
        on_bad_sample: OnBadSample,
    ) -> None:
        self.dataset = dataset
        self._collate, self._batched, self._seed = collate, batched, seed
        self._on_bad_sample = on_bad_sample

    def __getitem__(self, keys: Keys) -> Loaded:
        if get_worker_info() is None:
            return self._load(*keys)
        try:
            loaded = self._load(*keys)
        except AudioZENError as error:
            return Loaded(None, [], _failure(error))
        move_to_shared_memory(loaded)
        return loaded

    def _load(self, epoch: int, indices: list[int]) -> Loaded:
        bad: list[BadSample] = []
        with isolated_generators():
            samples = [self._sample(epoch, index, bad) for index in indices]
            # The generators stand where the last sample left them, so a collate_fn that draws is
            # repeatable as well.
            batch = self._collate(samples if self._batched else samples[0])
        return Loaded(batch, bad, None)

    def _sample(self, epoch: int, index: int, bad: list[BadSample]) -> Any:
        try:
            return load_sample(self.dataset, self._seed, epoch, index)
        except Exception as error:
            if self._on_bad_sample == "raise" or not _is_about_a_sample(error):
                raise
            bad.append(bad_sample(epoch, index, error))
            return self._replacement(epoch, index, error, bad)

    def _replacement(self, epoch: int, index: int, error: Exception, bad: list[BadSample]) -> Any:
        for other in self._others(epoch, index):
            try:
                return load_sample(self.dataset, self._seed, epoch, other)
            except Exception as another:
                if not _is_about_a_sample(another):
                    raise
                bad.append(bad_sample(epoch, other, another))
        error.add_note(
            f"{MAX_REPLACEMENTS} other samples were tried in its place, and none could be loaded; the last one: "
            f"{bad[-1].reason}"
        )
        raise error

    def _others(self, epoch: int, index: int) -> Iterator[int]:
        """What to take in the place of a sample: never the sample itself, where there are others."""
        num_samples = len(self.dataset)
        for attempt in range(MAX_REPLACEMENTS):
            drawn = derive_seed(self._seed, epoch, index, "replacement", attempt)
            yield (index + 1 + drawn % max(1, num_samples - 1)) % num_samples


def _is_about_a_sample(error: Exception) -> bool:
    """And not about the program, or about a worker of another loader, whose death is told wherever we are."""
    return not isinstance(error, TrainingError) and worker_death(error) is None


class Failure(NamedTuple):
    """An error on its way from a worker: PyTorch would put the traceback into its text."""

    kind: type[AudioZENError]
    text: str
    notes: list[str]
    trace: str


class Loaded(NamedTuple):
    """What a worker sends. A named tuple, because PyTorch pins the memory of tensors inside."""

    batch: Any
    bad: list[BadSample]
    failure: Failure | None

    def unpacked(self, bad_samples: BadSamples | None = None) -> Any:
        """The batch, now that it is handed out; its bad samples are counted.

        Raises:
            AudioZENError: it could not be loaded.
        """
        if self.failure is not None:
            raise _again(self.failure)
        for sample in self.bad:
            assert bad_samples is not None
            bad_samples.add(sample)
        return self.batch


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
