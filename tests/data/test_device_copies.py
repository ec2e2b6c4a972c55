"""Batches on their way to a GPU; what needs none is tested without one."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from audiozen.data.device_copies import DeviceCopies, Sources, page_locked
from audiozen.data.loader import TrainingLoader
from audiozen.data.slots import made_slots


class Happening:
    """An event that happens when it is told to."""

    def __init__(self) -> None:
        self.has_happened = False

    def query(self) -> bool:
        return self.has_happened


def test_batches_of_the_cpu_are_handed_out_as_they_are():
    batch = {"noisy": torch.ones(2), "id": "a"}
    assert DeviceCopies("cpu")(batch) is batch


def test_other_devices_get_a_copy():
    copied = DeviceCopies("meta")({"noisy": torch.ones(2), "id": "a"})
    assert copied["noisy"].is_meta
    assert copied["id"] == "a"


def test_sources_are_held_until_they_were_read_in_the_order_of_the_copies():
    sources, events = Sources(), [Happening() for _ in range(4)]
    for number in range(3):
        sources.keep(number, events[number])
    assert len(sources) == 3
    events[1].has_happened = True  # which cannot be before the first one
    sources.keep(3, events[3])
    assert len(sources) == 4
    events[0].has_happened = True
    sources.keep(4, Happening())
    assert len(sources) == 3


def test_a_slot_is_not_given_back_before_the_copy_has_read_it():
    slots, sources = made_slots(num_workers=1, num_slots=2), Sources()
    assert slots is not None
    slots.take(0)
    batch = torch.from_numpy(slots.held(0)[:12].view(np.float32))
    is_read = Happening()
    sources.keep(batch, is_read)
    del batch
    gc.collect()
    free = slots.free_slot(0)
    assert free is not None
    assert free.number == 1
    is_read.has_happened = True
    sources.keep(None, Happening())
    gc.collect()
    free = slots.free_slot(0)
    assert free is not None
    assert free.number == 0


def test_only_plain_tensors_in_memory_are_page_locked():
    assert page_locked("a") == "a"
    for tensor in (torch.ones(2, device="meta"), torch.eye(2).to_sparse()):
        assert page_locked(tensor) is tensor


@pytest.mark.gpu
@pytest.mark.parametrize("pinned", [False, True])
def test_copies_are_right_while_the_gpu_is_busy(pinned):
    copies, weight = DeviceCopies("cuda"), torch.randn(2048, 2048, device="cuda")
    batches = [torch.full((256, 2048), float(number)) for number in range(30)]
    sums = []
    for batch in batches:
        copied = copies({"x": batch.pin_memory() if pinned else batch, "id": "a"})["x"]
        for _ in range(20):  # the CPU is ahead of the GPU from here on
            product = copied @ weight
        sums.append(copied.sum() + 0 * product.sum())
        del copied, product  # so that the next copy may want the same memory
    expected = [float(batch.double().sum()) for batch in batches]
    assert torch.stack(sums).tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.gpu
def test_sources_are_let_go_of_when_they_were_read():
    copies = DeviceCopies("cuda")
    for _ in range(20):
        copies(torch.ones(1000))
        torch.cuda.synchronize()
    assert len(copies._sources) == 1


@pytest.mark.gpu
def test_a_copy_goes_on_beside_a_computation():
    """Begun while the GPU computes, it is done before the computation."""
    copies, weight = DeviceCopies("cuda"), torch.randn(4096, 4096, device="cuda")
    batch = torch.ones(1000, 1000).pin_memory()
    copies(batch)
    torch.cuda.synchronize()
    for _ in range(100):
        weight = (weight @ weight).clamp(-1, 1)
    computed = torch.cuda.current_stream().record_event()
    copies(batch)
    copied = copies._stream.record_event()
    copied.synchronize()
    assert not computed.query()


@pytest.mark.gpu
@pytest.mark.parametrize("pin_memory", [False, True])
def test_batches_in_slots_arrive_whole(pin_memory):
    x = torch.arange(4000.0)[:, None].expand(-1, 500).contiguous()
    dataloader = DataLoader(
        TensorDataset(x),
        batch_size=8,
        num_workers=2,
        pin_memory=pin_memory,
        persistent_workers=True,
    )
    loader, copies = TrainingLoader(dataloader, seed=0), DeviceCopies("cuda")
    model = nn.Linear(500, 500).cuda()
    for epoch in (1, 2):
        means = []
        for dealt in loader.batches(epoch):
            [batch] = copies(dealt.batch)
            for _ in range(5):
                model(batch)
            means.append(batch.mean(dim=1))
        assert torch.cat(means).tolist() == x[:, 0].tolist()
