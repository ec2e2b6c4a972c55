"""From an experiment file to objects and folders. The only place that builds everything.

::

    experiment = Experiment.from_file("recipes/corpus/model/baseline.toml", ["trainer.args.max_epochs=2"])
    trainer = experiment.build_trainer()
    trainer.train(experiment.train_dataloader(), experiment.validation_dataloaders())
"""

from __future__ import annotations

import inspect
import logging
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from audiozen.complexity import describe
from audiozen.config.instantiate import bind, build_args, call, instantiate, locate
from audiozen.config.problems import Problem
from audiozen.config.reader import read_config
from audiozen.config.schema import TargetConfig
from audiozen.config.settings import as_table
from audiozen.data.shared_ids import ids_of, shared_ids, warning_of
from audiozen.errors import AudioError, ConfigError, ManifestError, RequestError
from audiozen.record import environment, write_json, write_toml
from audiozen.trainer.base_trainer import BaseTrainer
from audiozen.trainer.generators import seed_process

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import nn

    from audiozen.config.reader import ResolvedConfig
    from audiozen.config.schema import DataLoaderConfig, DatasetConfig

__all__ = ["Experiment"]


logger = logging.getLogger(__name__)


class Experiment:
    """What an experiment file describes.

    Args:
        resolved: the file, read and checked.

    Attributes:
        config: its settings.
        exp_dir: folder of everything that the run leaves behind: ``save_dir/exp_id``.
        trainer_config: settings of the trainer.
    """

    def __init__(self, resolved: ResolvedConfig) -> None:
        self.resolved = resolved
        self.config = resolved.config
        self.trainer_config = resolved.config.trainer_config
        self.exp_id = self.config.meta.exp_id or resolved.source.stem
        self.exp_dir = Path(self.config.meta.save_dir) / self.exp_id
        acoustics = self.config.acoustics
        self._offered: dict[str, Any] = as_table(acoustics) if acoustics else {}
        self._search_dirs = resolved.search_dirs
        self._check_trainer()

    @classmethod
    def from_file(cls, path: str | Path, overrides: Sequence[str] = ()) -> Experiment:
        """Read and check an experiment file, before any data is touched.

        Args:
            path: the TOML file.
            overrides: ``key=value`` each, such as ``trainer.args.max_epochs=2``.

        Raises:
            RequestError: there is no such file.
            ConfigError: everything that is wrong with it, one line each.
        """
        return cls(read_config(path, overrides))

    # ---- trainer ---------------------------------------------------------------------------

    def build_trainer(self, *, resume: bool = False, allow_changes: bool = False) -> BaseTrainer:
        """Seed the generators, then build model, loss, optimizer, schedule and the trainer around them.

        Args:
            resume: go on from the newest checkpoint of ``exp_dir``.
            allow_changes: also where the experiment is not what it was.

        Raises:
            ConfigError: one of them cannot be built. The text names table, path, file and line.
        """
        seed_process(self.trainer_config.seed, 0)  # the same first weights on every process
        model = self._build_model()
        optimizer = self._build_optimizer(model)
        built = {
            "model": model,
            "optimizer": optimizer,
            "loss_function": self._build_loss_function(),
            "lr_scheduler": self._build_lr_scheduler(optimizer),
            "config": self.trainer_config,
            "exp_dir": self.exp_dir,
            "resume": resume,
            "acoustics": self.config.acoustics,
        }
        if allow_changes:
            built["allow_changes"] = True
        return self._build_trainer(built)

    def _build_trainer(self, built: dict[str, Any]) -> BaseTrainer:
        path = self.config.trainer.path
        with self._named("trainer"):
            cls = locate(path, self._search_dirs)
            args = build_args(
                cls,
                self.config.trainer_extras,
                search_dirs=self._search_dirs,
                offered=self._offered,
            )
            trainer = call(cls, (), args | built, path=path, search_dirs=self._search_dirs)
        assert isinstance(trainer, BaseTrainer)
        trainer.write_record = self.write_record
        return trainer

    def _build_model(self) -> Any:
        return self._build_each("model", self.config.model)

    def _build_loss_function(self) -> Any:
        config = self.config.loss_function
        if config is None:
            return None
        dirs = self._search_dirs
        with self._named("loss_function"):
            target = locate(config.path, dirs)
            args = build_args(target, config.args, search_dirs=dirs, offered=self._offered)
            return bind(target, args, path=config.path, search_dirs=dirs)

    def _build_optimizer(self, model: nn.Module | dict[str, nn.Module]) -> Any:
        if not isinstance(self.config.optimizer, dict):
            models = model.values() if isinstance(model, dict) else [model]
            parameters = chain.from_iterable(item.parameters() for item in models)
            return self._build_one("optimizer", self.config.optimizer, parameters)
        assert isinstance(model, dict)
        parameters_of = {name: item.parameters() for name, item in model.items()}
        return self._build_each("optimizer", self.config.optimizer, parameters_of)

    def _build_lr_scheduler(self, optimizer: Any) -> Any:
        config = self.config.lr_scheduler
        if isinstance(config, dict):
            return self._build_each("lr_scheduler", config, optimizer)
        return self._build_one("lr_scheduler", config, optimizer)

    def _build_each(
        self,
        table: str,
        config: TargetConfig | dict[str, TargetConfig],
        first: Mapping[str, Any] | None = None,
    ) -> Any:
        """One target, or all named ones, each called with what ``first`` has under its name."""
        if isinstance(config, TargetConfig):
            return self._build_one(table, config)
        return {
            name: self._build_one(f"{table}.{name}", target, *([first[name]] if first else []))
            for name, target in config.items()
        }

    def _build_one(self, table: str, config: TargetConfig | None, *positional: Any) -> Any:
        if config is None:
            return None
        with self._named(table):
            return instantiate(
                config.path,
                config.args,
                *positional,
                search_dirs=self._search_dirs,
                offered={} if positional else self._offered,
            )

    # ---- data ------------------------------------------------------------------------------

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches to train on.

        Raises:
            RequestError: there is no ``[train_dataset]``, or it has no full batch.
            ConfigError: the dataset cannot be built.
        """
        if self.config.train_dataset is None:
            raise RequestError(f"{self.resolved.source} has no [train_dataset] to train on")
        return self._build_dataloader("train_dataset", self.config.train_dataset, "train")

    def validation_dataloaders(self) -> list[DataLoader[Any]]:
        """Batches of each ``[[validate_dataset]]``; each dataloader has the dataset's ``name``."""
        return self._build_dataloaders("validate_dataset", self.config.validate_dataset)

    def test_dataloaders(self) -> list[DataLoader[Any]]:
        """Batches of each ``[[test_dataset]]``; each dataloader has the dataset's ``name``."""
        return self._build_dataloaders("test_dataset", self.config.test_dataset)

    def warn_of_shared_ids(self, validation: Sequence[DataLoader[Any]]) -> None:
        """Say it where validation and test share ids, as far as the datasets tell theirs.

        Test data that are not there, as on a machine that only trains, are told and not looked at.
        """
        try:
            test = self.test_dataloaders()
        except ConfigError as error:
            logger.info("validation and test data are not compared: %s", error)
            return
        of_validation, of_test = (
            set(chain.from_iterable(ids_of(loader.dataset) or [] for loader in loaders))
            for loaders in (validation, test)
        )
        if shared := shared_ids(of_validation, of_test):
            logger.warning("%s", warning_of(shared, len(of_test)))

    def _build_dataloaders(self, table: str, configs: list[DatasetConfig]) -> list[DataLoader[Any]]:
        return [
            self._build_dataloader(f"{table}.{index}", config, config.name or str(index))
            for index, config in enumerate(configs)
        ]

    def _build_dataloader(self, table: str, config: DatasetConfig, name: str) -> DataLoader[Any]:
        dataset = self._build_one(table, config)
        is_train = table == "train_dataset"
        with self._named(f"{table}.dataloader"):
            _refuse_empty(dataset, config.dataloader)
            options = self._dataloader_options(config.dataloader, dataset, is_train=is_train)
            make = partial(DataLoader, dataset, **options)
            dataloader: DataLoader[Any] = call(make, (), {}, path="torch.utils.data.DataLoader")
        dataloader.name = name  # what the trainer calls the dataset
        return dataloader

    def _dataloader_options(
        self, config: DataLoaderConfig, dataset: Any, *, is_train: bool
    ) -> dict[str, Any]:
        """Arguments of a DataLoader. What needs workers or a GPU is left out without them."""
        only_with_workers = ("prefetch_factor", "persistent_workers")
        options = {key: vars(config)[key] for key in vars(config) if key not in only_with_workers}
        if config.shuffle is None:
            options["shuffle"] = is_train and not isinstance(dataset, IterableDataset)
        if config.collate_fn is not None:
            options["collate_fn"] = locate(config.collate_fn, self._search_dirs)
        options["pin_memory"] = config.pin_memory and torch.cuda.is_available()
        if config.num_workers > 0:
            options |= {key: vars(config)[key] for key in only_with_workers}
        return options

    # ---- record ----------------------------------------------------------------------------

    def write_record(self) -> None:
        """Write ``config.toml`` (as run, with all defaults) and ``environment.json`` into ``exp_dir``.

        ``config.toml`` is an experiment file of its own: it builds the same experiment, from any folder. With several
        processes, one of them calls this.

        Raises:
            RequestError: the folder cannot be written.
        """
        facts = environment(self._search_dirs[0]) | {"seed": self.trainer_config.seed}
        try:
            write_toml(self.exp_dir / "config.toml", self.record())
            write_json(self.exp_dir / "environment.json", facts)
        except OSError as error:
            raise RequestError(
                f"{self.exp_dir} cannot be written: {error.strerror}; choose another [meta] save_dir"
            ) from error

    def write_complexity(self, trainer: BaseTrainer) -> None:
        """Write what the model costs to ``complexity.json`` in ``exp_dir``; a few seconds of work, for one process.

        Of several models, each by its name. A disk that refuses is told.
        """
        rate = self.config.acoustics.sample_rate if self.config.acoustics else None
        facts = {name: describe(model, rate) for name, model in trainer.modules.items()}
        if set(facts) != {""}:
            total = {
                key: sum(f[key] for f in facts.values()) for key in ("parameters", "trainable")
            }
            facts = {"": {**total, "models": facts}}
        try:
            write_json(trainer.folder.complexity, facts[""])
        except OSError as error:
            logger.warning("%s could not be written: %s", trainer.folder.complexity, error)

    def record(self) -> dict[str, Any]:
        """All settings as tables, with those that the file does not state."""
        tables = as_table(self.config)
        tables["meta"] |= {
            "save_dir": str(Path(self.config.meta.save_dir).absolute()),
            "exp_id": self.exp_id,
            "code_dirs": [str(folder) for folder in self._search_dirs],
        }
        settings = as_table(self.trainer_config)
        tables["meta"] |= {key: settings.pop(key) for key in ("seed", "deterministic")}
        tables["trainer"]["args"] = settings | self.config.trainer_extras
        return tables

    # ---- errors ----------------------------------------------------------------------------

    def _check_trainer(self) -> None:
        path = self.config.trainer.path
        cls = locate(path, self._search_dirs)
        if not (inspect.isclass(cls) and issubclass(cls, BaseTrainer)):
            text = f"path: {path} is not made of audiozen.trainer.base_trainer.BaseTrainer"
            problem = Problem(("trainer", "path"), f"{text}; derive the class from it")
            raise ConfigError(str(self.resolved.source), [str(problem)])

    @contextmanager
    def _named(self, table: str) -> Iterator[None]:
        """Say which table of the file an error is about."""
        try:
            yield
        except (RequestError, ManifestError, AudioError) as error:
            raise ConfigError(str(self.resolved.source), [f"[{table}] {error}"]) from error


def _refuse_empty(dataset: Any, config: DataLoaderConfig) -> None:
    """An epoch without a batch. A dataset that cannot tell its length is believed."""
    try:
        num_samples = len(dataset)
    except TypeError:
        return
    if num_samples == 0:
        raise RequestError("the dataset is empty")
    if config.drop_last and num_samples < config.batch_size:
        raise RequestError(
            f"batch_size: {config.batch_size} is more than the {num_samples} samples of the dataset, "
            "and drop_last leaves out short batches; lower it"
        )
