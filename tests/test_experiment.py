from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import tomllib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
import torch

from audiozen.config.locate import locate
from audiozen.errors import ConfigError, RequestError
from audiozen.experiment import Experiment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BASELINE = """
[meta]
seed = 5
save_dir = "${CONFIG_DIR}/exp"
[trainer]
path = "trainer.Trainer"
[trainer.args]
max_epochs = 2
num_threads = 1
alpha = 0.25
[acoustics]
sample_rate = 8000
[model]
path = "model.Model"
[loss_function]
path = "torch.nn.functional.l1_loss"
args = { reduction = "sum" }
[optimizer]
path = "torch.optim.SGD"
args = { lr = 0.1 }
[lr_scheduler]
path = "torch.optim.lr_scheduler.StepLR"
args = { step_size = 1 }
[train_dataset]
path = "data.Numbers"
args = { num_items = 6 }
[train_dataset.dataloader]
batch_size = 4
[validate_dataset]
path = "data.Numbers"
args = { num_items = 2 }
[[test_dataset]]
path = "data.Numbers"
args = { num_items = 3 }
name = "seen"
[[test_dataset]]
path = "data.Numbers"
args = { num_items = 1 }
dataloader = { collate_fn = "data.as_list" }
"""

FILES = {
    "recipe/trainer.py": """
        from audiozen.trainer.base_trainer import BaseTrainer
        class Trainer(BaseTrainer):
            def __init__(self, *args, alpha: float, **kwargs):
                super().__init__(*args, **kwargs)
                self.alpha = alpha
            def training_step(self, batch, batch_idx):
                return self.loss_function(self.model(batch), batch)
            def validation_step(self, batch, batch_idx):
                return {"score": -(self.model(batch) - batch).abs().mean(-1)}
    """,
    "recipe/model.py": """
        import torch
        class Model(torch.nn.Linear):
            def __init__(self, sample_rate: int, width: int = 1):
                super().__init__(width, width)
                self.sample_rate = sample_rate
    """,
    "data.py": """
        import torch
        from audiozen.errors import ManifestError
        class Numbers:
            def __init__(self, num_items: int):
                if num_items > 2000:
                    raise FileNotFoundError("no such corpus")
                if num_items > 1000:
                    raise ManifestError("no such manifest")
                self.num_items = num_items
            def __len__(self): return self.num_items
            def __getitem__(self, index): return torch.full((1,), float(index))
        class Stream(torch.utils.data.IterableDataset):
            def __iter__(self): return iter(torch.zeros(5, 1))
        def as_list(samples): return list(samples)
    """,
}


@pytest.fixture
def baseline(tmp_path: Path) -> Iterator[Path]:
    for name, text in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(textwrap.dedent(text))
    path = tmp_path / "recipe" / "baseline.toml"
    path.write_text(BASELINE)
    yield path
    locate("math.pi", [tmp_path / "nothing"])  # imports find what they found before


def replaced(path: Path, old: str, new: str) -> Path:
    assert old in BASELINE
    path.write_text(BASELINE.replace(old, new))
    return path


def test_trainer_gets_all_that_the_file_states(baseline: Path) -> None:
    trainer: Any = Experiment.from_file(baseline).build_trainer()
    assert type(trainer).__module__ == "trainer"
    assert trainer.alpha == 0.25
    assert (trainer.config.max_epochs, trainer.config.seed) == (2, 5)
    assert trainer.exp_dir == baseline.parent.resolve() / "exp" / "baseline"
    assert trainer.model.sample_rate == trainer.sample_rate == 8000
    assert trainer.loss_function(torch.zeros(3), torch.ones(3)) == 3
    assert trainer.optimizer.param_groups[0]["params"] == list(trainer.model.parameters())
    assert trainer.lr_scheduler.optimizer is trainer.optimizer


def test_same_seed_gives_the_same_weights(baseline: Path) -> None:
    first = Experiment.from_file(baseline).build_trainer().model
    second = Experiment.from_file(baseline).build_trainer().model
    third = Experiment.from_file(baseline, ["meta.seed=6"]).build_trainer().model
    assert torch.equal(first.weight, second.weight)
    assert not torch.equal(first.weight, third.weight)


def test_experiment_trains_and_is_resumed(baseline: Path) -> None:
    experiment = Experiment.from_file(baseline)
    trainer = experiment.build_trainer()
    trainer.train(experiment.train_dataloader(), experiment.validation_dataloaders())
    assert trainer.state.step == 4
    resumed = Experiment.from_file(baseline, ["trainer.args.max_epochs=3"])
    trainer = resumed.build_trainer(resume=True)
    trainer.train(resumed.train_dataloader(), resumed.validation_dataloaders())
    assert trainer.state.step == 6


def test_named_models_get_their_own_optimizers(baseline: Path) -> None:
    text = BASELINE
    for table in ("model", "optimizer", "lr_scheduler"):
        start = text.index(f"[{table}]")
        end = text.index("\n[", start)
        body = text[start:end].partition("\n")[2]
        named = "".join(f"[{table}.{name}]\n{body}\n" for name in ("generator", "critic"))
        text = text[:start] + named + text[end:]
    baseline.write_text(text)
    trainer: Any = Experiment.from_file(baseline).build_trainer()
    assert list(trainer.model) == ["generator", "critic"]
    for name, model in trainer.model.items():
        assert trainer.optimizer[name].param_groups[0]["params"] == list(model.parameters())
        assert trainer.lr_scheduler[name].optimizer is trainer.optimizer[name]


def test_one_optimizer_takes_the_parameters_of_all_models(baseline: Path) -> None:
    path = '[model]\npath = "model.Model"'
    named = '[model.a]\npath = "model.Model"\n[model.b]\npath = "model.Model"'
    trainer: Any = Experiment.from_file(replaced(baseline, path, named)).build_trainer()
    assert len(trainer.optimizer.param_groups[0]["params"]) == 4


def test_loss_and_optimizer_may_be_absent(baseline: Path) -> None:
    start, end = BASELINE.index("[loss_function]"), BASELINE.index("[train_dataset]")
    baseline.write_text(BASELINE[:start] + BASELINE[end:])
    trainer = Experiment.from_file(baseline).build_trainer()
    assert trainer.loss_function is trainer.optimizer is trainer.lr_scheduler is None


# ---- data ------------------------------------------------------------------------------------


def test_dataloaders_are_as_stated(baseline: Path) -> None:
    experiment = Experiment.from_file(baseline)
    train = experiment.train_dataloader()
    assert train.batch_size == 4
    assert isinstance(train.sampler, torch.utils.data.RandomSampler)
    (valid,) = experiment.validation_dataloaders()
    assert isinstance(valid.sampler, torch.utils.data.SequentialSampler)
    seen, other = experiment.test_dataloaders()
    assert [loader.name for loader in (train, valid, seen, other)] == ["train", "0", "seen", "1"]  # type: ignore[attr-defined]
    assert next(iter(other)) == [torch.zeros(1)]


def test_settings_of_workers_do_nothing_without_workers(baseline: Path) -> None:
    stated = [
        "train_dataset.dataloader.prefetch_factor=4",
        "train_dataset.dataloader.pin_memory=true",
    ]
    loader = Experiment.from_file(baseline, stated).train_dataloader()
    assert loader.prefetch_factor is None
    assert not loader.persistent_workers
    assert loader.pin_memory == torch.cuda.is_available()
    workers = [*stated, "train_dataset.dataloader.num_workers=1"]
    loader = Experiment.from_file(baseline, workers).train_dataloader()
    assert (loader.num_workers, loader.prefetch_factor, loader.persistent_workers) == (1, 4, True)


def test_iterable_dataset_is_not_shuffled(baseline: Path) -> None:
    experiment = Experiment.from_file(baseline, ["train_dataset.path=data.Stream"])
    assert [len(batch) for batch in experiment.train_dataloader()] == [4, 1]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train_dataset.args.num_items=0", r"\[train_dataset.dataloader\] the dataset is empty"),
        ("train_dataset.args.num_items=1001", r"\[train_dataset\] no such manifest"),
        (
            "train_dataset.args.num_items=2001",
            r"\[train_dataset\] data.Numbers failed: FileNotFoundError: no such",
        ),
    ],
)
def test_useless_dataset_is_refused(baseline: Path, override: str, message: str) -> None:
    experiment = Experiment.from_file(baseline, [override])
    with pytest.raises(ConfigError, match=message):
        experiment.train_dataloader()


def test_batch_larger_than_dataset_is_refused_where_short_batches_are_dropped(
    baseline: Path,
) -> None:
    overrides = ["train_dataset.dataloader.batch_size=7", "train_dataset.dataloader.drop_last=true"]
    with pytest.raises(ConfigError, match="batch_size: 7 is more than the 6 samples"):
        Experiment.from_file(baseline, overrides).train_dataloader()


def test_experiment_without_training_data_says_so(baseline: Path) -> None:
    start, end = BASELINE.index("[train_dataset]"), BASELINE.index("[validate_dataset]")
    baseline.write_text(BASELINE[:start] + BASELINE[end:])
    with pytest.raises(RequestError, match=r"has no \[train_dataset\]"):
        Experiment.from_file(baseline).train_dataloader()


# ---- errors ----------------------------------------------------------------------------------


def test_problems_are_told_before_data_is_touched(baseline: Path) -> None:
    overrides = ["train_dataset.args.num_items=many", "model.args.widht=3", "trainer.args.alhpa=1"]
    with pytest.raises(ConfigError) as caught:
        Experiment.from_file(baseline, overrides)
    assert [problem.partition(" (override")[0] for problem in caught.value.problems] == [
        "[trainer.args] unknown key alhpa; did you mean 'alpha'?",
        "[model.args] unknown key widht; did you mean 'width'?",
        "[train_dataset.args] num_items: expected an integer, got 'many'",
    ]


def test_what_cannot_be_built_is_told_with_its_table(baseline: Path) -> None:
    experiment = Experiment.from_file(baseline, ["optimizer.args.lr=-1"])
    with pytest.raises(
        ConfigError,
        match=r"\[optimizer\] torch.optim.SGD failed: ValueError: Invalid learning rate: -1",
    ):
        experiment.build_trainer()


def test_class_that_is_no_trainer_is_refused(baseline: Path) -> None:
    code = "class Trainer:\n    def __init__(self, alpha, model, optimizer, loss_function, lr_scheduler, config, "
    code += "exp_dir, resume, acoustics): pass"
    (baseline.parent / "trainer.py").write_text(code)
    with pytest.raises(
        ConfigError, match=r"\[trainer\] path: trainer.Trainer is not made of .*BaseTrainer"
    ):
        Experiment.from_file(baseline)


# ---- record ----------------------------------------------------------------------------------


def test_record_is_an_experiment_file_that_builds_the_same(baseline: Path) -> None:
    experiment = Experiment.from_file(baseline, ["trainer.args.max_epochs=7"])
    experiment.write_record()
    record = experiment.exp_dir / "config.toml"
    again = Experiment.from_file(record)
    assert again.exp_dir == experiment.exp_dir
    assert again.trainer_config == experiment.trainer_config
    assert again.record() == experiment.record()
    assert again.build_trainer().alpha == 0.25  # type: ignore[attr-defined]
    assert tomllib.loads(record.read_text())["trainer"]["args"]["max_grad_norm"] == float("inf")


def test_environment_is_noted(baseline: Path) -> None:
    experiment = Experiment.from_file(baseline)
    experiment.write_record()
    facts = json.loads((experiment.exp_dir / "environment.json").read_text())
    assert facts["packages"]["torch"] == version("torch")
    assert facts["python"] == sys.version.split()[0]
    assert (facts["seed"], facts["git"], facts["num_processes"]) == (5, None, 1)
    assert facts["argv"] == sys.argv


def test_commit_of_the_recipe_is_noted(baseline: Path) -> None:
    folder = baseline.parent
    git = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *command], check=True)
    baseline.write_text(f"{BASELINE}\n# changed")
    experiment = Experiment.from_file(baseline)
    experiment.write_record()
    noted = json.loads((experiment.exp_dir / "environment.json").read_text())["git"]
    assert len(noted["commit"]) == 40
    assert noted["is_changed"] is True


# ---- what the model costs, and shared signals ---------------------------------------------------------


def test_complexity_is_written_for_those_who_look_at_the_folder(baseline: Path) -> None:
    experiment = Experiment.from_file(baseline)
    experiment.write_complexity(experiment.build_trainer())
    facts = json.loads((experiment.exp_dir / "complexity.json").read_text())
    assert (facts["parameters"], facts["trainable"]) == (2, 2)
    assert facts["macs_per_second"] is None  # it takes numbers, and no waveform
    assert facts["notes"]


WITH_IDS = """
import torch
class Numbers(torch.utils.data.Dataset):
    def __init__(self, num_items: int):
        self.ids = [f"signal_{index}" for index in range(num_items)]
    def __len__(self):
        return len(self.ids)
    def __getitem__(self, index):
        return torch.ones(1)
def as_list(samples):
    return torch.stack(samples)
"""


def test_signals_in_validation_and_test_are_told(
    baseline: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (baseline.parent.parent / "data.py").write_text(WITH_IDS)
    experiment = Experiment.from_file(baseline)
    experiment.warn_of_shared_ids(experiment.validation_dataloaders())
    text = "2 of 3 test signals are validation signals as well (signal_0, signal_1)"
    assert text in caplog.text


def test_test_data_that_are_not_there_stop_no_training(
    baseline: Path, caplog: pytest.LogCaptureFixture
) -> None:
    experiment = Experiment.from_file(baseline, ["test_dataset.0.args.num_items=0"])
    with caplog.at_level("INFO"):
        experiment.warn_of_shared_ids(experiment.validation_dataloaders())
    assert "validation and test data are not compared" in caplog.text
