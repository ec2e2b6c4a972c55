"""Each experiment file under recipes/ is read and built; it trains two steps and validates, if that takes seconds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader, Subset

from audiozen.data.manifest import read_manifest, write_manifest
from audiozen.experiment import Experiment
from tests.recipes.dns import made_up as dns
from tests.recipes.librimix import made_up as librimix
from tests.recipes.voicebank_demand import made_up as voicebank_demand
from tests.recipes.wsj0_2mix import made_up as wsj0_2mix

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
EXPERIMENT_FILES = sorted(RECIPES.glob("*/*/*.toml"))
# A recipe whose model is too large for a CPU trains a small one in its smoke.toml.
QUICK_FILES = [
    path
    for path in EXPERIMENT_FILES
    if path.name == "smoke.toml" or not (path.parent / "smoke.toml").exists()
]
NEEDS_PESQ = {"metricgan", "cmgan"}  # their discriminators learn from it
PACK = RECIPES / "debian_noisy_speech" / "audio"

# The larger corpus is not in the repository; the pack has all that a folder of it has.
CORPUS_FILES = {
    "speech_train": "speech_train",
    "noise_train": "noise_train",
    "noise_valid": "noise_valid",
    "noise_test": "noise_test_unseen",
    "mixtures_valid": "mixtures_valid",
    "mixtures_test": "mixtures_test_unseen",
    "mixtures_test_seen": "mixtures_test_seen",
}


@pytest.fixture(autouse=True)
def small_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, name_in_pack in CORPUS_FILES.items():
        entries = read_manifest(PACK / f"{name_in_pack}.jsonl")
        write_manifest(tmp_path / "corpus" / f"{name}.jsonl", entries)
    monkeypatch.setenv("DEBIAN_NOISY_SPEECH", str(tmp_path / "corpus"))


@pytest.fixture(scope="module")
def made_up_corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of corpora that are not here, by the variable that names them."""
    folder = tmp_path_factory.mktemp("corpora")
    corpora = (voicebank_demand, dns, wsj0_2mix, librimix)
    made = [(corpus.RECIPES.name, corpus.make_manifests) for corpus in corpora]
    return {name.upper(): make(folder / name) for name, make in made}


@pytest.fixture(autouse=True)
def where_they_are(made_up_corpora: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, folder in made_up_corpora.items():
        monkeypatch.setenv(name, str(folder))


def test_there_are_recipes() -> None:
    assert EXPERIMENT_FILES


def name_of(path: Path) -> str:
    return str(path.relative_to(RECIPES))


@pytest.mark.parametrize("path", EXPERIMENT_FILES, ids=name_of)
def test_can_be_built(path: Path, tmp_path: Path) -> None:
    experiment = Experiment.from_file(path, [f"meta.save_dir={tmp_path}"])
    assert experiment.build_trainer().modules


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[pytest.mark.pesq] if path.parent.name in NEEDS_PESQ else [])
        for path in QUICK_FILES
    ],
    ids=name_of,
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
