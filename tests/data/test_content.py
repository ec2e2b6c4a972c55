from __future__ import annotations

import random
import secrets
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from audiozen.data.content import content_of
from audiozen.data.sampler import generator_states


class Items(Dataset):
    def __init__(self, *items: Any) -> None:
        self.items = items
        self.loaded: list[int] = []

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        self.loaded.append(index)
        return self.items[index]


class Seeded(Items):
    def __getitem__(self, index: int) -> Any:
        return torch.rand(3) + random.random() + np.random.rand()


class Unseeded(Items):
    def __getitem__(self, index: int) -> Any:
        return secrets.randbits(60)


class Broken(Items):
    def __getitem__(self, index: int) -> Any:
        raise KeyError(index)


class WithFingerprint(Broken):
    def fingerprint(self) -> str:
        return "abc"


SAMPLE: dict[str, Any] = {
    "noisy": torch.tensor([[0.5, -0.25, 0.125]]),
    "labels": [3, True, None, 1.5],
    "array": np.array([1, 2], np.int16),
    "number": np.float32(2.5),
    "spectrum": torch.tensor([1 + 1j]),
    "text": "a",
}
OTHERS: list[dict[str, Any]] = [
    {**SAMPLE, "noisy": torch.tensor([[0.5, -0.25, 0.2]])},
    {**SAMPLE, "noisy": torch.tensor([0.5, -0.25, 0.125])},
    {**SAMPLE, "noisy": torch.tensor([[0.5, -0.25, 0.125]], dtype=torch.float64)},
    {**SAMPLE, "labels": [4, True, None, 1.5]},
    {**SAMPLE, "labels": [3, True, None, 1.6]},
    {**SAMPLE, "array": np.array([1, 3], np.int16)},
    {**SAMPLE, "number": np.float32(2.6)},
    {**SAMPLE, "spectrum": torch.tensor([1 + 2j])},
    {**SAMPLE, "new": None},
]


def test_same_content_gives_the_same_text_and_other_content_another():
    texts = {content_of(Items(sample), 0) for sample in [SAMPLE, *OTHERS]}
    assert None not in texts
    assert len(texts) == 1 + len(OTHERS)
    assert content_of(Items(dict(SAMPLE)), 0) in texts


def test_first_middle_and_last_sample_are_looked_at():
    items = [0, 0, 0, 0, 0]
    seen = []
    for place in range(5):
        changed = [*items[:place], 1, *items[place + 1 :]]
        seen.append(content_of(Items(*changed), 0) != content_of(Items(*items), 0))
    assert seen == [True, False, True, False, True]


def test_last_bits_and_text_do_not_count_because_machines_and_folders_differ():
    moved = {**SAMPLE, "noisy": SAMPLE["noisy"] * (1 + 1e-6), "text": "/scratch/b"}
    assert content_of(Items(moved), 0) == content_of(Items(SAMPLE), 0)


def test_random_samples_are_seeded_and_the_generators_left_alone():
    before = generator_states()
    assert content_of(Seeded(1, 2, 3), 0) == content_of(Seeded(1, 2, 3), 0) is not None
    assert random.getstate() == before.python
    assert torch.equal(torch.get_rng_state(), before.torch)


@pytest.mark.parametrize(
    "dataset", [Unseeded(1), Broken(1), Items(object()), Items(np.array(["a"]))]
)
def test_where_nothing_can_be_said_it_is_none(dataset):
    assert content_of(dataset, 0) is None


def test_fingerprint_of_the_dataset_goes_first_and_nothing_is_loaded():
    assert content_of(WithFingerprint(1), 0) == "abc"
