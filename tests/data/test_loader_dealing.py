"""What several processes get of one epoch. A loader knows its rank, so all of them can be looked at in one process."""

from __future__ import annotations

import random
from itertools import chain

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    RandomSampler,
    Sampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from torch.utils.data.distributed import DistributedSampler

from audiozen.data.bad_samples import BadSample
from audiozen.data.loader import EvaluationLoader, TrainingLoader
from audiozen.errors import RequestError

EXAMPLES = settings(max_examples=60, deadline=None)


class Noisy(Dataset):
    """A sample tells its index, and has random numbers of two kinds."""

    def __init__(self, num_samples: int = 22) -> None:
        self.num_samples = num_samples
        self.loaded: list[int] = []

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, index: int) -> tuple[float, ...]:
        self.loaded.append(index)
        return float(index), float(torch.rand(())), random.random()


class Spoiled(Noisy):
    def __init__(self, *bad: int) -> None:
        super().__init__()
        self.bad = bad

    def __getitem__(self, index: int) -> tuple[float, ...]:
        if index in self.bad:
            raise ValueError(f"no {index}")
        return super().__getitem__(index)


class Buckets(Sampler):
    """Batches of unequal sizes in an order that is drawn anew for each epoch; nobody knows how many."""

    epoch = -1

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self):
        lists = [[self.epoch], [1, 2, 3], [4, 5], [6, 7, 8, 9], [10], [11, 12], [13]]
        for number in torch.randperm(len(lists)).tolist():
            yield random.sample(lists[number], len(lists[number]))


class CountedBuckets(Buckets):
    def __len__(self) -> int:
        return 7


def loaders(world_size, dataloader, **options):
    return [
        TrainingLoader(dataloader, seed=0, rank=rank, world_size=world_size, **options)
        for rank in range(world_size)
    ]


def rounds(world_size, dataloader, epoch=0, start=0):
    """Global micro-batches: what each process gets, by rank. All get equally many."""
    streams = [list(loader.batches(epoch, start)) for loader in loaders(world_size, dataloader)]
    return list(zip(*streams, strict=True))


def samples(batch):
    """Each sample of a batch, as numbers."""
    return list(zip(*(part.tolist() for part in batch), strict=True))


def own_samples(dealt):
    """Those samples of a process that are its own, where positions are samples."""
    return samples(dealt.batch)[: dealt.num_own]


def own_batches(found):
    """Batches that are somebody's own, in order, where positions are batches."""
    return [samples(dealt.batch) for dealt in chain.from_iterable(found) if dealt.num_own]


# ---- an order that is computed ----------------------------------------------------------------


places = {
    "num_samples": st.integers(1, 40),
    "batch_size": st.integers(1, 4),
    "world_size": st.integers(1, 5),
    "start": st.integers(0, 40),
    "drop_last": st.booleans(),
    "epoch": st.integers(0, 3),
}


@EXAMPLES
@given(**places)
def test_own_samples_of_all_processes_are_those_of_one_process_with_a_larger_batch(
    num_samples, batch_size, world_size, start, drop_last, epoch
):
    global_size = batch_size * world_size
    assume(start <= num_samples and (not drop_last or num_samples >= global_size))
    options = {"shuffle": True, "drop_last": drop_last}
    alone = rounds(1, DataLoader(Noisy(num_samples), global_size, **options), epoch, start)
    together = rounds(
        world_size, DataLoader(Noisy(num_samples), batch_size, **options), epoch, start
    )
    for (one,), parts in zip(alone, together, strict=True):
        assert list(chain(*map(own_samples, parts))) == samples(one.batch)
        assert {part.num_samples for part in parts} == {one.num_samples}
        assert sum(part.num_own for part in parts) == one.num_own == one.num_samples
        for part in parts:
            assert len(samples(part.batch)) == max(1, part.num_own) <= batch_size
            assert set(samples(part.batch)) <= set(samples(one.batch))


@EXAMPLES
@given(**places)
def test_every_sample_from_the_start_comes_once_in_the_order_of_the_epoch(
    num_samples, batch_size, world_size, start, drop_last, epoch
):
    global_size = batch_size * world_size
    assume(start <= num_samples and (not drop_last or num_samples >= global_size))
    options = {"shuffle": True, "drop_last": drop_last}
    found = rounds(world_size, DataLoader(Noisy(num_samples), batch_size, **options), epoch, start)
    indices = [int(index) for dealt in chain(*found) for index, *_ in own_samples(dealt)]
    order = [
        int(one.batch[0])
        for (one,) in rounds(1, DataLoader(Noisy(num_samples), shuffle=True), epoch)
    ]
    left = num_samples - start
    num_full = left // global_size * global_size
    assert indices == order[start:][: num_full if drop_last else left]


@EXAMPLES
@given(st.integers(1, 30), st.integers(1, 9))
def test_shares_of_a_short_global_micro_batch_differ_by_at_most_one_sample(rest, world_size):
    (several,) = rounds(world_size, DataLoader(Noisy(rest), batch_size=30))
    sizes = [part.num_own for part in several]
    assert max(sizes) - min(sizes) <= 1
    assert sum(sizes) == rest


@pytest.mark.parametrize("world_size", [2, 3])
def test_workers_change_nothing_on_several_processes(world_size):
    found = [
        [own_samples(dealt) for several in rounds(world_size, loader, 2, 4) for dealt in several]
        for loader in (
            DataLoader(Noisy(), batch_size=2, shuffle=True, num_workers=num_workers)
            for num_workers in (0, 2)
        )
    ]
    assert found[0] == found[1]
    assert len(list(chain(*found[0]))) == 18


def test_run_goes_on_with_other_numbers_of_processes_and_every_sample_comes_once():
    dataloader = DataLoader(Noisy(23), batch_size=2, shuffle=True)
    expected = list(chain(*(samples(one.batch) for (one,) in rounds(1, dataloader, 1))))
    position, found = 0, []
    for world_size, num_rounds in ((2, 2), (3, 1), (1, 1), (4, 9)):
        for several in rounds(world_size, dataloader, 1, position)[:num_rounds]:
            found += chain(*map(own_samples, several))
            position += several[0].num_samples
    assert found == expected
    assert position == 23


@pytest.mark.parametrize("shuffle", [True, False])
def test_distributed_sampler_is_replaced(shuffle):
    dataset, found = Noisy(), []
    for rank in (0, 1):
        sampler = DistributedSampler(dataset, num_replicas=2, rank=rank, shuffle=shuffle)
        dataloader = DataLoader(dataset, batch_size=2, sampler=sampler)
        exact = TrainingLoader(dataloader, seed=0, rank=rank, world_size=2)
        assert exact.inexact is None
        found += [int(index) for dealt in exact.batches(0) for index, *_ in own_samples(dealt)]
    assert sorted(found) == list(range(22))
    assert (found != sorted(found)) or not shuffle


def test_sample_indices_are_those_of_the_global_micro_batch():
    dataloader = DataLoader(Noisy(), batch_size=4, shuffle=True)
    for loader in loaders(2, dataloader):
        first = rounds(2, dataloader)[0]
        named = [index for dealt in first for index, *_ in own_samples(dealt)]
        assert loader.sample_indices(0, 0, 8) == named


# ---- batches that a sampler of the user draws ---------------------------------------------------


@EXAMPLES
@given(
    lists=st.lists(st.lists(st.integers(0, 21), min_size=1, max_size=4), min_size=1, max_size=9),
    world_size=st.integers(1, 5),
    data=st.data(),
)
def test_drawn_batches_are_dealt_in_turn_and_each_comes_once(lists, world_size, data):
    start = data.draw(st.integers(0, len(lists)))
    dataloader = DataLoader(Noisy(), batch_sampler=lists)
    several = rounds(world_size, dataloader, 1, start)
    found = own_batches(several)
    assert [[int(index) for index, *_ in batch] for batch in found] == lists[start:]
    assert found == own_batches(rounds(1, dataloader, 1))[start:]
    for number, parts in enumerate(several):
        there = min(world_size, len(lists) - start - number * world_size)
        assert [part.num_own for part in parts] == [1] * there + [0] * (world_size - there)
        assert {part.num_samples for part in parts} == {there}
        for part in parts[there:]:
            assert samples(part.batch) == samples(parts[0].batch)
    first = loaders(world_size, dataloader)[0]
    assert len(first) == len(rounds(world_size, dataloader))
    assert (first.num_positions, first.stride) == (len(lists), world_size)


DRAWING = {
    "buckets": lambda: {"batch_sampler": Buckets()},
    "buckets with a length": lambda: {"batch_sampler": CountedBuckets()},
    "weighted": lambda: {"batch_size": 3, "sampler": WeightedRandomSampler([1.0] * 22, 22)},
    "with a generator": lambda: {
        "batch_size": 3,
        "sampler": RandomSampler(range(22), replacement=True, generator=torch.Generator()),
    },
    "batch sampler of the usual kind": lambda: {
        "batch_sampler": BatchSampler(SubsetRandomSampler(range(17)), 3, drop_last=True)
    },
    "without batches": lambda: {"batch_size": None, "sampler": SubsetRandomSampler(range(7))},
}


def dataloader_of(kind, **options):
    return DataLoader(Noisy(), collate_fn=collate, **DRAWING[kind](), **options)


def collate(drawn):
    """The same whether it gets a sample or a list of samples."""
    drawn = drawn if isinstance(drawn, list) else [drawn]
    return [torch.tensor(part, dtype=torch.float64) for part in zip(*drawn, strict=True)]


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("kind", DRAWING)
def test_drawn_epoch_is_the_same_for_any_processes_workers_and_resumes(kind, num_workers):
    expected = own_batches(rounds(1, dataloader_of(kind), 3))
    assert 5 <= len(expected) <= 8
    random.random()
    torch.rand(1)
    used = dataloader_of(kind, num_workers=num_workers)
    for world_size, start in ((1, 0), (2, 0), (3, 2)):
        assert own_batches(rounds(world_size, used, 3, start)) == expected[start:]
    assert own_batches(rounds(2, used, 4)) != expected


def test_drawing_leaves_the_generators_of_the_process_alone():
    before = random.getstate(), torch.get_rng_state()
    for _ in TrainingLoader(dataloader_of("buckets"), seed=0).batches(0):
        assert random.getstate() == before[0]
        assert torch.equal(torch.get_rng_state(), before[1])


def test_sampler_of_the_user_hears_of_the_epoch():
    for epoch in (2, 5):
        found = own_batches(rounds(1, dataloader_of("buckets"), epoch))
        ((index, *_),) = next(batch for batch in found if len(batch) == 1 and batch[0][0] < 9)
        assert index == epoch


def test_dataset_of_the_user_hears_of_the_epoch():
    class Told(Noisy):
        def set_epoch(self, epoch: int) -> None:
            self.num_samples = epoch

        def __getitem__(self, index: int) -> int:
            return self.num_samples

    for options in ({}, {"batch_sampler": [[0]]}):
        loader = TrainingLoader(DataLoader(Told(1), **options), seed=0)
        assert next(loader.batches(7)).batch.tolist() == [7]


def test_sample_that_comes_several_times_has_other_random_numbers_each_time():
    dataloader = DataLoader(Noisy(), batch_sampler=[[3, 3], [3], [4, 3]])
    found = [sample for batch in own_batches(rounds(2, dataloader)) for sample in batch]
    assert len(set(found)) == 5


def test_numbers_of_every_kind_are_the_same_index():
    plain = DataLoader(Noisy(), batch_sampler=[[0, 1]])
    other = DataLoader(Noisy(), batch_sampler=[torch.arange(2)])
    assert own_batches(rounds(1, other)) == own_batches(rounds(1, plain))


def test_resuming_skips_what_is_drawn_and_loads_nothing_of_it():
    dataset = Noisy()
    dataloader = DataLoader(dataset, batch_sampler=[[0, 1], [2], [3, 4], [5], [6]])
    list(loaders(2, dataloader)[1].batches(0, 2))
    assert dataset.loaded == [5, 6]  # the last round has one batch, which process 1 repeats


def test_run_over_drawn_batches_goes_on_with_other_numbers_of_processes():
    dataloader = dataloader_of("buckets")
    expected = own_batches(rounds(1, dataloader, 1))
    position, found = 0, []
    for world_size, num_rounds in ((2, 1), (3, 1), (1, 9)):
        several = rounds(world_size, dataloader, 1, position)[:num_rounds]
        found += own_batches(several)
        position += sum(parts[0].num_samples for parts in several)
    assert found == expected
    assert position == len(expected)


def test_sampler_that_draws_less_than_was_consumed_is_refused():
    loader = TrainingLoader(DataLoader(Noisy(), batch_sampler=[[0], [1]]), seed=0)
    assert list(loader.batches(1, 2)) == []
    with pytest.raises(
        RequestError, match="cannot go on at batch 3 of epoch 1: list draws 2 batches"
    ):
        list(loader.batches(1, 3))


def test_length_is_unknown_where_the_sampler_has_none():
    loader = TrainingLoader(dataloader_of("buckets"), seed=0)
    assert loader.num_positions is None
    with pytest.raises(TypeError, match="Buckets has no length"):
        len(loader)


# ---- lists, and what is not dealt here --------------------------------------------------------


def test_list_of_batches_is_dealt_in_turn():
    found = rounds(2, ["a", "b", "c"])
    assert found == [(("a", 2, 1), ("b", 2, 1)), (("c", 1, 0), ("c", 1, 1))]
    assert rounds(2, ["a", "b", "c"], start=1) == [(("b", 2, 1), ("c", 2, 1))]


def test_sampler_that_deals_by_itself_is_left_to_it():
    found = []
    for rank in (0, 1):
        sampler = DistributedSampler(range(8), num_replicas=2, rank=rank, shuffle=False)
        dataloader = DataLoader(range(12), batch_size=2, sampler=sampler)
        loader = TrainingLoader(dataloader, seed=0, rank=rank, world_size=2)
        assert loader.inexact.startswith(
            "its DistributedSampler deals to 2 processes by itself; there are 2. Each"
        )
        found.append([dealt.batch.tolist() for dealt in loader.batches(0, 2)])
    assert found == [[[4, 6]], [[5, 7]]]


def test_evaluation_refuses_a_sampler_that_deals_by_itself():
    sampler = DistributedSampler(range(8), num_replicas=2, rank=0)
    with pytest.raises(
        RequestError,
        match="so that each comes once, and its DistributedSampler deals to 2 processes by itself",
    ):
        EvaluationLoader(DataLoader(range(12), sampler=sampler), seed=0, world_size=2)


# ---- samples that cannot be loaded --------------------------------------------------------------


def test_bad_sample_that_only_fills_a_place_is_not_counted_again():
    dataloader = DataLoader(Spoiled(4), batch_sampler=[[0], [1], [4, 5]])
    found = loaders(2, dataloader, on_bad_sample="skip")
    for loader in found:
        list(loader.batches(0))
    assert list(found[0].bad_samples) == [BadSample(0, 4, "ValueError: no 4")]
    assert list(found[1].bad_samples) == []


def test_bad_sample_of_a_drawn_batch_is_replaced_by_another_of_it():
    dataloader = DataLoader(Spoiled(4), batch_sampler=[[3, 4, 5], [6, 4]])
    loader = TrainingLoader(dataloader, seed=0, on_bad_sample="skip")
    first, second = (samples(dealt.batch) for dealt in loader.batches(0))
    assert first[1][0] in (3.0, 5.0)
    assert first[1] not in (first[0], first[2])  # it has random numbers of its own
    assert [index for index, *_ in second] == [6, 6]


@pytest.mark.parametrize(
    ("batch", "told"),
    [
        ([4], "There is no other sample of its batch to take its place."),
        ([4, 5], "10 other samples of its batch were tried in its place, and none could be loaded"),
    ],
)
def test_bad_sample_without_a_good_one_in_its_batch_ends_the_training(batch, told):
    dataloader = DataLoader(Spoiled(4, 5), batch_sampler=[batch])
    loader = TrainingLoader(dataloader, seed=0, on_bad_sample="skip")
    with pytest.raises(ValueError, match="no 4") as caught:
        list(loader.batches(0))
    assert caught.value.__notes__[-1].startswith(told)


def test_sample_with_a_name_in_place_of_a_number_is_loaded_and_never_replaced():
    class Named(Spoiled):
        def __getitem__(self, index):
            return super().__getitem__({"one": 1, "two": 2, "bad": 4}[index])

    named = DataLoader(Named(4), batch_sampler=[["one", "two"], ["one", "bad"]])
    batches = TrainingLoader(named, seed=0, on_bad_sample="skip").batches(0)
    assert [index for index, *_ in samples(next(batches).batch)] == [1, 2]
    with pytest.raises(ValueError, match="no 4"):
        next(batches)


# ---- evaluation -------------------------------------------------------------------------------


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("kind", DRAWING)
def test_drawn_batches_are_evaluated_once_and_the_same_each_time(kind, num_workers):
    expected = dict(EvaluationLoader(dataloader_of(kind), seed=0))
    dataloader = dataloader_of(kind, num_workers=num_workers)
    shares = [EvaluationLoader(dataloader, seed=0, rank=r, world_size=3) for r in range(3)]
    for _ in range(2):
        found = [(k, samples(batch)) for share in shares for k, batch in share]
        assert sorted(found) == [(k, samples(batch)) for k, batch in expected.items()]
    assert sorted(expected) == list(range(len(expected)))


def test_no_process_loads_the_drawn_batches_of_another():
    dataset = Noisy()
    dataloader = DataLoader(dataset, batch_sampler=[[0, 1], [2], [3, 4], [5], [6]])
    assert [k for k, _ in EvaluationLoader(dataloader, seed=0, rank=1, world_size=3)] == [1, 4]
    assert dataset.loaded == [2, 6]
    assert len(EvaluationLoader(dataloader, seed=0, rank=1, world_size=3)) == 5


def test_evaluated_sample_depends_on_its_index_alone():
    found = [
        samples(batch)
        for lists in ([[0, 1], [2]], [[2, 1, 0]])
        for _, batch in EvaluationLoader(DataLoader(Noisy(), batch_sampler=lists), seed=0)
    ]
    assert sorted(chain(*found[:2])) == sorted(found[2])
