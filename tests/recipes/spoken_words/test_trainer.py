"""The recipe trained through the command line, on the tones that need no recordings."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

from audiozen.cli.main import main
from audiozen.config.locate import locate
from audiozen.experiment import Experiment
from audiozen.run_folder import RunFolder
from audiozen.tables.files import read_csv
from tests.recipes.spoken_words.made_up import make_manifests, make_speech_commands

RECIPE = Path(__file__).resolve().parents[3] / "recipes" / "spoken_words" / "bc_resnet"
CLASSES = ["tone_0", "tone_1", "tone_2", "tone_3"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Trained and tested."""
    save_dir = tmp_path_factory.mktemp("exp")
    for command in ("train", "test"):
        assert main([command, str(RECIPE / "smoke.toml"), f"meta.save_dir={save_dir}"]) == 0
    return RunFolder(save_dir / "bc_resnet_smoke")


def test_learns_the_tones(run: RunFolder) -> None:
    table = read_csv(run.table("test"))
    assert len(table) == 32
    assert sum(row["accuracy"] for row in table) / len(table) > 0.9


def test_table_has_a_line_per_clip(run: RunFolder) -> None:
    for row in read_csv(run.table("test")):
        assert list(row) == ["id", "label", "predicted", "accuracy"]
        assert row["id"].startswith("tones_2_")
        assert row["accuracy"] == (row["label"] == row["predicted"])


def test_confusions_are_counted_for_each_validation_and_the_test(run: RunFolder) -> None:
    tables = sorted(run.metrics.glob("confusion_*.csv"))
    names = [path.name.split("_")[1] for path in tables]
    assert names.count("test") == 1
    assert names.count("valid") == 5
    for path in tables:
        rows = read_csv(path)
        assert [row["label"] for row in rows] == CLASSES
        for row in rows:
            assert list(row) == ["label", *CLASSES]
            assert sum(row[name] for name in CLASSES) == 8


def test_diagonal_of_the_confusions_is_the_accuracy(run: RunFolder) -> None:
    [path] = run.metrics.glob("confusion_test_*.csv")
    diagonal = sum(row[row["label"]] for row in read_csv(path))
    assert diagonal == sum(row["accuracy"] for row in read_csv(run.table("test")))


def test_confusions_are_not_taken_for_tables_of_scores(run: RunFolder) -> None:
    assert list(run.tables("test")) == ["test"]


def test_best_checkpoint_has_the_best_accuracy(run: RunFolder) -> None:
    lines = [json.loads(line) for line in run.scalars.read_text().splitlines()]
    best = (run.checkpoints / "best").resolve().name
    means = {}
    for path in run.metrics.glob("valid_*.csv"):
        rows = read_csv(path)
        means[path.stem.removeprefix("valid_")] = sum(r["accuracy"] for r in rows) / len(rows)
    assert means[best] == max(means.values())
    assert any("valid/accuracy" in json.dumps(line) for line in lines)


def test_needs_no_acoustics(run: RunFolder) -> None:
    for path in (RECIPE / "baseline.toml", RECIPE / "smoke.toml", run.config):
        assert "acoustics" not in tomllib.loads(path.read_text())
    assert json.loads(run.complexity.read_text())["parameters"] == 9232 - 8 * 33


def test_report_is_written_without_sound(run: RunFolder) -> None:
    assert main(["report", str(run.root)]) == 0
    assert "accuracy" in run.report.read_text()


def test_baseline_trains_on_a_folder_of_speech_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_manifests(make_speech_commands(tmp_path / "speech_commands"))
    monkeypatch.setenv("SPEECH_COMMANDS", str(folder))
    overrides = [f"meta.save_dir={tmp_path}", "trainer.args.max_steps=2"]
    for command in ("train", "test"):
        assert main([command, str(RECIPE / "baseline.toml"), *overrides]) == 0
    run = RunFolder(tmp_path / "bc_resnet_1")
    assert json.loads(run.complexity.read_text())["parameters"] == 9232
    table = read_csv(run.table("test"))
    assert sorted(row["label"] for row in table) == sorted(classes_of_baseline())
    [path] = run.metrics.glob("confusion_test_*.csv")
    assert [row["label"] for row in read_csv(path)] == classes_of_baseline()


def classes_of_baseline() -> list[str]:
    return tomllib.loads((RECIPE / "baseline.toml").read_text())["model"]["args"]["classes"]


# Steps --------------------------------------------------------------------------------------------


@pytest.fixture
def trainer(tmp_path: Path) -> Any:
    experiment = Experiment.from_file(RECIPE / "smoke.toml", [f"meta.save_dir={tmp_path}"])
    return experiment.build_trainer()


def test_trainer_has_no_sample_rate(trainer: Any) -> None:
    with pytest.raises(AttributeError, match=r"state \[acoustics\] in the experiment"):
        trainer.sample_rate  # noqa: B018 - asking is the test


def test_loss_is_the_cross_entropy(trainer: Any) -> None:
    trainer.model.eval()
    waveform = 0.1 * torch.randn(2, 16_000)
    labels = {"id": ["a", "b"], "label": ["tone_3", "tone_1"]}
    log_shares = trainer.model(waveform).log_softmax(1)
    expected = -(log_shares[0, 3] + log_shares[1, 1]) / 2
    torch.testing.assert_close(trainer.training_step((waveform, labels), 0), expected)


def test_records_say_what_was_said_and_what_was_heard(trainer: Any) -> None:
    logits = torch.eye(4)[[3, 0, 1]]
    trainer.model = lambda waveform: logits
    labels = {"id": ["a", "b", "c"], "label": ["tone_3", "tone_1", "tone_1"]}
    assert trainer.validation_step((torch.zeros(3, 16_000), labels), 0) == {
        **labels,
        "predicted": ["tone_3", "tone_0", "tone_1"],
        "accuracy": [1.0, 0.0, 1.0],
    }


def test_confusion_has_a_row_for_what_was_said_and_a_column_for_what_was_heard() -> None:
    pairs = [("yes", "no"), ("yes", "no"), ("yes", "yes"), ("go", "go")]
    records = [{"label": said, "predicted": heard} for said, heard in pairs]
    assert locate("trainer.confusion", [RECIPE])(records, ["yes", "no", "go"]) == [
        {"label": "yes", "yes": 1, "no": 2, "go": 0},
        {"label": "no", "yes": 0, "no": 0, "go": 0},
        {"label": "go", "yes": 0, "no": 0, "go": 1},
    ]
