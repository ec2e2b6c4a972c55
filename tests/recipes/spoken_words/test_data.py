from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from audiozen.config.locate import locate
from audiozen.data.audio import write_audio
from audiozen.data.manifest import Entry, write_manifest
from audiozen.errors import AudioError

RECIPES = Path(__file__).resolve().parents[3] / "recipes" / "spoken_words"
SECOND = 16_000


def build(name: str, *args: Any, **kwargs: Any) -> Any:
    return locate(f"data.{name}", [RECIPES])(*args, **kwargs)


def ramp(length: int) -> torch.Tensor:
    """Samples that tell their place; never 0."""
    return torch.arange(1, length + 1) / 2**15


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A short word, a long one, one in the middle of a noise; and the noise, which is loud."""
    entries = []
    for name, length, labels in (
        ("short", 12_000, {}),
        ("long", 20_000, {}),
        ("silence", 30_000, {"start": 7000}),
    ):
        path = tmp_path / f"{name}.wav"
        write_audio(path, ramp(length), SECOND)
        entries.append(Entry(name, path, SECOND, length, {"label": f"a {name} one", **labels}))
    write_manifest(tmp_path / "clips.jsonl", entries)
    write_audio(tmp_path / "noise.wav", ramp(30_000), SECOND)
    labels = {"start": 4000, "stop": 24_000}
    noise = Entry("noise", tmp_path / "noise.wav", SECOND, 30_000, labels)
    write_manifest(tmp_path / "noise_train.jsonl", [noise])
    return tmp_path


def test_clips_are_one_second(root: Path) -> None:
    dataset = build("Words", "clips.jsonl", str(root))
    long, short, silence = (dataset[index][0] for index in range(3))
    assert torch.equal(long, ramp(SECOND))
    assert torch.equal(short[:12_000], ramp(12_000))
    assert short.shape == (SECOND,)
    assert not short[12_000:].any()
    assert torch.equal(silence, ramp(30_000)[7000:23_000])


def test_label_and_id_are_those_of_the_manifest(root: Path) -> None:
    dataset = build("Words", "clips.jsonl", str(root))
    assert dataset[0][1] == {"id": "long", "label": "a long one"}


def test_evaluation_draws_nothing(root: Path) -> None:
    dataset = build("Words", "clips.jsonl", str(root))
    state = random.getstate()
    assert torch.equal(dataset[1][0], dataset[1][0])
    assert random.getstate() == state


def test_training_clips_are_moved_and_mixed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = build("Words", "clips.jsonl", str(root), "noise_train.jsonl")
    module = locate("data.Words", [RECIPES]).__getitem__.__globals__
    monkeypatch.setitem(module, "NOISE_SHARE", 0.0)
    random.seed(0)
    first_places = set()
    for _ in range(100):
        waveform = dataset[0][0]
        assert waveform.shape == (SECOND,)
        shift = int(waveform.nonzero()[0]) or 1 - round(float(waveform[0]) * 2**15)
        assert abs(shift) <= 1600
        first_places.add(shift)
        expected = torch.roll(ramp(SECOND), shift)
        expected[shift:] = 0 if shift < 0 else expected[shift:]
        expected[: max(0, shift)] = 0
        assert torch.equal(waveform, expected)
    assert min(first_places) < -1200
    assert max(first_places) > 1200


def test_noise_is_of_its_part_and_no_louder_than_allowed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = build("Words", "clips.jsonl", str(root), "noise_train.jsonl")
    module = locate("data.Words", [RECIPES]).__getitem__.__globals__
    monkeypatch.setitem(module, "MAX_SHIFT", 0)
    random.seed(0)
    num_mixed = 0
    for _ in range(300):
        noise = dataset[0][0] - ramp(SECOND)
        if not noise.any():
            continue
        num_mixed += 1
        step = (noise[-1] - noise[0]) / (SECOND - 1)
        gain = float(step) * 2**15
        assert 0 < gain <= 0.1 + 1e-4
        if gain > 0.02:  # else rounding hides where it begins
            first = float(noise[0]) / float(step)
            assert 4001 - 10 <= first <= 8001 + 10
    assert 0.7 < num_mixed / 300 < 0.9


def test_another_rate_is_refused(tmp_path: Path) -> None:
    write_audio(tmp_path / "word.wav", ramp(8000), 8000)
    entry = Entry("word", tmp_path / "word.wav", 8000, 8000, {"label": "yes"})
    write_manifest(tmp_path / "clips.jsonl", [entry])
    with pytest.raises(AudioError, match="8000 Hz"):
        build("Words", "clips.jsonl", str(tmp_path))[0]
