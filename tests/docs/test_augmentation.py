"""What the page on augmentation shows trains as exactly as it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from audiozen.cli.main import main
from audiozen.data import distortion, mixing, rooms
from audiozen.testing import RecordingTracker
from audiozen.tracking.console import SilentConsole
from benchmarks.mixing_on_the_batch import WAYS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "augmentation.md").read_text()
DEFINITIONS, *_ = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the page, packed by the command that it shows."""
    root = tmp_path_factory.mktemp("augmentation")
    [command] = re.findall(r"^audiozen pack .*", PAGE, re.MULTILINE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        Path("audio").symlink_to(ROOT / "recipes" / "debian_noisy_speech" / "audio")
        assert main(command.split()[1:]) == 0
    return root


@pytest.fixture
def page(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the page defines."""
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {"__name__": "page"}
    exec(DEFINITIONS, names)
    return names


def trained(
    page: dict[str, Any], exp_dir: Path, *, num_workers: int = 0, resume: bool = False, **config
) -> dict[str, torch.Tensor]:
    """Weights after so many steps."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Unflatten(-1, (1, -1)), nn.Conv1d(1, 1, 9, padding=4), nn.Flatten())
    trainer = page["Trainer"](
        model,
        torch.optim.Adam(model.parameters()),
        nn.functional.l1_loss,
        config={"num_threads": 1} | config,
        exp_dir=exp_dir,
        resume=resume,
        tracker=RecordingTracker(),
        console=SilentConsole(),
    )
    data = DataLoader(
        page["Plans"](),
        batch_size=16,
        shuffle=True,
        collate_fn=page["read"],
        num_workers=num_workers,
    )
    trainer.train(data)
    return model.state_dict()


def are_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_workers_do_not_change_the_weights_and_the_seed_does(page, tmp_path):
    whole = trained(page, tmp_path / "0", max_steps=5)
    assert are_equal(trained(page, tmp_path / "2", max_steps=5, num_workers=2), whole)
    assert not are_equal(trained(page, tmp_path / "other", max_steps=5, seed=1), whole)


@pytest.mark.parametrize("accumulation", [1, 3])
def test_training_that_was_interrupted_ends_with_the_same_weights(page, tmp_path, accumulation):
    config = {"gradient_accumulation_steps": accumulation}
    whole = trained(page, tmp_path / "whole", max_steps=5, **config)
    parts = tmp_path / "parts"
    trained(page, parts, max_steps=2, num_workers=2, **config)
    resumed = trained(page, parts, max_steps=5, resume=True, **config)
    assert are_equal(resumed, whole)


def test_every_function_of_the_table_is_there():
    names = re.findall(r"^\| `(\w+)`", PAGE, re.MULTILINE)
    assert len(names) == 10
    homes = (mixing, rooms, distortion)
    assert all(sum(is_made_in(home, name) for home in homes) == 1 for name in names)


def is_made_in(module: Any, name: str) -> bool:
    return getattr(getattr(module, name, None), "__module__", None) == module.__name__


def test_table_of_figures_has_the_rows_of_the_benchmark():
    rows = re.findall(r"^\| ((?:equalized and )?mixed, .*?) \|", PAGE, re.MULTILINE)
    titles = ("mixed", "equalized and mixed")
    assert rows == [f"{title}, {way}" for title in titles for way in (*WAYS, "on a GPU")]
