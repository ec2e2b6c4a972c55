from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from audiozen.config import toml
from audiozen.config.old_code import old_code_problems
from audiozen.config.old_names import (
    IMPORTS,
    MEMBERS,
    SETTINGS,
    VALUES,
    old_import,
    old_member,
    old_setting,
    tables_of_page,
)
from audiozen.config.reader import read_config
from audiozen.config.schema import (
    AcousticsConfig,
    ExperimentConfig,
    MetaConfig,
    TargetConfig,
    TrainerConfig,
)
from audiozen.config.settings import kinds_of
from audiozen.errors import ConfigError
from audiozen.testing import TinyEnhancer
from audiozen.trainer.base_trainer import BaseTrainer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
KEYS = {
    "meta": kinds_of(MetaConfig),
    "acoustics": kinds_of(AcousticsConfig),
    "trainer.args": kinds_of(TrainerConfig),
}
EXPERIMENTS = [*sorted((ROOT / "recipes").rglob("*.toml")), *ROOT.glob("audiozen/cli/**/*.toml")]


@pytest.fixture
def trainer(tmp_path: Path) -> BaseTrainer:
    model = TinyEnhancer()
    return BaseTrainer(model, exp_dir=tmp_path, acoustics=AcousticsConfig(sample_rate=16000))


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., list[str]]:
    """Writes Python files and an experiment file, and returns what is wrong with them."""

    def write(*, settings: str = "", **files: str) -> list[str]:
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        config = tmp_path / "baseline.toml"
        config.write_text(
            '[trainer]\npath = "trainer.Trainer"\n[model]\npath = "torch.nn.Flatten"\n' + settings
        )
        try:
            read_config(config)
        except ConfigError as error:
            return error.problems
        return []

    return write


NEW = "from audiozen.trainer.base_trainer import BaseTrainer\n\n\nclass Trainer(BaseTrainer):\n"


def step(*lines: str) -> str:
    """A trainer of today with these lines in its step."""
    return f"{NEW}    def training_step(self, batch, batch_idx):\n" + "".join(
        f"        {line}\n" for line in lines
    )


# ---- the tables --------------------------------------------------------------------------------


def is_setting(words: str) -> bool:
    table, key = re.fullmatch(r"\[([\w.*]+)\] ?(\w*)", words).groups()
    if key and table in KEYS:
        return key in KEYS[table]
    top, _, rest = table.partition(".")
    if top not in kinds_of(ExperimentConfig):
        return False
    return not key or rest == "args" or key in kinds_of(TargetConfig)


def test_settings_have_new_names_that_exist_and_old_ones_that_do_not() -> None:
    for old, now in SETTINGS.items():
        assert not is_setting(old), old
        assert not now.name or is_setting(now.name), now.name
    assert all(map(is_setting, VALUES))


def test_imports_have_new_names_that_exist_and_old_ones_that_do_not() -> None:
    for old, now in IMPORTS.items():
        for name in (now.name, *re.findall(r"audiozen\.[\w.]+\w", now.note)):
            if name.count("."):
                parent, _, attribute = name.rpartition(".")
                found = __import__(parent, fromlist=[attribute])
                assert hasattr(found, attribute) or __import__(name, fromlist=["x"])
        if old.startswith("audiozen."):
            assert not (ROOT / old.replace(".", "/")).exists()
            assert not (ROOT / f"{old.replace('.', '/')}.py").exists()


def test_trainer_has_the_new_names_and_not_the_old_ones(trainer: BaseTrainer) -> None:
    for old, now in MEMBERS.items():
        for name in re.findall(r"(?:self\.|def )([\w.]+)", now.name):
            found = trainer
            for part in name.split("."):
                found = getattr(found, part)
        first = old.removeprefix("self.").partition(".")[0]
        if now.alone and old.startswith("self.") and "[]" not in old and "*" not in old:
            assert first == "state" or not hasattr(trainer, first), old
            assert first != "state" or not hasattr(trainer.state, old.rpartition(".")[2])


def test_longest_name_counts() -> None:
    assert old_import("audiozen.metric.SISDR")[1].name == "audiozen.metrics.si_sdr"
    assert old_import("audiozen.metric.other")[1].name == "audiozen.metrics"
    assert old_import("audiozen.metrics.si_sdr") is None
    assert old_member("self.writer.add_scalar")[1].name == "self.log"
    assert old_member("self.writer.add_image.x")[0] == "self.writer"
    assert old_member("self.writers") is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[model_g]", "[model.g]"),
        ("[optimizer_d_sig]", "[optimizer.d_sig]"),
        ("[lr_scheduler_g]", "[lr_scheduler.g]"),
    ],
)
def test_star_stands_for_a_word(old: str, new: str) -> None:
    assert old_setting(old)[1].name == new


def test_star_of_a_member_is_the_name_of_a_model() -> None:
    assert old_member("self.optimizer_d_sig.step")[1].name == 'self.optimizer_step("d_sig")'
    assert old_member("self.model_g.parameters")[1].name == 'self.model["g"]'
    assert old_member("self.optimizer_step") is None
    assert old_member("self.model_size") is None


# ---- settings ----------------------------------------------------------------------------------


def test_old_settings_are_told_once_and_what_follows_from_them_is_not(
    recipe: Callable[..., list[str]],
) -> None:
    problems = recipe(trainer=NEW + "    pass\n", settings="[acoustics]\nsr = 8000\n")
    assert problems == [
        "[acoustics] sr: now [acoustics] sample_rate; offered as sample_rate to datasets and models (line 6)"
    ]


def test_models_of_their_own_tables_are_not_missing(tmp_path: Path) -> None:
    config = tmp_path / "baseline.toml"
    config.write_text(
        '[trainer]\npath = "audiozen.BaseTrainer"\n[model_g]\npath = "torch.nn.Flatten"\n'
    )
    with pytest.raises(ConfigError) as caught:
        read_config(config)
    assert caught.value.problems == ["[model_g] now [model.g] (line 3)"]


def test_schedules_of_old_recipes_are_told_to_have_advanced_per_epoch(
    recipe: Callable[..., list[str]],
) -> None:
    schedule = (
        '[lr_scheduler]\npath = "torch.optim.lr_scheduler.StepLR"\nargs = { step_size = 1 }\n'
    )
    old = "[trainer.args]\nmax_epoch = 3\n"
    optimizer = '[optimizer]\npath = "torch.optim.SGD"\n[optimizer.args]\nlr = 1.0\n'
    trainer = NEW + "    pass\n"
    told = recipe(trainer=trainer, settings=old + optimizer + schedule)
    assert told[0] == "[trainer.args] max_epoch: now [trainer.args] max_epochs (line 6)"
    assert "lr_scheduler_interval" in told[1]
    assert told[1].startswith("[lr_scheduler] path: advanced once per epoch")
    stated = old + 'lr_scheduler_interval = "epoch"\n'
    assert len(recipe(trainer=trainer, settings=stated + optimizer + schedule)) == 1
    assert not recipe(trainer=trainer, settings=optimizer + schedule)


def test_old_paths_are_told_wherever_they_stand(recipe: Callable[..., list[str]]) -> None:
    settings = """
        [loss_function]
        path = "audiozen.loss.SISNRLoss"
        [train_dataset]
        path = "audiozen.dataset.base_dataset.BaseDataset"
        [train_dataset.args.model]
        path = "audiozen.models.base_model.BaseModel"
        """
    loss, dataset, nested = recipe(trainer=NEW + "    pass\n", settings=textwrap.dedent(settings))
    assert loss.startswith("[loss_function] path: now audiozen.losses.neg_si_sdr; ")
    assert dataset.startswith("[train_dataset] path: now torch.utils.data.Dataset; ")
    assert nested.startswith("[train_dataset.args.model] path: now torch.nn.Module; ")


def test_argument_of_the_trainer_itself_may_have_an_old_name(
    recipe: Callable[..., list[str]],
) -> None:
    trainer = f"""
{NEW}
    def __init__(self, *args, debug, **kwargs):
        super().__init__(*args, **kwargs)
"""
    assert not recipe(trainer=trainer, settings="[trainer.args]\ndebug = true\n")


# ---- code --------------------------------------------------------------------------------------


def test_old_member_in_a_new_recipe_is_told_with_all_lines(
    recipe: Callable[..., list[str]],
) -> None:
    trainer = step("loss = self.model(batch) / self.sr", "return loss * self.sr")
    assert recipe(trainer=trainer) == ["self.sr: now self.sample_rate (trainer.py, lines 6, 7)"]


def test_config_was_a_table(recipe: Callable[..., list[str]]) -> None:
    [problem] = recipe(trainer=step('return self.config["trainer"]["args"]["x"]'))
    assert problem.startswith("self.config[]: now self.config; ")
    assert not recipe(trainer=step("return self.config.max_epochs"))


@pytest.mark.parametrize(
    "body",
    [
        "    sr = 8000\n",
        "    @property\n    def sr(self):\n        return 1\n",
        "    def other(self):\n        self.sr = 1\n",
    ],
)
def test_what_a_trainer_has_itself_is_its_own(recipe: Callable[..., list[str]], body: str) -> None:
    assert not recipe(trainer=step("return self.sr") + body)


def test_what_a_trainer_has_from_another_of_the_recipe_is_its_own(
    recipe: Callable[..., list[str]],
) -> None:
    common = NEW.replace("class Trainer", "class LabTrainer") + "    sr = 8000\n"
    trainer = "from common import LabTrainer\n\n\nclass Trainer(LabTrainer):\n    x = None\n"
    trainer += (
        "    def training_step(self, batch, batch_idx):\n        return self.sr, self.writer\n"
    )
    told = recipe(common=common, trainer=trainer)
    assert [line.partition(":")[0] for line in told] == ["self.writer"]


@pytest.mark.parametrize(
    ("statement", "base"),
    [
        ("import audiozen", "audiozen.BaseTrainer"),
        ("from audiozen import BaseTrainer as Base", "Base"),
        ("from audiozen import BaseTrainer", "BaseTrainer"),
    ],
)
def test_trainer_is_known_however_it_is_imported(
    recipe: Callable[..., list[str]], statement: str, base: str
) -> None:
    own = f"{statement}\n\n\nclass Trainer({base}):\n    def f(self):\n        return self.sr\n"
    assert len(recipe(trainer=own)) == 1


def test_trainer_of_a_package_may_have_anything(tmp_path: Path) -> None:
    (tmp_path / "trainer.py").write_text(
        "from lab.trainers import LabTrainer\n\n\nclass Trainer(LabTrainer):\n    rate = self.sr\n"
    )
    tables = {"trainer": {"path": "trainer.Trainer"}}
    assert not old_code_problems(tables, [tmp_path], is_old=False)


def test_other_classes_are_not_looked_at(recipe: Callable[..., list[str]]) -> None:
    data = "class Data:\n    def rate(self):\n        return self.sr\n"
    assert not recipe(trainer=f"import data\n{NEW}    pass\n", data=data)


ALLOWED_ALONE = [
    "self.optimizer.zero_grad()",
    "self.model.module.weight",
    "batch.to(self.rank)",
]


@pytest.mark.parametrize("line", ALLOWED_ALONE)
def test_what_a_new_recipe_could_have_is_told_beside_old_names_only(
    recipe: Callable[..., list[str]], line: str
) -> None:
    assert not recipe(trainer=step(line))
    told = recipe(trainer=step(line, "self.sr"))
    assert len(told) == 2
    assert len(recipe(trainer=step(line), settings="[meta]\nuse_amp = true\n")) == 2


def test_methods_and_arguments_that_nobody_uses_any_more_are_told(
    recipe: Callable[..., list[str]],
) -> None:
    trainer = f"""
{NEW}
    def __init__(self, accelerator, *args, **kwargs):
        super().__init__(*args, **kwargs)

    def create_schedulers(self):
        return self.accelerator.prepare(None)
"""
    told = [line.partition(":")[0] for line in recipe(trainer=trainer)]
    assert told[1:] == ["__init__(accelerator)", "def create_schedulers", "self.accelerator"]


def test_files_that_are_imported_are_read_too(
    recipe: Callable[..., list[str]], tmp_path: Path
) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "__init__.py").write_text("from . import deep\n")
    (tmp_path / "parts" / "deep.py").write_text("from audiozen.constant import EPSILON\n")
    told = recipe(trainer=f"import parts\n{NEW}    pass\n")
    assert told[0].startswith("[trainer] path: cannot import 'trainer': ModuleNotFoundError")
    assert told[1].startswith("audiozen.constant.EPSILON: ")
    assert told[1].endswith(f"({Path('parts', 'deep.py')}, line 1)")


def test_file_in_the_parent_folder_is_told_as_it_lies(tmp_path: Path) -> None:
    (tmp_path / "data.py").write_text("import audiozen.metric\n")
    tables = {"train_dataset": {"path": "data.Data"}}
    folders = [tmp_path / "model", tmp_path]
    [problem] = old_code_problems(tables, folders, is_old=False)
    assert str(problem).endswith(f"({Path('..', 'data.py')}, line 1)")


def test_file_that_is_no_python_is_left_to_its_import(recipe: Callable[..., list[str]]) -> None:
    [problem] = recipe(trainer="self.sr = (")
    assert "SyntaxError" in problem


def tables_of(experiment: Path) -> Iterator[tuple[dict, list[Path]]]:
    files = toml.read_chain(experiment)
    folders = [folder for file in files for folder in (file.path.parent, file.path.parent.parent)]
    for file in files:
        yield file.tables, folders


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda path: path.parent.name)
def test_recipes_of_today_have_no_old_name(experiment: Path) -> None:
    for tables, folders in tables_of(experiment):
        assert not old_code_problems(tables, folders, is_old=True)


# ---- the page ----------------------------------------------------------------------------------


def test_page_has_the_tables() -> None:
    page = (ROOT / "docs" / "coming_from" / "old_recipes.md").read_text()
    assert tables_of_page() in page, "python -m audiozen.config.old_names makes them"
