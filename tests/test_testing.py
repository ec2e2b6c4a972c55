from __future__ import annotations

import torch
from torch.utils.data import DataLoader

from audiozen.testing import NoisyTones, RecordingTracker, TinyEnhancer


def test_tones_are_the_same_each_time_and_have_the_snr_asked_for():
    dataset = NoisyTones(3, num_samples=48_000, snr_db=5.0)
    noisy, clean = dataset[1]
    assert torch.equal(noisy, dataset[1][0])
    snr = 10 * torch.log10(clean.square().mean() / (noisy - clean).square().mean())
    assert abs(snr.item() - 5.0) < 0.1


def test_enhancer_keeps_the_shape():
    noisy, _ = next(iter(DataLoader(NoisyTones(4), batch_size=4)))
    assert TinyEnhancer()(noisy).shape == noisy.shape


def test_tracker_remembers_and_rewinds():
    tracker = RecordingTracker()
    for step in (1, 2, 3):
        tracker.log_scalars({"loss": step / 2}, step=step, epoch=1)
        tracker.log_audio("a", None, 8000, step=step)
    tracker.rewind(2)
    assert tracker.values("loss") == {1: 0.5, 2: 1.0}
    assert tracker.audio == [("a", 1), ("a", 2)]


def test_tracker_forgets_superseded_numbers_but_no_sounds():
    tracker = RecordingTracker()
    for step in (1, 2):
        tracker.log_scalars({"loss": 0.5, "other": 1.0}, step=step, epoch=1)
    tracker.log_audio("loss", None, 8000, step=2)
    tracker.supersede(["loss"], step=2)
    assert tracker.values("loss") == {1: 0.5}
    assert tracker.values("other") == {1: 1.0, 2: 1.0}
    assert tracker.audio == [("loss", 2)]


def test_a_dataset_ends_where_its_items_end():
    assert len(list(NoisyTones(3))) == 3
