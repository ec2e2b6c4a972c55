from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from audiozen.acoustics import active_rms, amplitude_to_db
from audiozen.cli.main import main
from audiozen.config.locate import locate
from audiozen.data.audio import write_audio
from audiozen.data.manifest import Entry, write_manifest
from audiozen.errors import AudioError
from audiozen.run_folder import RunFolder
from audiozen.tables.files import read_csv
from tests.recipes.spoken_words.made_up import PITCHES, RECIPES, make_digit_packages, tone

RATE = 8000


def of_digits(name: str) -> Any:
    return locate(f"digits.{name}", [RECIPES])


def drawn(dataset: Any, seed: int, index: int = 0) -> torch.Tensor:
    random.seed(seed)
    torch.manual_seed(seed)
    return dataset[index][0]


def clip(number: int, length: int = 4000) -> torch.Tensor:
    return tone(PITCHES[number], length, RATE)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    entries = []
    for number in range(3):
        path = tmp_path / f"{number}.wav"
        write_audio(path, clip(number), RATE)
        labels = {"label": str(number), "speaker": "ann"}
        entries.append(Entry(f"ann_{number}", path, RATE, 4000, labels))
    write_manifest(tmp_path / "train.jsonl", entries)
    return tmp_path


def test_clips_of_the_test_stand_as_they_are_in_the_middle_of_a_second(root: Path) -> None:
    dataset = of_digits("Digits")("train.jsonl", str(root))
    assert len(dataset) == 3
    waveform, labels = dataset[1]
    assert labels == {"id": "ann_1", "label": "1", "speaker": "ann"}
    assert waveform.shape == (RATE,)
    torch.testing.assert_close(waveform[2000:6000], clip(1), rtol=0, atol=2**-15)
    assert not waveform[:2000].any()
    assert not waveform[6000:].any()


@pytest.mark.parametrize(("place", "first"), [(0.0, 0), (0.5, 2000), (1.0, 4000)])
def test_place_is_where_a_clip_begins(place: float, first: int) -> None:
    waveform = of_digits("in_a_second")(torch.ones(4000), place)
    assert waveform.nonzero().flatten().tolist() == list(range(first, first + 4000))


@pytest.mark.parametrize("length", [8000, 8001, 20_000])
def test_what_is_too_long_loses_its_end(length: int) -> None:
    waveform = torch.arange(length, dtype=torch.float32)
    assert torch.equal(of_digits("in_a_second")(waveform, 0.7), waveform[:RATE])


def test_an_epoch_goes_round_the_clips_as_often_as_it_takes(root: Path) -> None:
    dataset = of_digits("Digits")("train.jsonl", str(root), num_clips=8)
    assert [dataset[index][1]["label"] for index in range(len(dataset))] == list("01201201")


def test_changed_clips_are_other_voices_at_the_levels_that_are_drawn(root: Path) -> None:
    dataset = of_digits("Digits")("train.jsonl", str(root), num_clips=3)
    pitches = []
    for seed in range(40):
        waveform = drawn(dataset, seed, index=1)
        assert waveform.shape == (RATE,)
        assert waveform.abs().max() <= 0.9801
        pitches.append(float(torch.fft.rfft(waveform).abs().argmax()) / PITCHES[1])
    assert 0.78 < min(pitches) < 0.87 < 1.15 < max(pitches) < 1.27


def test_level_is_the_one_that_is_drawn(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = of_digits("Digits").__getitem__.__globals__
    for name, value in (("SNR_DB", (80.0, 80.0)), ("CLIPPING_SHARE", 0.0), ("ROOM_SHARE", 0.0)):
        monkeypatch.setitem(module, name, value)
    dataset = of_digits("Digits")("train.jsonl", str(root), num_clips=3)
    lowest, highest = module["LEVEL_DBFS"]
    for seed in range(10):
        level = amplitude_to_db(active_rms(drawn(dataset, seed), RATE))
        assert lowest - 0.01 < level < highest + 0.01


def test_same_generators_give_the_same_clip_and_others_another(root: Path) -> None:
    dataset = of_digits("Digits")("train.jsonl", str(root), num_clips=3)
    assert torch.equal(drawn(dataset, 1), drawn(dataset, 1))
    assert not torch.equal(drawn(dataset, 1), drawn(dataset, 2))
    assert not torch.equal(drawn(dataset, 1), drawn(dataset, 1, index=1))


def test_another_rate_is_refused(tmp_path: Path) -> None:
    write_audio(tmp_path / "word.wav", torch.full((400,), 0.5), 16_000)
    entry = Entry("word", tmp_path / "word.wav", 16_000, 400, {"label": "1", "speaker": "ann"})
    write_manifest(tmp_path / "clips.jsonl", [entry])
    with pytest.raises(AudioError, match="16000 Hz"):
        of_digits("Digits")("clips.jsonl", str(tmp_path))


def test_experiment_trains_and_tests_its_last_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = make_digit_packages(tmp_path / "unpacked")
    locate("prepare_digits.prepare", [RECIPES])(folders, tmp_path / "digits")
    monkeypatch.setenv("DEBIAN_DIGITS", str(tmp_path / "digits"))
    overrides = [
        f"meta.save_dir={tmp_path}",
        "trainer.args.max_steps=2",
        "train_dataset.dataloader.batch_size=10",
        "train_dataset.dataloader.num_workers=0",
    ]
    experiment = str(RECIPES / "bc_resnet" / "debian_digits.toml")
    for command in ("train", "test"):
        assert main([command, experiment, *overrides]) == 0
    run = RunFolder(tmp_path / "bc_resnet_debian_digits")
    assert json.loads(run.complexity.read_text())["parameters"] == 9232 - 2 * 33
    table = read_csv(run.table("test"))
    assert len(table) == 30
    assert {row["speaker"] for row in table} == {"jimenez", "desjardins", "dal_zot"}
    weights = {(run.checkpoints / name).resolve().name for name in ("best", "latest")}
    assert weights == {"epoch_0001_step_00000002"}, "nothing is chosen"
    [path] = run.metrics.glob("confusion_test_*.csv")
    assert "epoch_0001_step_00000002" in path.name
