from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    get_worker_info,
)
from torch.utils.data.distributed import DistributedSampler

from audiozen.data.loader import EvaluationLoader, TrainingLoader
from audiozen.data.sampler import generator_states
from audiozen.errors import RequestError


class Augmenting(Dataset):
    """A sample tells its index and has random numbers of all three kinds."""

    def __init__(self, num_samples: int = 22) -> None:
        self.num_samples = num_samples

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, index: int) -> tuple[int, torch.Tensor, float, float]:
        if index >= self.num_samples:
            raise IndexError(index)
        return index, torch.randn(3), float(np.random.randn()), random.random()


class WorkerPid(Augmenting):
    def __getitem__(self, index: int) -> int:
        time.sleep(0.02)
        return os.getpid()


class Failing(Augmenting):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def __getitem__(self, index: int) -> int:
        if index == 5:
            raise self.error
        return index


class Stream(IterableDataset):
    def __init__(self, num_samples: int = 10) -> None:
        self.num_samples = num_samples

    def __iter__(self):
        return (torch.rand(()) + index for index in range(self.num_samples))


DATASET = Augmenting(12)


class OwnBatches(BatchSampler):
    pass


class DealingBatches(BatchSampler):
    """A batch sampler that gives each process a part, and says so."""

    world_size = 2


class Again:
    """Something that can be iterated as often as one likes."""

    def __init__(self, items: list) -> None:
        self.items = items

    def __iter__(self):
        return iter(self.items)


class OwnLoader(DataLoader):
    def __iter__(self):
        return iter([1, 2, 3])


def digest(batch) -> str:
    hashed = hashlib.sha256()
    for part in batch:
        hashed.update(part.numpy().tobytes())
    return hashed.hexdigest()


def digests(dealt) -> list[str]:
    return [digest(one.batch) for one in dealt]


def indices(dealt) -> list[list[int]]:
    return [one.batch[0].tolist() for one in dealt]


def flat(lists) -> list:
    return list(chain.from_iterable(lists))


def failure_of(loader: TrainingLoader, epoch: int) -> str:
    try:
        list(loader.batches(epoch))
    except Exception as error:  # noqa: BLE001
        notes = getattr(error, "__notes__", [])
        return "\n".join([type(error).__name__, str(error), *notes])
    return "nothing"


def collate_at_random(samples):
    return [torch.stack([sample[1] for sample in samples]) + torch.rand(()) + random.random()]


def loader(num_samples=22, *, seed=0, rank=0, world_size=1, **kwargs) -> TrainingLoader:
    kwargs = {"batch_size": 4, "shuffle": True, **kwargs}
    dataloader = DataLoader(Augmenting(num_samples), **kwargs)
    return TrainingLoader(dataloader, seed=seed, rank=rank, world_size=world_size)


def samples_by_index(dealt) -> dict[int, str]:
    return {
        int(one.batch[0][row]): digest([part[row] for part in one.batch])
        for one in dealt
        for row in range(len(one.batch[0]))
    }


# ---- training: a function of (seed, epoch, position) ------------------------------------------


@pytest.mark.parametrize("num_workers", [1, 2])
def test_batches_do_not_depend_on_the_number_of_workers(num_workers):
    alone = loader()
    helped = loader(num_workers=num_workers)
    for epoch in range(2):
        assert digests(helped.batches(epoch)) == digests(alone.batches(epoch))


def test_random_collate_does_not_depend_on_the_number_of_workers():
    alone = loader(collate_fn=collate_at_random)
    helped = loader(collate_fn=collate_at_random, num_workers=2)
    assert digests(alone.batches(1)) == digests(helped.batches(1))


def test_batches_are_the_same_in_a_spawned_worker():
    spawned = loader(8, num_workers=1, multiprocessing_context="spawn")
    assert digests(spawned.batches(0)) == digests(loader(8).batches(0))


def test_persistent_workers_hear_of_the_next_epoch():
    persistent = loader(num_workers=2, persistent_workers=True)
    expected = loader()
    for epoch in (0, 1, 5):
        assert digests(persistent.batches(epoch)) == digests(expected.batches(epoch))


@pytest.mark.parametrize("options", [{}, {"num_workers": 2, "persistent_workers": True}])
def test_epoch_left_early_does_not_disturb_the_next(options):
    left = loader(**options)
    next(left.batches(0))
    assert digests(left.batches(1)) == digests(loader().batches(1))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_resumed_epoch_equals_the_rest_of_the_epoch(num_workers):
    whole = digests(loader().batches(3))
    resumed = loader(num_workers=num_workers)
    for consumed in range(len(whole)):
        rest = digests(resumed.batches(3, start=consumed * resumed.stride))
        assert rest == whole[consumed:]


def test_end_of_an_epoch_has_nothing_left():
    at_end = loader()
    assert list(at_end.batches(0, start=at_end.num_positions)) == []


def test_epochs_and_seeds_differ_in_order_and_in_random_numbers():
    first, again = samples_by_index(loader().batches(0)), samples_by_index(loader().batches(0))
    assert first == again
    for other in (loader().batches(1), loader(seed=1).batches(0)):
        other = samples_by_index(other)
        assert list(other) != list(first)
        assert sorted(other) == sorted(first)
        assert all(other[index] != first[index] for index in first)


def test_unshuffled_epochs_come_in_order_with_new_random_numbers():
    ordered = loader(shuffle=False)
    first, second = list(ordered.batches(0)), list(ordered.batches(1))
    assert flat(indices(first)) == flat(indices(second)) == list(range(22))
    assert not set(digests(first)) & set(digests(second))


def test_shuffled_order_is_computed_and_not_drawn():
    torch.manual_seed(1)
    first = indices(loader().batches(0))
    torch.manual_seed(2)
    assert indices(loader().batches(0)) == first != indices(loader(shuffle=False).batches(0))


# ---- training: lengths ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_samples", "options", "num_batches", "num_positions", "stride"),
    [
        (22, {}, 6, 22, 4),
        (22, {"drop_last": True}, 5, 20, 4),
        (22, {"world_size": 2}, 3, 22, 8),
        (22, {"world_size": 2, "drop_last": True}, 2, 16, 8),
        (24, {"drop_last": True}, 6, 24, 4),
    ],
)
def test_lengths_are_those_of_the_batches(num_samples, options, num_batches, num_positions, stride):
    some = loader(num_samples, **options)
    assert (len(some), some.num_positions, some.stride) == (num_batches, num_positions, stride)
    assert len(list(some.batches(0))) == num_batches


def test_batches_of_a_dropped_tail_are_full():
    some = loader(23, batch_size=4, drop_last=True)
    assert [len(batch) for batch in indices(some.batches(0))] == [4] * 5


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("start", [0, 3, 8, 19, 20])
@pytest.mark.parametrize("world_size", [1, 2])
def test_end_is_known_before_the_last_batch_is_loaded(drop_last, start, world_size):
    dataloader = DataLoader(list(range(20)), batch_size=4, drop_last=drop_last)
    loader = TrainingLoader(dataloader, seed=0, world_size=world_size)
    num_samples = [dealt.num_samples for dealt in loader.batches(1, start)]
    assert loader.end_from(start) == start + sum(num_samples)


def test_end_that_only_a_sampler_knows_is_not_asked_for():
    sampler = WeightedRandomSampler([1.0] * 6, 4)
    loader = TrainingLoader(DataLoader(list(range(6)), sampler=sampler), seed=0)
    assert loader.end_from(0) is None


# ---- training: generators of the process that trains ------------------------------------------


@pytest.mark.parametrize("num_workers", [0, 1])
def test_loading_leaves_the_generators_of_the_process_alone(num_workers):
    some = loader(8, num_workers=num_workers)
    before = generator_states()
    for _ in some.batches(0):
        now = generator_states()
        assert now.python == before.python
        assert torch.equal(now.torch, before.torch)
        assert np.array_equal(now.numpy["state"]["key"], before.numpy["state"]["key"])
        assert now.numpy["state"]["pos"] == before.numpy["state"]["pos"]


def test_draws_of_the_training_process_do_not_change_the_samples():
    expected = digests(loader().batches(0))
    disturbed = []
    for dealt in loader().batches(0):
        torch.rand(3)
        random.random()
        disturbed.append(digest(dealt.batch))
    assert disturbed == expected


# ---- training: dataloaders of many kinds that are rebuilt -------------------------------------


def test_options_of_the_dataloader_are_kept():
    dataloader = DataLoader(
        Augmenting(),
        batch_size=4,
        num_workers=1,
        prefetch_factor=3,
        persistent_workers=True,
        timeout=50,
        multiprocessing_context="fork",
    )
    rebuilt = TrainingLoader(dataloader, seed=0)._source._loader
    for name in ("num_workers", "prefetch_factor", "persistent_workers", "timeout", "pin_memory"):
        assert getattr(rebuilt, name) == getattr(dataloader, name), name
    assert rebuilt.multiprocessing_context is dataloader.multiprocessing_context


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is an accelerator to pin for")
def test_pinned_memory_without_an_accelerator_is_left_out_silently():
    assert len(list(loader(pin_memory=True).batches(0))) == 6


def test_unbatched_samples_come_as_they_would_from_the_dataloader():
    dataloader = DataLoader(Augmenting(), batch_size=None)
    exact = TrainingLoader(dataloader, seed=0)
    assert exact.inexact is None
    assert [dealt.batch[0] for dealt in exact.batches(0)] == list(range(22))
    assert exact.stride == 1


def test_batch_sampler_of_the_usual_kind_is_computed():
    batch_sampler = BatchSampler(RandomSampler(range(22)), batch_size=5, drop_last=True)
    exact = TrainingLoader(DataLoader(Augmenting(), batch_sampler=batch_sampler), seed=0)
    assert exact.inexact is None
    expected = loader(batch_size=5, drop_last=True)
    assert digests(exact.batches(0)) == digests(expected.batches(0))


def test_subset_with_fetching_of_many_is_still_seeded_for_each_sample():
    subset = Subset(Augmenting(22), list(range(10, 20)))
    some = TrainingLoader(DataLoader(subset, batch_size=4, shuffle=True), seed=0)
    other = TrainingLoader(DataLoader(subset, batch_size=3, shuffle=True), seed=0)
    assert samples_by_index(some.batches(0)) == samples_by_index(other.batches(0))


def test_worker_init_fn_gets_the_dataset_that_the_user_made():
    dataloader = DataLoader(Augmenting(4), num_workers=1, worker_init_fn=shrink_dataset)
    told = failure_of(TrainingLoader(dataloader, seed=0), 0)
    assert told.startswith("IndexError")
    assert "in epoch 0" in told


def shrink_dataset(worker_id: int) -> None:
    get_worker_info().dataset.num_samples = worker_id  # then samples 0 … 3 are not there


# ---- training: failures -----------------------------------------------------------------------


@pytest.mark.parametrize("num_workers", [0, 1])
def test_error_in_a_sample_tells_which(num_workers):
    dataloader = DataLoader(Failing(ValueError("bad file")), num_workers=num_workers)
    told = failure_of(TrainingLoader(dataloader, seed=7), 2)
    assert told.startswith("ValueError")
    assert "bad file" in told
    assert "This was sample 5 in epoch 2, seed 7." in told


@pytest.mark.parametrize("num_workers", [0, 1])
def test_stop_iteration_in_a_sample_does_not_end_the_epoch_silently(num_workers):
    dataloader = DataLoader(Failing(StopIteration()), num_workers=num_workers)
    told = failure_of(TrainingLoader(dataloader, seed=0), 0)
    assert told.startswith("TrainingError")
    assert "dataset[5] raised StopIteration in epoch 0" in told


@pytest.mark.parametrize("num_samples", [0, 7])
def test_dataset_without_one_batch_is_refused(num_samples):
    dataloader = DataLoader(Augmenting(num_samples), batch_size=4, drop_last=True)
    with pytest.raises(RequestError, match=rf"has {num_samples} samples, .* one batch of 8"):
        TrainingLoader(dataloader, seed=0, world_size=2)


def test_position_beyond_the_dataset_is_refused():
    with pytest.raises(
        RequestError, match=r"cannot go on at sample 23 of epoch 1.* has 22 samples"
    ):
        loader().batches(1, start=23)


# ---- training: what a run remembers ---------------------------------------------------------------


def test_sample_indices_are_those_of_the_batches():
    some = loader()
    for number, batch in enumerate(indices(some.batches(2))):
        assert some.sample_indices(2, number * some.stride, some.stride) == batch


@pytest.mark.parametrize(
    "dataloader",
    [DataLoader(Stream()), DataLoader(Augmenting(), sampler=SubsetRandomSampler([1, 2]))],
)
def test_sample_indices_are_unknown_where_the_order_is_not_computed(dataloader):
    assert TrainingLoader(dataloader, seed=0).sample_indices(0, 0, 1) is None


def test_identity_states_data_and_batches_as_json():
    identity = loader(drop_last=True).identity()
    content = identity.pop("content")
    assert len(content) == 16
    assert identity == {
        "num_samples": 22,
        "batch_size": 4,
        "drop_last": True,
        "shuffle": True,
        "dataset": "Augmenting",
        "global_batch_size": 4,
    }
    assert json.loads(json.dumps(identity)) == identity


def test_identity_does_not_depend_on_workers_and_tells_of_processes_by_what_they_train_on_at_once():
    other = loader(num_workers=2, rank=1, world_size=2)
    assert other.identity() == {**loader().identity(), "global_batch_size": 8}


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("batch_size", loader(batch_size=2, world_size=2)),
        ("shuffle", loader(shuffle=False)),
        ("drop_last", loader(drop_last=True)),
        ("num_samples", loader(23)),
    ],
)
def test_identity_tells_what_differs(name, other):
    before, after = loader().identity(), other.identity()
    assert {key for key in before if before[key] != after[key]} - {"content"} == {name}


def test_identity_of_what_is_used_as_it_is_is_what_can_be_known():
    stream = DataLoader(Stream())
    alone = {"dataloader": "DataLoader", "num_batches": None, "global_batch_size": 1}
    assert TrainingLoader(stream, seed=0).identity() == alone
    own = {"dataloader": "OwnLoader", "num_batches": 12, "global_batch_size": 1}
    assert TrainingLoader(OwnLoader(DATASET), seed=0).identity() == own
    several = {"dataloader": "OwnLoader", "num_batches": None, "global_batch_size": 2}
    assert TrainingLoader(OwnLoader(DATASET), seed=0, world_size=2).identity() == several


@pytest.mark.parametrize(
    ("options", "sampler", "num_batches"),
    [
        ({"batch_sampler": [[0, 1], [2]]}, "list", 2),
        ({"sampler": SubsetRandomSampler([1, 2, 3]), "batch_size": 2}, "SubsetRandomSampler", 2),
        ({"sampler": SubsetRandomSampler([1, 2]), "batch_size": None}, "SubsetRandomSampler", 2),
        ({"sampler": iter([1, 2])}, "list_iterator", None),
    ],
)
def test_identity_of_what_a_sampler_draws_names_it(options, sampler, num_batches):
    identity = TrainingLoader(DataLoader(Augmenting(), **options), seed=0, world_size=3).identity()
    assert identity.pop("content") == loader().identity()["content"]
    assert identity == {
        "sampler": sampler,
        "num_batches": num_batches,
        "dataset": "Augmenting",
        "global_batch_size": 3,
    }


# ---- training: what is used as it is ----------------------------------------------------------


@pytest.mark.parametrize(
    ("dataloader", "reason"),
    [
        (Again([1, 2, 3]), "it is a Again, not a torch DataLoader"),
        (OwnLoader(DATASET), "its class OwnLoader has an __iter__ of its own"),
        (DataLoader(Stream()), "its dataset Stream is iterable: samples have no index"),
        (
            DataLoader(DATASET, num_workers=1, in_order=False),
            "in_order=False hands out batches as they happen to be ready",
        ),
        (
            DataLoader(DATASET, sampler=DistributedSampler(DATASET, num_replicas=3, rank=0)),
            "its DistributedSampler deals to 3 processes by itself; there are 1",
        ),
        (
            DataLoader(DATASET, batch_sampler=DealingBatches(SequentialSampler(DATASET), 2, False)),
            "its DealingBatches deals to 2 processes by itself; there are 1",
        ),
    ],
)
def test_reason_for_not_rebuilding_is_told(dataloader, reason):
    inexact = TrainingLoader(dataloader, seed=0)
    assert inexact.inexact == reason
    assert inexact.stride == 1


def test_several_processes_are_told_what_a_dataloader_that_is_not_rebuilt_must_do():
    told = TrainingLoader(DataLoader(Stream()), seed=0, rank=1, world_size=2).inexact
    assert told.startswith("its dataset Stream is iterable: samples have no index. Each of the 2 ")
    assert "it must deal to them by itself, and give equally many to each" in told


@pytest.mark.parametrize(
    "dataloader",
    [
        DataLoader(DATASET),
        ["a", "b"],
        DataLoader(DATASET, batch_sampler=[[0, 1], [2]]),
        DataLoader(DATASET, batch_sampler=OwnBatches(SequentialSampler(DATASET), 2, False)),
        DataLoader(DATASET, sampler=WeightedRandomSampler([1.0] * 12, 12)),
        DataLoader(DATASET, sampler=RandomSampler(DATASET, num_samples=5)),
        DataLoader(DATASET, sampler=DistributedSampler(DATASET, num_replicas=1, rank=0)),
    ],
)
@pytest.mark.parametrize("world_size", [1, 2])
def test_rebuilt_dataloader_has_no_reason(dataloader, world_size):
    assert TrainingLoader(dataloader, seed=0, world_size=world_size).inexact is None


def test_list_of_batches_is_a_dataset_of_batches():
    listed = TrainingLoader(["a", "b", "c"], seed=0)
    assert [dealt.batch for dealt in listed.batches(0)] == ["a", "b", "c"]
    assert [dealt.batch for dealt in listed.batches(0, start=2)] == ["c"]
    assert (len(listed), listed.num_positions, listed.stride) == (3, 3, 1)
    assert listed.identity()["dataset"] == "list"


def test_unknown_length_is_none_and_refused_by_len():
    inexact = TrainingLoader(DataLoader(Stream()), seed=0)
    assert inexact.num_positions is None
    with pytest.raises(TypeError):
        len(inexact)
    assert len(list(inexact.batches(0))) == 10


@pytest.mark.parametrize("num_workers", [0, 1])
def test_inexact_epoch_is_repeated_whatever_else_is_drawn(num_workers):
    def stream(seed, epoch, start=0, rank=0):
        dataloader = DataLoader(Stream(), batch_size=2, num_workers=num_workers)
        inexact = TrainingLoader(dataloader, seed=seed, rank=rank, world_size=2)
        batches = []
        for dealt in inexact.batches(epoch, start):
            torch.rand(2)
            batches.append(dealt.batch.tolist())
        return batches

    expected = stream(0, 0)
    assert stream(0, 0) == expected
    assert stream(0, 0, start=4) == expected[2:]
    assert expected not in (stream(1, 0), stream(0, 1), stream(0, 0, rank=1))


def test_inexact_batches_count_one_for_each_process():
    inexact = TrainingLoader(OwnLoader(DATASET), seed=0, rank=1, world_size=2)
    assert list(inexact.batches(0)) == [(1, 2, 1), (2, 2, 1), (3, 2, 1)]
    assert (len(inexact), inexact.num_positions, inexact.stride) == (12, 24, 2)


def test_every_inexact_batch_has_random_numbers_of_its_own():
    inexact = TrainingLoader(DataLoader(Stream()), seed=0)
    fractions = {round(float(dealt.batch % 1), 4) for dealt in inexact.batches(0)}
    assert len(fractions) == 10


def test_inexact_loading_leaves_the_generators_of_the_process_alone():
    before = torch.get_rng_state()
    for _ in TrainingLoader(DataLoader(Stream()), seed=0).batches(0):
        assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("make", [TrainingLoader, EvaluationLoader])
def test_generator_is_refused_because_it_is_read_once(make):
    with pytest.raises(RequestError, match="a generator is empty after the first time"):
        make((batch for batch in [1, 2]), seed=0)


@pytest.mark.parametrize("make", [TrainingLoader, EvaluationLoader])
def test_what_cannot_be_iterated_is_refused(make):
    with pytest.raises(RequestError, match="a int cannot be iterated; use a torch DataLoader"):
        make(3, seed=0)


# ---- evaluation -------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 30), st.integers(1, 5), st.integers(1, 5), st.booleans())
def test_every_sample_is_evaluated_once_in_the_batches_of_one_process(
    num_samples, batch_size, world_size, drop_last
):
    dataloader = DataLoader(
        TensorDataset(torch.arange(num_samples)), batch_size=batch_size, drop_last=drop_last
    )
    expected = [batch[0].tolist() for batch in dataloader]
    merged = {}
    for rank in range(world_size):
        share = EvaluationLoader(dataloader, seed=0, rank=rank, world_size=world_size)
        assert len(share) == len(expected)
        for batch_idx, batch in share:
            assert batch_idx % world_size == rank
            assert batch_idx not in merged
            merged[batch_idx] = batch[0].tolist()
    assert [merged[batch_idx] for batch_idx in sorted(merged)] == expected


def test_random_dataset_is_frozen_in_evaluation():
    frozen = EvaluationLoader(DataLoader(Augmenting(), batch_size=3), seed=0)
    first = [digest(batch) for _, batch in frozen]
    assert [digest(batch) for _, batch in frozen] == first
    workers = DataLoader(Augmenting(), batch_size=3, num_workers=2, persistent_workers=True)
    helped = EvaluationLoader(workers, seed=0)
    for _ in range(2):
        assert [digest(batch) for _, batch in helped] == first


def test_evaluation_in_shuffled_order_is_frozen_too():
    shuffled = EvaluationLoader(DataLoader(Augmenting(), batch_size=3, shuffle=True), seed=0)
    first = [batch[0].tolist() for _, batch in shuffled]
    assert [batch[0].tolist() for _, batch in shuffled] == first
    assert sorted(flat(first)) == list(range(22)) != flat(first)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ["a", "b", "c", "d", "e"],
        lambda: Again(["a", "b", "c", "d", "e"]),
        lambda: DataLoader(Stream(10), batch_size=2),
        lambda: DataLoader(
            TensorDataset(torch.arange(10)), 2, sampler=WeightedRandomSampler([1.0] * 10, 10)
        ),
    ],
)
def test_iterables_are_dealt_to_the_processes_in_turn(make):
    alone = [str(batch) for _, batch in EvaluationLoader(make(), seed=0)]
    merged = {}
    for rank in range(3):
        torch.rand(rank)  # the processes need not be in step
        share = EvaluationLoader(make(), seed=0, rank=rank, world_size=3)
        merged |= {batch_idx: str(batch) for batch_idx, batch in share}
    assert [merged[batch_idx] for batch_idx in range(5)] == alone


def test_length_of_an_evaluated_list_is_known():
    assert len(EvaluationLoader(["a", "b", "c"], seed=0, world_size=2)) == 3


def test_evaluation_leaves_the_generators_of_the_process_alone():
    before = torch.get_rng_state()
    for make in (DataLoader(Augmenting()), DataLoader(Stream())):
        for _ in EvaluationLoader(make, seed=0):
            assert torch.equal(torch.get_rng_state(), before)


# ---- signals ----------------------------------------------------------------------------------


def test_workers_outlive_the_signals_that_stop_a_run():
    batches = loader_of_pids().batches(0)
    pid = next(batches).batch.item()
    assert pid != os.getpid()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGTERM):
        subprocess.run(["/bin/kill", f"-{number.value}", str(pid)], check=True)
    rest = [dealt.batch.item() for dealt in batches]
    assert rest == [pid] * 11


def loader_of_pids() -> TrainingLoader:
    return TrainingLoader(DataLoader(WorkerPid(12), num_workers=1), seed=0)


ENDING = """
import time
from torch.utils.data import DataLoader, Dataset
from audiozen.data.loader import TrainingLoader

class Samples(Dataset):
    def __len__(self):
        return 4
    def __getitem__(self, index):
        while index and {hangs}:
            time.sleep(1)
        return index

loader = DataLoader(Samples(), num_workers=1, persistent_workers={persistent})
batches = TrainingLoader(loader, seed=0).batches(0)
print(next(batches).batch)
"""


@pytest.mark.parametrize("hangs", [False, True])
@pytest.mark.parametrize("persistent", [False, True])
def test_process_ends_with_its_workers_even_if_one_hangs(hangs, persistent):
    code = ENDING.format(hangs=hangs, persistent=persistent)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout.strip()) == (0, "tensor([0])"), ended.stderr
