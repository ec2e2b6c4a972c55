"""Batches that workers put into slots: they are those of a loader without workers, and never change."""

from __future__ import annotations

import gc
import hashlib
import multiprocessing
import os
import random
import resource
import sys
import threading
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from audiozen.data import dataloaders, slots
from audiozen.data.loader import EvaluationLoader, TrainingLoader
from audiozen.errors import AudioError

if TYPE_CHECKING:
    from collections.abc import Iterator

NUM_SAMPLES = 4000


class Sounds(Dataset):
    """Sounds of noise, as tensors and arrays, which say by a number inside which they are."""

    def __init__(self, num_samples: int = 80, length: int = 500) -> None:
        self.num_samples, self.length = num_samples, length

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, index: int) -> dict[str, Any]:
        sound = torch.randn(self.length)
        return {"noisy": sound, "clean": sound.numpy()[::2] + index, "id": f"sound {index}"}


class Broken(Sounds):
    def __getitem__(self, index: int) -> dict[str, Any]:
        if index == 40:
            raise AudioError("a file is missing")
        return super().__getitem__(index)


def as_lists(samples: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [sample[name] for sample in samples] for name in samples[0]}


COLLATIONS = {"stacked": default_collate, "lists": as_lists}


def loader(dataset: Dataset | None = None, num_workers: int = 2, **options) -> TrainingLoader:
    options = {"batch_size": 4, **options}
    return TrainingLoader(
        DataLoader(dataset or Sounds(), num_workers=num_workers, **options), seed=0
    )


def digest(batch: Any) -> str:
    """What is in it now."""
    flat = hashlib.sha256()
    for name in ("noisy", "clean", "id"):
        for part in batch[name]:
            flat.update(str(part).encode() if isinstance(part, str) else np.asarray(part).tobytes())
    return flat.hexdigest()


def expected(epoch: int, dataset: Dataset | None = None, **options) -> list[str]:
    """Digests of the batches of a loader without workers."""
    options = {"num_workers": 0, **options}
    return [digest(dealt.batch) for dealt in loader(dataset, **options).batches(epoch)]


def memories() -> list[range]:
    """Where slots are mapped."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    places = [line.split()[0].split("-") for line in lines if "audiozen_batches" in line]
    return [range(int(begin, 16), int(end, 16)) for begin, end in places]


def is_in_a_slot(part: Any) -> bool:
    address = torch.as_tensor(part).data_ptr()
    return any(address in memory for memory in memories())


@pytest.fixture
def mapped(monkeypatch) -> list[int]:
    """Sizes of the memories that arrived in PyTorch's way, which are mapped anew."""
    sizes: list[int] = []
    usual = torch.UntypedStorage._new_shared_fd_cpu

    def counted(descriptor: int, size: int) -> Any:
        sizes.append(size)
        return usual(descriptor, size)

    monkeypatch.setattr(torch.UntypedStorage, "_new_shared_fd_cpu", counted)
    return sizes


# ---- they are in slots ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "collate"),
    [("fork", default_collate), ("fork", as_lists), ("spawn", default_collate)],
)
def test_batches_are_in_slots_and_nothing_is_mapped_anew(collate, method, mapped):
    batches = loader(collate_fn=collate, multiprocessing_context=method).batches(0)
    for dealt in batches:
        for name in ("noisy", "clean"):
            assert is_in_a_slot(dealt.batch[name][1])
    assert mapped == []


def test_stacked_batches_are_made_in_their_slot(monkeypatch):
    """Not in new shared memory, to be copied from there; workers are forked with what is forbidden here."""
    monkeypatch.setattr(torch.UntypedStorage, "_new_using_fd_cpu", forbidden)
    assert [digest(dealt.batch) for dealt in loader().batches(0)] == expected(0)
    with pytest.raises(RuntimeError, match="new shared memory"):
        list(loader(collate_fn=lambda samples: default_collate(samples)).batches(0))


def forbidden(size: int) -> None:
    raise RuntimeError("new shared memory")


def test_batches_of_an_evaluation_are_in_slots_too(mapped):
    dataloader = DataLoader(Sounds(), batch_size=4, num_workers=2)
    for _, batch in EvaluationLoader(dataloader, seed=0):
        assert is_in_a_slot(batch["noisy"])
    assert mapped == []


def test_samples_that_are_not_batched_are_in_slots_too(mapped):
    batches = loader(batch_size=None).batches(0)
    assert all(is_in_a_slot(dealt.batch["noisy"]) for dealt in batches)
    assert mapped == []


def test_batches_that_do_not_fit_come_as_pytorch_sends_them(mapped, monkeypatch):
    monkeypatch.setattr(slots, "SLOT_SIZE", 4096)
    found = [digest(dealt.batch) for dealt in loader().batches(0)]
    assert found == expected(0)
    assert len(mapped) == 2 * 20  # both tensors of each batch


def test_batches_come_as_pytorch_sends_them_where_there_are_no_slots(mapped, monkeypatch):
    monkeypatch.setattr(dataloaders, "made_slots", lambda *_: None)
    assert [digest(dealt.batch) for dealt in loader().batches(0)] == expected(0)
    assert len(mapped) == 2 * 20


def test_loader_without_workers_makes_no_slots(monkeypatch):
    monkeypatch.setattr(dataloaders, "made_slots", pytest.fail)
    assert len(list(loader(num_workers=0).batches(0))) == 20


# ---- they never change ---------------------------------------------------------------------------


@pytest.mark.parametrize("num_workers", [1, 2])
@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("collate", COLLATIONS.values(), ids=COLLATIONS)
def test_all_batches_of_several_epochs_can_be_kept(num_workers, persistent, collate):
    """More than there are slots, so the last ones come in another way."""
    some = loader(Sounds(160), num_workers, persistent_workers=persistent, collate_fn=collate)
    kept = [list(some.batches(epoch)) for epoch in range(3)]
    for epoch, batches in enumerate(kept):
        found = [digest(dealt.batch) for dealt in batches]
        assert found == expected(epoch, Sounds(160), collate_fn=collate)
    assert is_in_a_slot(kept[0][0].batch["noisy"][0])
    assert not is_in_a_slot(kept[-1][-1].batch["noisy"][0])


PARTS = [
    lambda batch: batch["noisy"],
    lambda batch: batch["noisy"][2],
    lambda batch: batch["noisy"].numpy(),
    lambda batch: batch["noisy"].numpy()[1:3, ::7],
    lambda batch: batch["noisy"].T.unfold(0, 5, 5),
    lambda batch: batch["clean"].detach().flatten()[-3:],
    lambda batch: list(batch["clean"]),
    lambda batch: memoryview(batch["clean"].numpy())[1:],
    lambda batch: batch["clean"].untyped_storage(),
    lambda batch: torch.from_dlpack(batch["clean"])[0],
    lambda batch: batch["clean"].split(1)[-1],
    lambda batch: batch["noisy"].contiguous(),
    lambda batch: batch["noisy"].clone(),
    lambda batch: torch.nn.Parameter(batch["noisy"]),
    lambda batch: batch,
]


def contents(part: Any) -> bytes:
    if isinstance(part, dict):
        return digest(part).encode()
    if isinstance(part, list):
        return b"".join(map(contents, part))
    if isinstance(part, torch.Tensor):
        return part.detach().numpy().tobytes()
    return np.asarray(part).tobytes()


def test_whatever_is_kept_of_a_batch_for_however_long_does_not_change():
    draws = random.Random(0)
    kept: dict[int, tuple[Any, bytes]] = {}
    some = loader(Sounds(1600), prefetch_factor=3, persistent_workers=True)
    for epoch in range(2):
        for number, dealt in enumerate(some.batches(epoch)):
            if number % 5 == 0:
                part = draws.choice(PARTS)(dealt.batch)
                kept[draws.randrange(8)] = part, contents(part)
                assert all(contents(part) == before for part, before in kept.values())


def test_changes_in_place_reach_no_other_batch():
    some = loader(Sounds(800), num_workers=1, persistent_workers=True)
    for epoch in range(2):
        found, before = [], None
        for dealt in some.batches(epoch):
            found.append(digest(dealt.batch))
            dealt.batch["noisy"].zero_()
            dealt.batch["clean"].numpy()[:] = -1
            if before is not None:
                assert before.abs().sum() == 0
            before = dealt.batch["noisy"]
        assert found == expected(epoch, Sounds(800))


def test_batches_outlive_their_loader_and_its_workers():
    some = loader()
    kept = [dealt.batch for dealt in some.batches(0)]
    del some
    gc.collect()
    assert [digest(batch) for batch in kept] == expected(0)
    assert len(memories()) == 1
    del kept
    assert memories() == []


@pytest.mark.parametrize("persistent", [False, True])
def test_epochs_that_are_left_early_cost_no_slot(persistent, mapped):
    some = loader(persistent_workers=persistent)
    first = []
    for epoch in range(25):  # more often than there are slots
        batches = some.batches(epoch)
        first.append(next(batches).batch)
        first = first[-2:]
        del batches
    assert [digest(dealt.batch) for dealt in some.batches(25)] == expected(25)
    assert [digest(batch) for batch in first] == [expected(23)[0], expected(24)[0]]
    assert mapped == []


@pytest.mark.parametrize("persistent", [False, True])
def test_error_of_a_worker_costs_no_slot(persistent, mapped):
    some = loader(Broken(), persistent_workers=persistent)
    for epoch in range(12):
        batches = []
        with pytest.raises(AudioError, match="missing"):
            batches.extend(some.batches(epoch))
        assert [digest(dealt.batch) for dealt in batches] == expected(epoch)[: len(batches)]
    assert mapped == []


def test_two_loaders_and_two_epochs_at_once_do_not_meet():
    one, other = loader(), loader(Sounds(80, 333), num_workers=1)
    together = zip(one.batches(0), other.batches(1), one.batches(2), one.batches(3), strict=True)
    found = [[digest(dealt.batch) for dealt in batches] for batches in zip(*list(together))]
    assert found == [expected(0), expected(1, Sounds(80, 333)), expected(2), expected(3)]


def test_loader_inside_of_a_loader_gives_the_same():
    found = [
        digest(dealt.batch) for dealt in loader(Nested(), num_workers=1, batch_size=None).batches(0)
    ]
    assert found == [digest(Nested()[index]) for index in range(3)]


class Nested(Dataset):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> dict[str, Any]:
        return next(loader(num_workers=0).batches(index)).batch


def test_batch_that_a_forked_process_forgets_stays():
    some = loader(Sounds(NUM_SAMPLES), num_workers=1)
    batches = some.batches(0)
    first = next(batches).batch
    before = digest(first)
    child = os.fork()
    if child == 0:
        first.clear()
        gc.collect()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    for _ in islice(batches, 100):
        assert digest(first) == before


# ---- what it takes ----------------------------------------------------------------------------------


def num_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def num_mappings() -> int:
    return len(Path("/proc/self/maps").read_text().splitlines())


def test_descriptors_and_mappings_stay_as_they_are_over_a_thousand_batches():
    batches = loader(Sounds(NUM_SAMPLES)).batches(0)
    for _ in islice(batches, 20):
        pass
    gc.collect()
    before = num_descriptors(), num_mappings()
    for number, _ in enumerate(batches, 1):
        if number % 100 == 0:
            assert num_descriptors() == before[0]
            assert abs(num_mappings() - before[1]) <= 2  # Python's own memory
    assert number == 980


def test_many_loaders_leave_no_descriptor_and_no_mapping():
    list(loader().batches(0))
    await_closed_queues()
    before = num_descriptors(), memories()
    for epoch in range(5):
        list(loader().batches(epoch))
    await_closed_queues()
    assert (num_descriptors(), memories()) == before


def await_closed_queues() -> None:
    """A queue that nobody has any more closes its pipe in a thread of its own."""
    gc.collect()
    for thread in threading.enumerate():
        if thread.name == "QueueFeederThread":
            thread.join(timeout=20)


@pytest.mark.parametrize("length", [1000, 100_000])
def test_bytes_through_the_queue_do_not_depend_on_the_length(length, monkeypatch):
    sizes: list[int] = []
    usual = Connection.recv_bytes

    def counted(self: Connection, *args: Any) -> bytes:
        received = usual(self, *args)
        sizes.append(len(received))
        return received

    monkeypatch.setattr(Connection, "recv_bytes", counted)
    assert len(list(loader(Sounds(80, length)).batches(0))) == 20
    assert len(sizes) == 20
    assert max(sizes) < 1200


def test_pages_that_were_touched_are_not_faulted_in_again():
    """Mapped anew, a batch costs hundreds of faults, or 17 where the system maps many pages at each."""
    batches = loader(Sounds(800, 2**16), num_workers=1).batches(0)
    for dealt in islice(batches, 20):
        dealt.batch["noisy"].numpy().max()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for dealt in islice(batches, 100):
        dealt.batch["noisy"].numpy().max()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 100 * 5


def feeders() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "QueueFeederThread"}


def num_calls(batches: Iterator[Any]) -> int:
    """Of functions, to get them."""
    events: list[str] = []
    sys.setprofile(lambda _frame, event, _: events.append(event))
    for _ in batches:
        pass
    sys.setprofile(None)
    return events.count("call") + events.count("c_call")


def test_batch_costs_few_calls_and_wakes_no_thread():
    """Which would be 157, a quarter of them for a selector, a range of a profiler and a thread."""
    await_closed_queues()
    before = feeders()
    batches = loader(Sounds(NUM_SAMPLES), num_workers=2).batches(0)
    list(islice(batches, 20))
    assert num_calls(islice(batches, 64)) < 64 * 125
    assert feeders() == before


def test_slots_of_one_worker_are_as_few_as_batches_are_alive():
    batches = loader(Sounds(800), num_workers=1, prefetch_factor=2).batches(0)
    addresses = {dealt.batch["noisy"].data_ptr() for dealt in batches}
    assert len(addresses) <= 5  # two that are ahead, the one at hand, and the one before


def test_worker_is_given_its_own_slots():
    before = multiprocessing.active_children()
    batches = loader(Sounds(NUM_SAMPLES), num_workers=2).batches(0)
    addresses = [dealt.batch["noisy"].data_ptr() for dealt in islice(batches, 100)]
    assert set(addresses[::2]).isdisjoint(addresses[1::2])
    assert len(multiprocessing.active_children()) == len(before) + 2
