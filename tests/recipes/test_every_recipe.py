"""Each experiment file under recipes/ is read, trains two steps, and validates."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader, Subset

from audiozen.data.manifest import read_manifest, write_manifest
from audiozen.experiment import Experiment

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
EXPERIMENT_FILES = sorted(RECIPES.glob("*/*/*.toml"))
PACK = RECIPES / "debian_noisy_speech" / "audio"

# The larger corpus is not in the repository; the pack has all that a folder of it has.
CORPUS_FILES = {
    "speech_train": "speech_train",
    "noise_train": "noise_train",
    "noise_valid": "noise_valid",
    "noise_test": "noise_test_unseen",
    "mixtures_valid": "mixtures_valid",
    "mixtures_test": "mixtures_test_unseen",
}


@pytest.fixture(autouse=True)
def small_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, name_in_pack in CORPUS_FILES.items():
        entries = read_manifest(PACK / f"{name_in_pack}.jsonl")
        write_manifest(tmp_path / "corpus" / f"{name}.jsonl", entries)
    monkeypatch.setenv("DEBIAN_NOISY_SPEECH", str(tmp_path / "corpus"))


def test_there_are_recipes() -> None:
    assert EXPERIMENT_FILES


@pytest.mark.parametrize(
    "path", EXPERIMENT_FILES, ids=[str(path.relative_to(RECIPES)) for path in EXPERIMENT_FILES]
)
def test_trains_two_steps_and_scores(path: Path, tmp_path: Path) -> None:
    experiment = Experiment.from_file(
        path,
        [f"meta.save_dir={tmp_path}", "trainer.args.max_steps=2", "trainer.args.num_threads=1"],
    )
    trainer = experiment.build_trainer()
    trainer.train(
        experiment.train_dataloader(), [first_two(d) for d in experiment.validation_dataloaders()]
    )
    assert trainer.state.step == 2
    assert math.isfinite(trainer.state.best_score)
    assert experiment.test_dataloaders()


def first_two(dataloader: DataLoader[Any]) -> DataLoader[Any]:
    return DataLoader(
        Subset(dataloader.dataset, range(2)),
        batch_size=dataloader.batch_size,
        collate_fn=dataloader.collate_fn,
    )
