"""The trainer: what a recipe writes (hooks), and the loops around it.

class Trainer(BaseTrainer):
    def training_step(self, batch, batch_idx):
        noisy, clean = batch
        return self.loss_function(self.model(noisy), clean)

trainer = Trainer(model, optimizer, loss_function, config={"max_epochs": 10}, exp_dir="exp/first")
trainer.train(train_dataloader)
"""

from __future__ import annotations

import logging
import math
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from audiozen.acoustics import STFT
from audiozen.config.problems import build_settings
from audiozen.config.schema import TrainerConfig
from audiozen.data.loader import TrainingLoader
from audiozen.engine import Engine
from audiozen.errors import CheckpointError, ConfigError, Preempted, RequestError, TrainingError
from audiozen.tracking.console import Console, SilentConsole, configure_logging
from audiozen.tracking.defaults import default_tracker
from audiozen.tracking.tracker import Tracker
from audiozen.trainer.checkpoint import CheckpointStore
from audiozen.trainer.due import Due
from audiozen.trainer.epoch_output import EpochOutput, check_losses, fetch, means
from audiozen.trainer.evaluation import (
    BatchOutput,
    as_dataloaders,
    collect,
    dataset_names,
    run_step,
    total_length,
    with_dataloader_idx,
)
from audiozen.trainer.generators import (
    generators_state,
    load_generators_state,
    preserved_generators,
    seed_process,
)
from audiozen.trainer.score_table import ScoreTable, score_of
from audiozen.trainer.state import TrainerState
from audiozen.trainer.stop_signals import StopSignals
from audiozen.trainer.weight_averaging import ExponentialAveraging, NoAveraging

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from audiozen.config.schema import AcousticsConfig

T = TypeVar("T")

logger = logging.getLogger(__name__)

DEFAULT_MAX_EPOCHS = 100


class MicroBatch(NamedTuple):
    """What one forward pass of training sees."""

    batch: Any
    batch_idx: int
    num_samples: int


class BaseTrainer:
    """Trains, validates and tests a model. A subclass says what a batch means.

    Args:
        model: the model, or a dict of named ones.
        optimizer: the optimizer of its weights, or a dict of named ones. Needed for training only.
        loss_function: kept as ``self.loss_function`` for the hooks.
        lr_scheduler: a learning-rate schedule, or a dict of named ones. ``ReduceLROnPlateau`` follows the score; all
            others advance as ``lr_scheduler_interval`` says.
        config: settings, as :class:`~audiozen.config.schema.TrainerConfig` or a dict of its fields.
        exp_dir: folder of everything that this run leaves behind.
        resume: go on from the newest checkpoint in ``exp_dir``; from the beginning if there is none.
        acoustics: where given, its fields become attributes of the trainer, with ``stft`` and ``istft``.
        tracker: where numbers and sounds go. None: TensorBoard files and ``metrics.jsonl`` in ``exp_dir``.
        console: where progress and tables are shown. None: the terminal.

    Attributes:
        model: as given; in training, wrapped where compilation or several processes ask for it.
        state: where the run stands (``epoch``, ``step``, ``best_score``, ...).
        device: where model and batches are.
        rank: number of this process, from 0.
        world_size: number of processes.
        is_main_process: whether this process writes files and computes scores.

    Raises:
        ConfigError: settings are wrong; all of them are told at once.
    """

    automatic_optimization = True
    """False: ``training_step`` calls ``self.backward(loss)`` and ``self.optimizer_step(optimizer)`` itself."""

    def __init__(
        self,
        model: nn.Module | dict[str, nn.Module],
        optimizer: Optimizer | dict[str, Optimizer] | None = None,
        loss_function: Any = None,
        lr_scheduler: LRScheduler | dict[str, LRScheduler] | None = None,
        *,
        config: TrainerConfig | Mapping[str, Any] | None = None,
        exp_dir: str | Path = "exp/default",
        resume: bool = False,
        acoustics: AcousticsConfig | None = None,
        tracker: Tracker | None = None,
        console: SilentConsole | None = None,
    ) -> None:
        if not isinstance(config, TrainerConfig):
            config = build_settings(TrainerConfig, config or {}, source="the trainer's config")
        self.config = config
        self.engine = Engine(config)
        self.device, self.rank = self.engine.device, self.engine.rank
        self.world_size, self.is_main_process = self.engine.world_size, self.engine.is_main_process

        self.model: Any = model
        self.modules: dict[str, nn.Module] = named(model)
        self.optimizer: Any = optimizer
        self.optimizers: dict[str, Optimizer] = named(optimizer)
        self.lr_scheduler: Any = lr_scheduler
        self.lr_schedulers: dict[str, LRScheduler] = named(lr_scheduler)
        self.loss_function = loss_function
        for module in (*self.modules.values(), loss_function):
            if isinstance(module, nn.Module):
                module.to(self.device)

        self.exp_dir = Path(exp_dir)
        self.checkpoints_dir = self.exp_dir / "checkpoints"
        self.metrics_dir = self.exp_dir / "metrics"
        self.enhanced_dir = self.exp_dir / "enhanced"
        self.store = CheckpointStore(
            self.checkpoints_dir, max_num_checkpoints=config.max_num_checkpoints
        )
        self.tracker = tracker or Tracker()
        self._opens_tracker = tracker is None and self.is_main_process
        self.console = console or (Console() if self.is_main_process else SilentConsole())

        self.resume = resume
        self.state = TrainerState()
        self.training_epoch_output = EpochOutput()
        self.averaging = (
            NoAveraging()
            if config.ema_decay is None
            else ExponentialAveraging(self.modules, config.ema_decay)
        )
        self.registered: dict[str, Any] = {}
        self.save_due = Due(config.save_interval)
        self.validation_due = Due(config.validation_interval)
        self.stop_signals = StopSignals()
        self.grad_norm: Tensor | float = 0.0
        self.learning_rates: dict[str, float] = {}
        self.stage = "train"
        self.batch_idx = 0
        self.datasets: list[str] = []
        self.validation_dataloaders: list[Any] = []
        self.is_last_step_of_epoch = False
        self._wrapped: dict[str, nn.Module] = {}
        self._in_session = False
        self._logged: dict[str, Tensor | float] = {}
        if acoustics is not None:
            self._adopt(acoustics)

    def _adopt(self, acoustics: AcousticsConfig) -> None:
        for name, value in acoustics:
            setattr(self, name, value)
        self.stft = STFT(acoustics.n_fft, acoustics.hop_length, acoustics.win_length).to(
            self.device
        )
        self.istft = self.stft.inverse

    # ---- what a recipe writes --------------------------------------------------------------

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """The loss of one micro-batch: a scalar tensor, or a dict with ``"loss"`` and further scalars.

        Called for each micro-batch, in train mode, under autocast, on every process.
        """
        raise NotImplementedError(f"{type(self).__name__} has no training_step")

    def training_epoch_end(self, training_epoch_output: list[Any]) -> None:
        """Called after the last step of an epoch, on every process. By default, logs the mean of each scalar.

        Args:
            training_epoch_output: what ``training_step`` returned for each micro-batch, as floats or dicts of floats.
        """
        for name, value in means(training_epoch_output).items():
            self.log(name, value)

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        """Scores of one batch, such as ``{"si_sdr": one value per signal}``; anything that can be pickled.

        Called for each batch of each validation dataloader, in eval mode, without gradients, on the process that the
        batch falls to.
        """
        raise NotImplementedError(f"{type(self).__name__} has no validation_step")

    def validation_epoch_end(self, validation_epoch_output: list[list[Any]]) -> float:
        """The score of this validation. Called once, on the main process.

        By default, takes one record per signal from the steps, writes them to ``metrics/*.csv``, logs the mean
        of each
        metric, and returns that of ``best_metric`` over the signals of all dataloaders.

        Args:
            validation_epoch_output: one list per dataloader, with one entry per batch in dataset order.
        """
        table = ScoreTable(self.datasets, validation_epoch_output)
        table.write(self.metrics_dir, self._table_name())
        for name, value in table.means().items():
            self.log(f"{self.stage}/{name}", value)
        if self.stage == "test":
            self.console.show(table.text())
        return score_of(table.overall(), self.config.best_metric)

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        """As :meth:`validation_step`, by :meth:`test`. By default the same."""
        return with_dataloader_idx(self.validation_step)(batch, batch_idx, dataloader_idx)

    def test_epoch_end(self, test_epoch_output: list[list[Any]]) -> float:
        """As :meth:`validation_epoch_end`, by :meth:`test`. By default the same."""
        return self.validation_epoch_end(test_epoch_output)

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        """What the model makes of one batch, by :meth:`predict`. By default ``self.model(batch)``."""
        del batch_idx, dataloader_idx
        return self.model(batch)

    # ---- training ----------------------------------------------------------------------------

    def train(self, train_dataloader: Any, validation_dataloaders: Any = ()) -> None:
        """Train to ``max_epochs`` or ``max_steps``, validating and saving on the way.

        Args:
            train_dataloader: batches of the training data.
            validation_dataloaders: one dataloader, or several. None of them: nothing is validated, and
            ``best`` follows
                ``latest``.

        Raises:
            RequestError: there are checkpoints in ``exp_dir`` already, and ``resume`` is not set.
            TrainingError: a hook returned what it must not, or the loss is not finite.
            Preempted: a signal asked to stop, and everything is saved.
        """
        with self._training(train_dataloader, validation_dataloaders) as loader:
            while not self.is_finished():
                self.start_epoch()
                for micro_batches in self.updates(loader):
                    self.update(micro_batches)
                    self.after_step()
                self._call_training_epoch_end()
                self.after_epoch()

    def start_epoch(self) -> None:
        """Begin the next epoch, or go on with the one that was interrupted."""
        if self.state.epoch_is_finished:
            self.training_epoch_output.clear()
        self.state.start_epoch()
        for module in self.modules.values():
            module.train()

    def updates(self, loader: TrainingLoader) -> Iterator[list[MicroBatch]]:
        """One group of micro-batches per step, from where the epoch stands to its end, or to ``max_steps``."""
        groups = self._groups(loader)
        following = next(groups, None)
        if following is None:
            raise TrainingError(
                f"the train dataloader gave no batch in epoch {self.state.epoch}; is the dataset empty, or "
                "smaller than a batch with drop_last?"
            )
        first, total = self._progress_of_epoch(loader)
        title = f"epoch {self.state.epoch}"
        with self.console.progress(title, total, initial=first) as progress:
            while following is not None and not self.reached_max_steps():
                group, following = following, next(groups, None)
                self.is_last_step_of_epoch = following is None
                yield group
                progress.advance(1, partial(self.training_epoch_output.latest, len(group)))

    def _groups(self, loader: TrainingLoader) -> Iterator[list[MicroBatch]]:
        position = self.state.position
        group = []
        for batch in loader.batches(self.state.epoch, position):
            num_samples = loader.stride
            if loader.num_positions is not None:
                num_samples = min(num_samples, loader.num_positions - position)
            group.append(MicroBatch(batch, position // loader.stride, num_samples))
            position += num_samples
            if len(group) == self.config.gradient_accumulation_steps:
                yield group
                group = []
        if group:
            yield group

    def update(self, micro_batches: Sequence[MicroBatch]) -> None:
        """One step: zero_grad, forward, backward, clip, step, schedule. In this order, and only here."""
        self.zero_grad()
        num_samples = sum(micro_batch.num_samples for micro_batch in micro_batches)
        for micro_batch in micro_batches:
            is_last = micro_batch is micro_batches[-1]
            with self.engine.forward_context(self._wrapped.values(), is_last=is_last):
                loss = self._forward(micro_batch)
                if self.automatic_optimization:
                    self.backward(loss * (micro_batch.num_samples / num_samples))
        if self.automatic_optimization:
            self._clip_step_schedule(list(self.optimizers.values()))
        self.averaging.update()
        self.state.step += 1
        self.state.position += num_samples
        self.state.epoch_is_finished = self.is_last_step_of_epoch

    def after_step(self) -> None:
        """Log, and inside an epoch: save, validate and stop where that is due."""
        if self.state.step % self.config.log_interval == 0:
            self._log_losses()
        if not self.state.epoch_is_finished and not self.is_finished():
            validates = self.validation_due.after_step(self.state)
            saves = self.save_due.after_step(self.state)
            self.save_and_validate(saves=saves, validates=validates)
            self._stop_if_asked()

    def after_epoch(self) -> None:
        """Save, validate and stop where that is due; at the end of training everything is."""
        if self.state.epoch_is_finished and self.config.lr_scheduler_interval == "epoch":
            for scheduler in self._timed_schedulers():
                scheduler.step()
        validates = self.validation_due.after_epoch(self.state) or self.is_finished()
        saves = self.save_due.after_epoch(self.state) or self.is_finished()
        self.save_and_validate(saves=saves, validates=validates)
        self._stop_if_asked()

    def save_and_validate(self, *, saves: bool, validates: bool) -> None:
        """Write a checkpoint; score the weights in it, and record the outcome beside it."""
        validates = validates and bool(self.validation_dataloaders)
        self.state.validation_is_pending = validates
        if saves or validates:
            self.save_checkpoint()
        if validates:
            self.validate_checkpoint()

    def validate_checkpoint(self) -> None:
        """Validate the weights that were just saved, and take note of the outcome."""
        score = self.validate(self.validation_dataloaders)
        name = self.state.checkpoint_name
        improves = self.state.add_score(score, name, higher_is_better=self.config.higher_is_better)
        self.state.validation_is_pending = False
        for scheduler in self.lr_schedulers.values():
            if isinstance(scheduler, ReduceLROnPlateau) and not math.isnan(score):
                scheduler.step(score)
        self._tell_score(score, improves=improves)
        if self.is_main_process:
            self.store.record_validation(name, self._outcome(score))
            if improves:
                self.store.mark_best(name)
            self.store.prune()

    # ---- evaluation ----------------------------------------------------------------------------

    def validate(self, dataloaders: Any, ckpt_path: str | Path | None = None) -> float:
        """Run the validation hooks.

        Args:
            dataloaders: one dataloader, or several.
            ckpt_path: whose weights to load before: ``"best"``, ``"latest"``, a name or a path. None: those that the
                model has.

        Returns:
            The score, the same on every process.
        """
        return self._evaluate(
            "valid", self.validation_step, self.validation_epoch_end, dataloaders, ckpt_path
        )

    def test(self, dataloaders: Any, ckpt_path: str | Path | None = "best") -> float:
        """Run the test hooks. Arguments as in :meth:`validate`. The model keeps the weights."""
        return self._evaluate("test", self.test_step, self.test_epoch_end, dataloaders, ckpt_path)

    def predict(self, dataloaders: Any, ckpt_path: str | Path | None = "best") -> None:
        """Call ``predict_step`` for each batch. Arguments as in :meth:`validate`. Nothing is collected."""
        for _ in self.predictions(dataloaders, ckpt_path):
            pass

    def predictions(
        self, dataloaders: Any, ckpt_path: str | Path | None = "best"
    ) -> Iterator[BatchOutput]:
        """As :meth:`predict`, but hands out what each ``predict_step`` returned."""
        dataloaders = as_dataloaders(dataloaders)
        with self._evaluating("predict", dataloaders, ckpt_path):
            yield from run_step(self.predict_step, dataloaders, self.engine, seed=self.config.seed)

    def _evaluate(
        self, stage: str, step: Any, epoch_end: Any, dataloaders: Any, ckpt_path: str | Path | None
    ) -> float:
        dataloaders = as_dataloaders(dataloaders)
        with self._evaluating(stage, dataloaders, ckpt_path) as progress:

            def counted_step(batch: Any, batch_idx: int, dataloader_idx: int) -> Any:
                self.batch_idx = batch_idx
                return with_dataloader_idx(step)(batch, batch_idx, dataloader_idx)

            def after_batch() -> None:
                progress.advance(1)
                self._stop_if_asked()

            outputs = run_step(counted_step, dataloaders, self.engine, seed=self.config.seed)
            collected = collect(outputs, len(dataloaders), self.engine, after_batch)
            score = epoch_end(collected) if self.is_main_process else None
            self._write_logged()
        return self._check_score(self.engine.broadcast(score), epoch_end)

    @contextmanager
    def _evaluating(
        self, stage: str, dataloaders: list[Any], ckpt_path: str | Path | None
    ) -> Iterator[Any]:
        """Bare models in eval mode, without gradients; afterwards everything but the weights is as it was."""
        before = self.stage, self.model, self.datasets
        weights: AbstractContextManager[None] = self.averaging.applied()
        if ckpt_path is not None:
            self.load_checkpoint(ckpt_path)
            weights = nullcontext()
        self.stage, self.model = stage, unnamed(self.modules)
        self.datasets = dataset_names(dataloaders)
        with ExitStack() as stack:
            stack.enter_context(self._session())
            stack.enter_context(torch.no_grad())
            stack.enter_context(preserved_generators(self.device))
            stack.enter_context(weights)
            stack.enter_context(evaluation_mode(self.modules.values()))
            seed_process(self.config.seed, self.rank)
            total = total_length(dataloaders)
            try:
                yield stack.enter_context(self.console.progress(stage, total, unit="batch"))
            finally:
                self.stage, self.model, self.datasets = before
                self.batch_idx = 0

    # ---- the parts of one step, for training_step in manual optimisation --------------------------

    def zero_grad(self) -> None:
        """Forget all gradients. Called before each step."""
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of ``loss``, scaled where the precision asks for it."""
        self.engine.backward(loss)

    def optimizer_step(self, *optimizers: Optimizer | str) -> None:
        """Clip the gradients of these optimizers together, let them step, and advance their schedules.

        Their gradients are zeroed afterwards. Those that this backward pass left in the weights of *other*
        optimizers are
        not: where one network is trained through another, zero the other's before its own backward pass.

        Args:
            optimizers: themselves or their names.
        """
        chosen = [self.optimizers[o] if isinstance(o, str) else o for o in optimizers]
        self._clip_step_schedule(chosen)
        for optimizer in chosen:
            optimizer.zero_grad()

    def _clip_step_schedule(self, optimizers: list[Optimizer]) -> None:
        self.grad_norm = self.engine.clip(optimizers, self.config.max_grad_norm)
        if self.config.on_nonfinite == "skip" and not math.isfinite(self.grad_norm):
            self.state.num_skipped_steps += 1
        else:
            self.engine.step(optimizers)
        self.learning_rates = self._learning_rates()
        if self.config.lr_scheduler_interval == "step":
            for scheduler in self._timed_schedulers():
                if any(scheduler.optimizer is optimizer for optimizer in optimizers):
                    scheduler.step()

    def _forward(self, micro_batch: MicroBatch) -> Tensor:
        batch = self.engine.to_device(micro_batch.batch)
        with self.engine.autocast():
            output = self.training_step(batch, micro_batch.batch_idx)
        losses = check_losses(output)
        self.training_epoch_output.append(output)
        return losses["loss"]

    # ---- logging -------------------------------------------------------------------------------------

    def log(self, name: str, value: Tensor | float) -> None:
        """Write a number to the trackers.

        In ``training_step`` it is written with the losses, every ``log_interval`` steps; elsewhere when the
        hook has ended.

        Args:
            name: a name with a ``/`` is taken as it is; others are put into the group of what is going on (``train``,
                ``train_epoch``, ``valid``, ``test``).
            value: a number, or a tensor with one element.
        """
        key = name if "/" in name else f"{self.stage}/{name}"
        self._logged[key] = value.detach() if isinstance(value, Tensor) else value

    def log_audio(self, name: str, waveform: Any, sample_rate: int) -> None:
        """Write a sound and its spectrogram to the trackers.

        In an evaluation, only what comes from the first ``num_audio_samples`` batches of each dataloader is written.

        Args:
            name: the same over the epochs, so that they can be compared.
            waveform: shape ``(time,)``, in [-1, 1].
            sample_rate: in Hz.
        """
        if self.batch_idx < self.config.num_audio_samples:
            key = f"{self.stage}/{name}"
            step = self.state.step
            self.tracker.log_audio(key, waveform, sample_rate, step=step)
            self.tracker.log_spectrogram(key, waveform, sample_rate, step=step)

    def _log_losses(self) -> None:
        self._check_finite()
        for name, value in self.training_epoch_output.latest().items():
            self.log(name, value)
        self.log("grad_norm", self.grad_norm)
        for name, learning_rate in self.learning_rates.items():
            self.log(f"lr_{name}" if name else "lr", learning_rate)
        self._write_logged()

    def _write_logged(self) -> None:
        if self._logged:
            scalars = dict(zip(self._logged, fetch(list(self._logged.values()))))
            self.tracker.log_scalars(scalars, step=self.state.step, epoch=self.state.epoch)
            self._logged.clear()

    def _call_training_epoch_end(self) -> None:
        self._check_finite()
        self._logged.clear()
        self.stage = "train_epoch"
        self.training_epoch_end(self.training_epoch_output.floats())
        self._write_logged()
        self.stage = "train"

    def _tell_score(self, score: float, *, improves: bool) -> None:
        state = self.state
        if math.isnan(score):
            logger.warning(
                "epoch %d, step %d: the score is NaN and is not taken as the best",
                state.epoch,
                state.step,
            )
        best = "none yet" if state.best_score is None else f"{state.best_score:.4f}"
        note = "the best so far" if improves else f"best {best} ({state.best_checkpoint})"
        logger.info("epoch %d, step %d: score %.4f, %s", state.epoch, state.step, score, note)

    # ---- checkpoints ----------------------------------------------------------------------------------

    def register(self, name: str, thing: Any) -> None:
        """Let anything with ``state_dict`` and ``load_state_dict`` ride along in the checkpoints."""
        if name in self.registered:
            raise RequestError(f"{name!r} is registered already; choose another name")
        self.registered[name] = thing

    def save_checkpoint(self) -> None:
        """Write everything that is needed to go on from here."""
        self._check_finite()
        self.tracker.flush()
        generators = self.engine.gather(generators_state(self.device))
        name = self.state.checkpoint_name
        if self.is_main_process:
            training_state = {key: thing.state_dict() for key, thing in self._stateful().items()}
            with self.averaging.applied():
                self.store.save(
                    name,
                    epoch=self.state.epoch,
                    step=self.state.step,
                    models={key: module.state_dict() for key, module in self.modules.items()},
                    training_state={**training_state, "generators": generators},
                )
            if not self.validation_dataloaders:
                self.store.mark_best(name)
            self.store.prune()
        self.engine.wait_for_everyone()

    def load_checkpoint(self, ckpt_path: str | Path) -> Path:
        """Load the weights of a checkpoint, and nothing else.

        Args:
            ckpt_path: ``"best"``, ``"latest"``, a name or a path.

        Returns:
            The checkpoint's folder.

        Raises:
            CheckpointError: it is missing, damaged, or of another model.
        """
        path = self.store.find(ckpt_path)
        weights = self.store.load_models(path)
        if set(weights) != set(self.modules):
            raise CheckpointError(
                f"{path} has models {sorted(weights)}, expected {sorted(self.modules)}"
            )
        for name, module in self.modules.items():
            load_into(module, weights[name], f"{path}, model {name!r}" if name else str(path))
        logger.info("weights of %s", path)
        return path

    def resume_training(self) -> None:
        """Go on from the newest checkpoint; from the beginning if there is none.

        Raises:
            CheckpointError: it is damaged, or was written by a run with other parts.
        """
        if not self.store.names():
            logger.info(
                "nothing to resume in %s: starting from the beginning", self.checkpoints_dir
            )
            return
        path = self.load_checkpoint("latest")
        training_state = self.store.load_training_state(path)
        generators = training_state.pop("generators")
        stateful = self._stateful()
        if set(stateful) != set(training_state):
            raise CheckpointError(
                f"{path} holds {sorted(training_state)}, this run has {sorted(stateful)}"
            )
        for name, thing in stateful.items():
            load_into(thing, training_state[name], f"{path}, {name}")
        if len(generators) == self.world_size:
            load_generators_state(generators[self.rank], self.device)
        if outcome := self.store.load_validation(path):
            self._load_outcome(outcome)
        self.tracker.rewind(self.state.step)
        logger.info("resumed at epoch %d, step %d from %s", self.state.epoch, self.state.step, path)

    def _stateful(self) -> dict[str, Any]:
        """Everything but the weights that a run needs to go on, by the name that it has in a checkpoint."""
        parts: dict[str, Any] = {
            "state": self.state,
            "epoch_output": self.training_epoch_output,
            "averaging": self.averaging,
            "scaler": self.engine.scaler,
        }
        groups: dict[str, dict[str, Any]] = {
            "optimizer": self.optimizers,
            "lr_scheduler": self.lr_schedulers,
            "registered": self.registered,
        }
        for kind, things in groups.items():
            parts |= {f"{kind}.{name}" if name else kind: thing for name, thing in things.items()}
        if isinstance(self.loss_function, nn.Module):
            parts["loss_function"] = self.loss_function
        return parts

    def _outcome(self, score: float) -> dict[str, Any]:
        """What a validation has changed."""
        return {
            "score": score,
            "state": self.state.state_dict(),
            "lr_schedulers": {
                name: scheduler.state_dict()
                for name, scheduler in self._plateau_schedulers().items()
            },
            "learning_rates": {
                name: [group["lr"] for group in optimizer.param_groups]
                for name, optimizer in self.optimizers.items()
            },
        }

    def _load_outcome(self, outcome: dict[str, Any]) -> None:
        self.state.load_state_dict(outcome["state"])
        for name, scheduler in self._plateau_schedulers().items():
            scheduler.load_state_dict(outcome["lr_schedulers"][name])
        for name, optimizer in self.optimizers.items():
            for group, learning_rate in zip(
                optimizer.param_groups, outcome["learning_rates"][name]
            ):
                group["lr"] = learning_rate

    # ---- the small questions ----------------------------------------------------------------------------

    def is_finished(self) -> bool:
        """Whether there is nothing left to train."""
        return (
            self.reached_max_steps() or self._reached_max_epochs() or self._patience_is_exhausted()
        )

    def reached_max_steps(self) -> bool:
        """Whether ``max_steps`` updates have been made."""
        return self.config.max_steps is not None and self.state.step >= self.config.max_steps

    def _reached_max_epochs(self) -> bool:
        max_epochs = self.config.max_epochs
        if max_epochs is None and self.config.max_steps is None:
            max_epochs = DEFAULT_MAX_EPOCHS
        return (
            max_epochs is not None
            and self.state.epoch_is_finished
            and self.state.epoch >= max_epochs
        )

    def _patience_is_exhausted(self) -> bool:
        patience = self.config.patience
        return patience is not None and self.state.validations_without_improvement >= patience

    def _plateau_schedulers(self) -> dict[str, ReduceLROnPlateau]:
        return {k: s for k, s in self.lr_schedulers.items() if isinstance(s, ReduceLROnPlateau)}

    def _timed_schedulers(self) -> list[LRScheduler]:
        return [s for s in self.lr_schedulers.values() if not isinstance(s, ReduceLROnPlateau)]

    def _learning_rates(self) -> dict[str, float]:
        return {name: o.param_groups[0]["lr"] for name, o in self.optimizers.items()}

    def _table_name(self) -> str:
        return self.stage if self.stage == "test" else f"{self.stage}_{self.state.checkpoint_name}"

    def _progress_of_epoch(self, loader: TrainingLoader) -> tuple[int, int | None]:
        """Steps of this epoch that were made before, and all that it has or may have."""
        samples_per_step = loader.stride * self.config.gradient_accumulation_steps
        first = self.state.position // samples_per_step
        if loader.num_positions is None:
            return first, None
        total = math.ceil(loader.num_positions / samples_per_step)
        if self.config.max_steps is not None:
            total = min(total, first + self.config.max_steps - self.state.step)
        return first, total

    # ---- around the loops ---------------------------------------------------------------------------------

    @contextmanager
    def _training(
        self, train_dataloader: Any, validation_dataloaders: Any
    ) -> Iterator[TrainingLoader]:
        """The model wrapped for training, messages shown, signals caught; resumed where that was asked for."""
        self._check_request()
        self.validation_dataloaders = as_dataloaders(validation_dataloaders)
        loader = TrainingLoader(
            train_dataloader, seed=self.config.seed, rank=self.rank, world_size=self.world_size
        )
        with self._session(), self.stop_signals:
            logger.info("training on %s", self.engine.describe())
            if loader.inexact:
                logger.info("%s", loader.inexact)
            if self.state.step == 0:
                seed_process(self.config.seed, self.rank)
            if self.resume:
                self.resume_training()
            self._wrapped = {k: self.engine.prepare(m) for k, m in self.modules.items()}
            self.model = unnamed(self._wrapped)
            try:
                if self.state.validation_is_pending and self.validation_dataloaders:
                    self.validate_checkpoint()
                yield loader
            finally:
                self.model = unnamed(self.modules)

    def _check_request(self) -> None:
        problems = []
        if not self.optimizers:
            problems.append("optimizer: missing; training needs one")
        if not self.automatic_optimization and self.config.gradient_accumulation_steps != 1:
            problems.append(
                "gradient_accumulation_steps: must be 1 where training_step calls optimizer_step itself"
            )
        if problems:
            raise ConfigError(type(self).__name__, problems)
        if not self.resume and self.state.step == 0 and (names := self.store.names()):
            raise RequestError(
                f"{self.checkpoints_dir} has checkpoints already ({', '.join(names)}); resume, choose another "
                "folder, or delete them"
            )

    @contextmanager
    def _session(self) -> Iterator[None]:
        """Trackers open and messages shown; within another session, they are so already."""
        if self._in_session:
            yield
            return
        self._in_session = True
        given = self.tracker
        with ExitStack() as stack:
            if isinstance(self.console, Console):
                log_file = self.exp_dir / "logs" / f"{datetime.now(UTC):%Y%m%d_%H%M%S}.log"
                stack.enter_context(configure_logging(log_file))
            if self._opens_tracker:
                self.tracker = stack.enter_context(default_tracker(self.exp_dir))
            try:
                yield
                self.tracker.flush()
            finally:
                self._in_session = False
                self.tracker = given

    def _stop_if_asked(self) -> None:
        if self.engine.any(self.stop_signals.received is not None):
            if not self.state.validation_is_pending:
                self.save_checkpoint()
            raise Preempted(
                f"stopped by {self.stop_signals.received or 'a signal to another process'} at epoch "
                f"{self.state.epoch}, step {self.state.step}; everything is saved in "
                f"{self.checkpoints_dir}: resume to go on"
            )

    def _check_finite(self) -> None:
        """Refuse to go on, and to save, once a loss or gradient is not finite."""
        if self.config.on_nonfinite != "raise":
            return
        entry = self.training_epoch_output.first_nonfinite()
        if entry is not None:
            batch_idx, values = entry
            raise TrainingError(
                f"epoch {self.state.epoch}: the loss of batch {batch_idx} is not finite ({values}); nothing was "
                'saved since. Look at that batch and at the learning rate, or set on_nonfinite to "skip"'
            )
        if not self.engine.scaler.is_enabled() and not math.isfinite(self.grad_norm):
            raise TrainingError(
                f"epoch {self.state.epoch}, step {self.state.step}: the gradient is not finite though the loss "
                'is; nothing was saved since. Set on_nonfinite to "skip" to leave such steps out'
            )

    def _check_score(self, score: Any, hook: Any) -> float:
        if isinstance(score, Tensor) and score.numel() == 1:
            score = score.item()
        if not isinstance(score, (int, float)):
            raise TrainingError(
                f"{type(self).__name__}.{hook.__name__} must return the score, a float; it returned {score!r}"
            )
        return float(score)


def named(thing: T | dict[str, T] | None) -> dict[str, T]:
    """Things by name; the only one is called ``""``."""
    if thing is None:
        return {}
    return thing if isinstance(thing, dict) else {"": thing}


def unnamed(things: dict[str, T]) -> T | dict[str, T]:
    """The opposite of :func:`named`."""
    return things[""] if set(things) == {""} else things


def load_into(thing: Any, state: Any, where: str) -> None:
    """``thing.load_state_dict(state)``, with an error that says where it went wrong.

    Raises:
        CheckpointError: the state does not fit.
    """
    try:
        thing.load_state_dict(state)
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{where} does not fit: {error}") from error


@contextmanager
def evaluation_mode(modules: Iterable[nn.Module]) -> Iterator[None]:
    """All modules in eval mode; afterwards each part is in the mode that it was in."""
    before = [(part, part.training) for module in modules for part in module.modules()]
    for part, _ in before:
        part.training = False
    try:
        yield
    finally:
        for part, training in before:
            part.training = training
