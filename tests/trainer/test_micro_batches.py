from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from audiozen.data.loader import TrainingLoader
from audiozen.trainer.micro_batches import count_steps, group_micro_batches


def loader(num_items: int, batch_size: int, **options) -> TrainingLoader:
    dataset = TensorDataset(torch.arange(num_items))
    return TrainingLoader(DataLoader(dataset, batch_size=batch_size), seed=0, **options)


def described(groups) -> list[list[tuple[int, int]]]:
    return [[(item.num_samples, item.num_own) for item in group] for group in groups]


def test_last_group_and_last_micro_batch_may_be_short():
    groups = list(group_micro_batches(loader(7, 2), epoch=1, position=0, group_size=3))
    assert described(groups) == [[(2, 2), (2, 2), (2, 2)], [(1, 1)]]
    assert [len(item.batch[0]) for group in groups for item in group] == [2, 2, 2, 1]


def test_epoch_goes_on_where_it_stood():
    groups = group_micro_batches(loader(7, 2), epoch=1, position=4, group_size=2)
    assert described(groups) == [[(2, 2), (1, 1)]]


def test_samples_of_all_processes_count_and_those_of_this_one_are_told_apart():
    first = group_micro_batches(loader(9, 2, rank=0, world_size=2), 1, 0, 2)
    second = group_micro_batches(loader(9, 2, rank=1, world_size=2), 1, 0, 2)
    assert described(first) == [[(4, 2), (4, 2)], [(1, 0)]]
    assert described(second) == [[(4, 2), (4, 2)], [(1, 1)]]


def test_epoch_goes_on_at_a_place_between_the_batches_of_another_number_of_processes():
    groups = group_micro_batches(loader(22, 2, world_size=2), epoch=1, position=6, group_size=9)
    assert described(groups) == [[(4, 2)] * 4]


def test_each_micro_batch_is_a_group_where_nothing_is_accumulated():
    groups = group_micro_batches(loader(5, 2), epoch=1, position=0, group_size=1)
    assert described(groups) == [[(2, 2)], [(2, 2)], [(1, 1)]]


def test_batches_of_a_list_count_one_each():
    groups = group_micro_batches(TrainingLoader(["a", "b", "c"], seed=0), 1, 1, 2)
    assert described(groups) == [[(1, 1), (1, 1)]]


@pytest.mark.parametrize(("num_samples", "steps"), [(0, 0), (1, 1), (12, 2), (13, 3)])
def test_number_of_steps(num_samples, steps):
    assert count_steps(num_samples, loader(20, 2), 3) == steps
    assert count_steps(2 * num_samples, loader(20, 2, world_size=2), 3) == steps
