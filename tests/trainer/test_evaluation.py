from __future__ import annotations

import pytest

from audiozen.processes.group import Group
from audiozen.trainer.evaluation import (
    as_dataloaders,
    dataset_names,
    num_batches,
    with_dataloader_idx,
)


class Named(list):
    name = "seen"


def test_lists_and_tuples_are_several_dataloaders():
    one = Named([1, 2])
    assert as_dataloaders(None) == []
    assert as_dataloaders((one, one)) == [one, one]
    assert as_dataloaders(iter([])) != []


def test_names_are_attributes_or_numbers():
    assert dataset_names([Named(), [1]]) == ["seen", "1"]


def test_number_of_batches_is_none_where_one_dataloader_does_not_know():
    assert num_batches([[1, 2], [3]], Group()) == 3
    assert num_batches([[1], iter([])], Group()) is None


def test_batches_are_dealt_in_turn():
    group, dataloaders = Group(), [[0] * 7, [0], [0] * 2]
    group.world_size = 3
    shares = []
    for group.rank in range(3):
        shares.append(num_batches(dataloaders, group))
    assert shares == [3 + 1 + 1, 2 + 0 + 1, 2 + 0 + 0]


class Hooks:
    def two(self, batch, batch_idx):
        return (batch, batch_idx)

    def three(self, batch, batch_idx, dataloader_idx=0):
        return (batch, batch_idx, dataloader_idx)

    def other_names(self, batch, number, which):
        return (batch, number, which)

    def any_number(self, *args):
        return args


@pytest.mark.parametrize(
    ("hook", "expected"),
    [
        ("two", ("b", 1)),
        ("three", ("b", 1, 2)),
        ("other_names", ("b", 1, 2)),
        ("any_number", ("b", 1, 2)),
    ],
)
def test_dataloader_idx_is_passed_only_to_hooks_that_accept_it(hook, expected):
    assert with_dataloader_idx(getattr(Hooks(), hook))("b", 1, 2) == expected
