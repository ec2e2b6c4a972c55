from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from audiozen.config.locate import locate

RECIPES = Path(__file__).resolve().parents[3] / "recipes" / "spoken_words"
SECOND = 16_000


def build(num_classes: int, num_clips: int, seed: int) -> Any:
    return locate("tones.Tones", [RECIPES])(num_classes, num_clips, seed)


def test_tones_are_those_of_their_class() -> None:
    dataset = build(4, 12, 0)
    assert len(dataset) == 12
    for index in range(len(dataset)):
        waveform, labels = dataset[index]
        frequency = int(torch.fft.rfft(waveform).abs().argmax())
        assert labels["label"] == f"tone_{index % 4}"
        assert frequency == pytest.approx(300 * 2 ** (index % 4 / 2), rel=0.04)
        assert waveform.shape == (SECOND,)
        assert waveform.abs().max() < 1


def test_tones_are_the_same_each_time_and_others_with_another_seed() -> None:
    one, same, other = (build(4, 8, seed) for seed in (0, 0, 1))
    assert torch.equal(one[5][0], same[5][0])
    assert not torch.equal(one[5][0], other[5][0])
    assert not torch.equal(one[1][0], one[5][0])
    assert not set(one.ids) & set(other.ids)
