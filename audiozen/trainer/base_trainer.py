"""The trainer: what a recipe writes (hooks), and the loops around it.

::

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
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import torch
from torch import Tensor, nn

from audiozen.acoustics import STFT
from audiozen.config.old_names import old_member
from audiozen.config.schema import AcousticsConfig, TrainerConfig
from audiozen.config.settings import build_settings, kinds_of
from audiozen.data.bad_samples import BadSamples
from audiozen.data.loader import TrainingLoader
from audiozen.data.sampler import seed_generators
from audiozen.data.shared_ids import shared_ids, warning_of
from audiozen.data.workers import dead_workers_told
from audiozen.engine import Engine
from audiozen.errors import (
    AudioZENError,
    CheckpointError,
    ConfigError,
    Preempted,
    RequestError,
    TrainingError,
)
from audiozen.metrics.pool import MetricPool
from audiozen.processes.cores import num_cores
from audiozen.processes.watch import Place
from audiozen.run_folder import RunFolder
from audiozen.tables.files import read_csv
from audiozen.trainer import resuming
from audiozen.trainer.agreement import NO_WISHES, Agreement, Wishes
from audiozen.trainer.background_save import BackgroundSave
from audiozen.trainer.checkpoint import CheckpointStore, Moment, StagedCheckpoint
from audiozen.trainer.cuda_graphs import StepGraphs
from audiozen.trainer.due import Due
from audiozen.trainer.end_of_training import EndOfTraining
from audiozen.trainer.epoch_output import EpochOutput, PendingMeans, loss_of, means
from audiozen.trainer.evaluation import (
    BatchOutput,
    as_dataloaders,
    collect,
    dataloader_idx_is_optional,
    dataset_names,
    evaluation_mode,
    num_batches,
    run_step,
    with_dataloader_idx,
)
from audiozen.trainer.finite_guard import FiniteGuard
from audiozen.trainer.generators import preserved_generators, seed_process
from audiozen.trainer.lookout import Lookout
from audiozen.trainer.micro_batches import count_steps, group_micro_batches
from audiozen.trainer.run_identity import Identity, run_identity
from audiozen.trainer.run_lock import run_lock
from audiozen.trainer.run_status import run_status
from audiozen.trainer.saved_run import IDENTITY
from audiozen.trainer.score_table import ScoreTable, score_of
from audiozen.trainer.session import Session
from audiozen.trainer.snapshot import (
    ScoreFollowers,
    Stateful,
    name_parts,
    take_snapshot,
)
from audiozen.trainer.sound_files import write_sounds
from audiozen.trainer.state import TrainerState
from audiozen.trainer.stop_signals import StopSignals
from audiozen.trainer.training_request import request_problems
from audiozen.trainer.weight_averaging import ExponentialAveraging, NoAveraging
from audiozen.trainer.weights import first_of, load_matching, misfits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from audiozen.data.seeded_batches import DealtBatch
    from audiozen.tracking.console import Progress, SilentConsole
    from audiozen.tracking.tracker import Tracker

__all__ = ["BaseTrainer"]

T = TypeVar("T")

logger = logging.getLogger(__name__)

SAMPLES, OWN_SAMPLES = attrgetter("num_samples"), attrgetter("num_own")


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
        resume: go on from the newest checkpoint in ``exp_dir`` that is as it was written; from the beginning if there
            is none.
        allow_changes: resume also where model, optimizer, data or settings are not those of the checkpoint.
        acoustics: where given, its fields become attributes of the trainer, with ``stft`` and ``istft``.
        tracker: where numbers and sounds go. None: TensorBoard files and ``metrics.jsonl`` in ``exp_dir``.
        console: where progress and tables are shown. None: the terminal.

    Attributes:
        model: as given; in training, wrapped where compilation or several processes ask for it.
        modules: the models as they were built, by name; a single one is called ``""``.
        optimizer: as given.
        lr_scheduler: as given.
        loss_function: as given.
        config: the settings, with defaults for what was not given.
        state: where the run stands (``epoch``, ``step``, ``best_score``, ...).
        stage: ``"train"``, ``"valid"``, ``"test"`` or ``"predict"``.
        device: where model and batches are.
        rank: number of this process, from 0.
        world_size: number of processes.
        is_main_process: whether this process writes files and computes scores.
        exp_dir: folder of the run; those in it are ``checkpoints_dir``, ``metrics_dir`` and ``enhanced_dir``.
        grad_norm: L2 norm of the gradients of the last step, before clipping; NaN where it was not measured, which
            steps that are not logged may leave out.
        gives_up: asked after each validation with its score, before the outcome is recorded; True ends the run. It must
            answer alike on every process, and is none of what a checkpoint holds: a resumed run goes on.
        metric_pool: processes that compute slow metrics while the model goes on: what
            ``scorer.submit(self.metric_pool, enhanced, clean)`` returns may be part of what a step returns.
        sample_rate: with ``n_fft``, ``hop_length``, ``win_length``, ``stft`` and ``istft``, where ``acoustics``
            are given.

    Raises:
        ConfigError: settings are wrong; all of them are told at once.
    """

    automatic_optimization = True
    """False: ``training_step`` calls ``self.backward(loss)`` and ``self.optimizer_step(optimizer)`` itself."""

    sample_rate: int
    n_fft: int
    hop_length: int
    win_length: int
    stft: STFT
    istft: Callable[..., Tensor]

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
        allow_changes: bool = False,
        acoustics: AcousticsConfig | None = None,
        tracker: Tracker | None = None,
        console: SilentConsole | None = None,
    ) -> None:
        if not isinstance(config, TrainerConfig):
            config = build_settings(TrainerConfig, config or {}, source="the trainer's config")
        self.config = config
        self.engine = Engine(config)
        self.device, self.group = self.engine.device, self.engine.group
        self.rank, self.world_size = self.group.rank, self.group.world_size
        self.is_main_process = self.group.is_main

        self._take(model, optimizer, lr_scheduler, loss_function)
        self._open_folder(exp_dir, tracker, console)
        self.resume = resume
        self.allow_changes = allow_changes
        self.state = TrainerState()
        self._build_collaborators()
        self._begin_with_nothing()
        if acoustics is not None:
            self._adopt(acoustics)

    def _take(self, model: Any, optimizer: Any, lr_scheduler: Any, loss_function: Any) -> None:
        """What is trained, by name, on the device."""
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

    def _open_folder(
        self, exp_dir: str | Path, tracker: Tracker | None, console: SilentConsole | None
    ) -> None:
        """Where everything goes that this run leaves behind."""
        self.folder = RunFolder(exp_dir)
        self.exp_dir = self.folder.root
        self.checkpoints_dir = self.folder.checkpoints
        self.metrics_dir = self.folder.metrics
        self.enhanced_dir = self.folder.enhanced
        self.store = CheckpointStore(
            self.checkpoints_dir, max_num_checkpoints=self.config.max_num_checkpoints
        )
        self.saving = BackgroundSave()
        self.session = Session(self.exp_dir, tracker, console, is_main_process=self.is_main_process)

    def _build_collaborators(self) -> None:
        """Those who answer the loop's questions: what is kept, what is due, when it is over."""
        config = self.config
        self.metric_pool = MetricPool(self._num_metric_workers())
        self.training_epoch_output = EpochOutput()
        self.averaging = (
            NoAveraging()
            if config.ema_decay is None
            else ExponentialAveraging(self.modules, config.ema_decay)
        )
        self.registered: dict[str, Any] = {}
        self.guard = FiniteGuard(self.engine, config, self._with_loss_function(self.modules))
        self.score_followers = ScoreFollowers(self.lr_schedulers, self.optimizers)
        following = self.score_followers.schedulers
        self._timed_schedulers = [
            scheduler for name, scheduler in self.lr_schedulers.items() if name not in following
        ]
        self.end = EndOfTraining(config)
        self.save_due = Due(config.save_interval)
        self.validation_due = Due(config.validation_interval)
        self.stop_signals = StopSignals()
        self.agreement = Agreement(self.group)
        self.lookout = Lookout(
            [self.save_due, self.validation_due, self.end], self.agreement, self.stop_signals
        )

    def _begin_with_nothing(self) -> None:
        """What the loops change as they go."""
        self.grad_norm: Tensor | float = 0.0
        self.learning_rates: dict[str, float] = {}
        # Several processes show what was logged: the losses of all of them.
        self.latest_losses = self._latest_losses if self.world_size == 1 else dict
        self.stage = "train"
        self.phase = "the start"
        self.batch_idx = self.dataloader_idx = 0
        self.datasets: list[str] = []
        self.validation_dataloaders: list[Any] = []
        self.is_last_step_of_epoch = False
        self.is_given_up = False
        self.identity: Identity = {}
        self.write_record: Callable[[], object] = lambda: None
        self.gives_up: Callable[[float], bool] = lambda _: False
        self.unrecorded: CheckpointError | None = None
        self.bad_samples = BadSamples()
        self._wrapped: dict[str, nn.Module] = {}
        self._seed = (
            seed_generators
            if self.device.type == "cpu"
            else partial(seed_process, device=self.device)
        )
        self._autocast_training_step = self.training_step
        self._make_backward_pass: Callable[[Tensor], object] = self.engine.backward
        self._graphs: StepGraphs | None = None
        self._share = 1.0
        self._stride, self._is_over = 1, False
        self._num_own, self._num_micro_batches = 1, 1
        self._unfinished_log: Callable[[], None] | None = None
        self._loaded: Moment | None = None
        self._has_stepped = False

    def _adopt(self, acoustics: AcousticsConfig) -> None:
        for name, value in vars(acoustics).items():
            setattr(self, name, value)
        self.stft = STFT(acoustics.n_fft, acoustics.hop_length, acoustics.win_length).to(
            self.device
        )
        self.istft = self.stft.inverse

    if not TYPE_CHECKING:  # a type checker has to find misspelt names

        def __getattr__(self, name: str) -> Any:
            reason = ""
            if name in (*kinds_of(AcousticsConfig), "stft", "istft"):
                reason = "; state [acoustics] in the experiment, or pass acoustics to the trainer"
            elif old := old_member(f"self.{name}"):
                reason = f": {old[1]}"
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}{reason}")

    @property
    def tracker(self) -> Tracker:
        """Where numbers and sounds go."""
        return self.session.tracker

    @property
    def console(self) -> SilentConsole:
        """Where progress and tables are shown."""
        return self.session.console

    # ---- what a recipe writes --------------------------------------------------------------

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """The loss of one micro-batch: a scalar tensor, or a dict with ``"loss"`` and further scalars.

        Called for each micro-batch, in train mode, under autocast, on every process.
        """
        raise NotImplementedError(f"{type(self).__name__} has no training_step")

    def training_epoch_end(self, training_epoch_output: list[Any]) -> None:
        """Called after the last step of an epoch, on every process. By default, logs the mean of each scalar.

        Args:
            training_epoch_output: what ``training_step`` returned for each micro-batch, as floats or dicts of floats;
                with several processes, the means over the samples of all of them.
        """
        for name, value in means(training_epoch_output).items():
            self.log(name, value)

    @dataloader_idx_is_optional
    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        """Scores of one batch, such as ``{"si_sdr": one value per signal}``; anything that can be pickled.

        Called for each batch of each validation dataloader, in eval mode, without gradients, on the process that the
        batch falls to.
        """
        raise NotImplementedError(f"{type(self).__name__} has no validation_step")

    def validation_epoch_end(self, validation_epoch_output: list[list[Any]]) -> float:
        """The score of this validation. Called once, on the main process.

        By default, takes one record per signal from the steps, writes them to ``metrics/*.csv``, logs the mean of each
        metric, and returns that of ``best_metric`` over the signals of all dataloaders. Outside of training, the table
        of means is shown, and written to ``metrics/*.txt``.

        Args:
            validation_epoch_output: one list per dataloader, with one entry per batch in dataset order.
        """
        table = ScoreTable(self.datasets, validation_epoch_output)
        name = self.stage if self.stage == "test" else f"{self.stage}_{self.weights.name}"
        with self._told_in_training(f"the table {name}"):
            table.write_csv(self.metrics_dir, name)
        if self.stage == "test":
            self._warn_of_shared_ids(table)
        for metric, mean in table.means().items():
            self.log(f"{self.stage}/{metric}", mean)
        if not self._wrapped:
            table.write_text(self.metrics_dir, name)
            self.console.show(table.text())
        return score_of(table.overall(), self.config.best_metric)

    @dataloader_idx_is_optional
    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        """As :meth:`validation_step`, by :meth:`test`. By default the same."""
        return with_dataloader_idx(self.validation_step)(batch, batch_idx, dataloader_idx)

    def test_epoch_end(self, test_epoch_output: list[list[Any]]) -> float:
        """As :meth:`validation_epoch_end`, by :meth:`test`. By default the same."""
        return self.validation_epoch_end(test_epoch_output)

    @dataloader_idx_is_optional
    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        """What the model makes of one batch, by :meth:`predict`. By default ``self.model(batch)``."""
        del batch_idx, dataloader_idx
        if isinstance(self.model, dict):
            raise TrainingError(
                f"{type(self).__name__} has several models ({', '.join(self.model)}): write a predict_step that says "
                "which to call"
            )
        return self.model(batch)

    # ---- training ----------------------------------------------------------------------------

    def train(self, train_dataloader: Any, validation_dataloaders: Any = ()) -> None:
        """Train to ``max_epochs`` or ``max_steps``, validating and saving on the way.

        Args:
            train_dataloader: batches of the training data.
            validation_dataloaders: one dataloader, or several. Without any, nothing is validated, and ``best`` follows
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
        self.lookout.look_ahead(self.state.step)
        for module in self._wrapped.values():
            module.train()
        if self._graphs is not None:
            self._graphs.start_epoch()

    def updates(self, loader: TrainingLoader) -> Iterator[Sequence[DealtBatch]]:
        """One group of micro-batches per step, from where the epoch stands to its end, or to ``max_steps``."""
        state, end = self.state, loader.end_from(self.state.position)
        self._stride, self._is_over = loader.stride, False
        groups = self._groups(loader)
        group = next(groups, None)
        if group is None and state.position == 0:
            raise TrainingError(
                f"the train dataloader gave no batch in epoch {state.epoch}; is the dataset empty, or "
                "smaller than a batch with drop_last?"
            )
        # Where drop_last leaves no batch for the processes that there are now, the epoch is over.
        state.epoch_is_finished = group is None
        with self._progress_of_epoch(loader) as progress:
            while group is not None:
                num_samples = sum(map(SAMPLES, group))
                if end is not None:  # then no batch is loaded before its turn
                    self.is_last_step_of_epoch = state.position + num_samples == end
                else:
                    following = next(groups, None)
                    self.is_last_step_of_epoch = following is None
                if self.guard.is_judging:
                    where = state.epoch, state.step + 1, state.position
                    self.guard.start_step(partial(describe_step, loader, *where, num_samples))
                yield group
                progress.advance(1, self.latest_losses)
                if self.is_last_step_of_epoch or self._is_over:
                    return
                group = next(groups) if end is not None else following

    def _groups(self, loader: TrainingLoader) -> Iterator[Sequence[DealtBatch]]:
        state, group_size = self.state, self.config.gradient_accumulation_steps
        groups = group_micro_batches(loader, state.epoch, state.position, group_size)
        if loader.inexact is not None and self.world_size > 1:
            return self._equally_many(groups)
        return groups

    def _progress_of_epoch(self, loader: TrainingLoader) -> Progress:
        state, group_size = self.state, self.config.gradient_accumulation_steps
        first, total = count_steps(state.position, loader, group_size), None
        if loader.num_positions is not None:
            whole = count_steps(loader.num_positions, loader, group_size)
            total = int(min(whole, first + self.end.num_steps_left(state)))
        return self.console.progress(f"epoch {state.epoch}", total, initial=first)

    def _equally_many(
        self, groups: Iterator[Sequence[DealtBatch]]
    ) -> Iterator[Sequence[DealtBatch]]:
        """As many groups as the process has that has the fewest: nobody can make a step alone."""
        group = next(groups, None)
        while not self.group.any(group is None, "whether all have a batch"):
            assert group is not None
            yield group
            group = next(groups, None)
        if group is not None:
            logger.error(
                "process %d has batches left in epoch %d that are not trained on, as another process has none",
                self.rank,
                self.state.epoch,
            )

    def update(self, micro_batches: Sequence[DealtBatch]) -> None:
        """One step: zero_grad, forward, backward, clip, step, schedule. In this order, and only here."""
        # What a step draws depends on nothing else, so that a checkpoint holds no generator of any process.
        self._seed(self.config.seed, "step", self.state.step, self.rank)
        self.phase = "training_step"
        self.zero_grad()
        strategy, position = self.engine.strategy, self.state.position
        num_samples = sum(map(SAMPLES, micro_batches))
        self._num_own = sum(map(OWN_SAMPLES, micro_batches))
        self._num_micro_batches = len(micro_batches)
        for micro_batch in micro_batches:
            if strategy.exchanges:
                strategy.start_micro_batch(is_last=micro_batch is micro_batches[-1])
            loss = self._forward(micro_batch, position // self._stride)
            if self.automatic_optimization:
                share = micro_batch.num_samples / num_samples
                self.backward(loss if share == 1 else loss * share)
            position += micro_batch.num_samples
        if self.automatic_optimization:
            self._clip_step_schedule(list(self.optimizers.values()))
        if self.averaging.is_on:
            self.averaging.update()
        self.state.step += 1
        self.state.position = position
        self.state.epoch_is_finished = self.is_last_step_of_epoch

    def after_step(self) -> None:
        """Log, and inside an epoch: save, validate and stop where that is due."""
        if self._unfinished_log is not None:
            self._finish_log()
        if self.state.step % self.config.log_interval == 0:
            self._log_losses()
        if self.lookout.sees_something(self.state.step):
            self._do_what_is_due()
            self.lookout.look_ahead(self.state.step)
            self._is_over = self.is_finished()

    def _do_what_is_due(self) -> None:
        if not self.state.epoch_is_finished and not self.is_finished():
            wishes = self._meet() if self.agreement.is_due(self.state.step) else NO_WISHES
            validates = self.validation_due.after_step(self.state, by_clock=wishes.validate)
            saves = self.save_due.after_step(self.state, by_clock=wishes.save)
            self.save_and_validate(saves=saves, validates=validates)
            if wishes.stop or saves or validates:
                self._stop_if_asked()

    def after_epoch(self) -> None:
        """Save, validate and stop where that is due; at the end of training everything is."""
        if self.state.epoch_is_finished and self.config.lr_scheduler_interval == "epoch":
            for scheduler in self._timed_schedulers:
                scheduler.step()
        wishes = self._meet()
        validates = self.validation_due.after_epoch(self.state, by_clock=wishes.validate)
        saves = self.save_due.after_epoch(self.state, by_clock=wishes.save)
        is_finished = self.is_finished()
        self.save_and_validate(saves=saves or is_finished, validates=validates or is_finished)
        self._stop_if_asked()

    def save_and_validate(self, *, saves: bool, validates: bool) -> None:
        """Write a checkpoint; score the weights in it, and record the outcome beside it. Each once per step."""
        validates = validates and bool(self.validation_dataloaders)
        if self.state.saved_step != self.state.step and (saves or validates):
            self.state.validation_is_pending = validates
            self.save_checkpoint()
        if self.state.validated_step != self.state.step and validates:
            self.state.validation_is_pending = True
            self.validate_checkpoint()

    def validate_checkpoint(self) -> None:
        """Validate the weights that were just saved, and take note of the outcome."""
        score = self.validate(self.validation_dataloaders)
        name = self.state.checkpoint_name
        if not self._is_saved():
            logger.error("score %.4f does not count: %s is not on the disk", score, name)
            return
        self.state.validation_is_pending = False
        self.score_followers.step(score)
        improves = self.state.add_score(score, name, higher_is_better=self.config.higher_is_better)
        self._tell_score(score, improves=improves)
        self.is_given_up = self.gives_up(score)
        if self.is_main_process:
            outcome = {"score": score, **take_snapshot(self.outcome_parts())}
            self._record_outcome(name, outcome)

    def _record_outcome(self, name: str, outcome: dict[str, Any]) -> None:
        """Write down the outcome of a validation; one that cannot be written is told, and done again after a resume."""
        self.tracker.flush()
        try:
            self.store.record_validation(name, outcome)
            if self.state.best_checkpoint is not None:
                self.store.mark_best(self.state.best_checkpoint)
            self.store.prune()
            self.unrecorded = None
        except CheckpointError as error:
            self.unrecorded = error
            logger.error("%s; training goes on", error)  # noqa: TRY400 - told, not traced

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
        with self._evaluating("predict", dataloaders, ckpt_path) as progress:
            for output in run_step(
                self.predict_step, dataloaders, self.engine, seed=self.config.seed
            ):
                yield output
                progress.advance(1)

    def _evaluate(
        self, stage: str, step: Any, epoch_end: Any, dataloaders: Any, ckpt_path: str | Path | None
    ) -> float:
        dataloaders, call = as_dataloaders(dataloaders), with_dataloader_idx(step)
        with self._evaluating(stage, dataloaders, ckpt_path) as progress:

            def noted_step(batch: Any, batch_idx: int, dataloader_idx: int) -> Any:
                self.phase, self.batch_idx = step.__name__, batch_idx
                self.dataloader_idx = dataloader_idx
                with self.session.noting() as notes:
                    value = call(batch, batch_idx, dataloader_idx)
                return value, notes

            def goes_on() -> bool:
                return not (self.stop_signals.received or self.group.stop_requested)

            outputs = run_step(noted_step, dataloaders, self.engine, seed=self.config.seed)
            collected = collect(
                outputs,
                len(dataloaders),
                self.group,
                goes_on=goes_on,
                when_done=lambda: progress.advance(1),
            )
            score = None
            if self.is_main_process and collected is not None:
                score = self._score_of(collected, epoch_end)
            score = self.group.broadcast(score, f"the score of {epoch_end.__name__}")
        if score is None:  # a signal arrived in the course of it
            self._stop()
        return score

    def _score_of(self, collected: list[list[Any]], epoch_end: Any) -> float:
        """Log what the steps have logged, wherever they ran, and call the hook."""
        self.phase = epoch_end.__name__
        for _, notes in chain(*collected):
            self.session.log_notes(notes)
        score = epoch_end([[value for value, _ in outputs] for outputs in collected])
        self.session.write(step=self.weights.step, epoch=self.weights.epoch, again=True)
        return self._check_score(score, epoch_end)

    @contextmanager
    def _evaluating(
        self, stage: str, dataloaders: list[Any], ckpt_path: str | Path | None
    ) -> Iterator[Any]:
        """Bare models in eval mode, without gradients; afterwards everything but the weights is as it was."""
        before = self.stage, self.model, self.datasets
        with ExitStack() as stack:
            stack.enter_context(self.group.watched(self._where, lambda: self.stop_signals.received))
            stack.enter_context(self.session.opened())
            stack.enter_context(dead_workers_told())
            stack.enter_context(self.metric_pool)
            if ckpt_path is None:
                stack.enter_context(self.averaging.applied())
            stack.enter_context(self.engine.strategy.published())
            if ckpt_path is not None:
                self.load_checkpoint(ckpt_path)
            stack.enter_context(torch.no_grad())
            stack.enter_context(preserved_generators(self.device))
            stack.enter_context(evaluation_mode(self.modules.values()))
            self.stage, self.model = stage, unnamed(self.modules)
            self.datasets = dataset_names(dataloaders)
            total = num_batches(dataloaders, self.group)
            try:
                yield stack.enter_context(self.console.progress(stage, total, unit="batch"))
            finally:
                self.stage, self.model, self.datasets = before
                self.batch_idx = self.dataloader_idx = 0

    # ---- the parts of one step, for training_step in manual optimisation --------------------------

    def zero_grad(self) -> None:
        """Forget all gradients. Called before each step."""
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of ``loss``, which is a mean over the samples of the batch.

        It is scaled where the precision asks for it, and so that each sample of all processes weighs the same.
        """
        if self._share != 1:
            loss = loss * self._share
        if self.guard.is_judging:
            self.guard.add_loss(loss)
        self._make_backward_pass(loss)

    def optimizer_step(self, *optimizers: Optimizer | str) -> None:
        """Clip the gradients of these optimizers together, let them step, and advance their schedules.

        Their gradients are zeroed afterwards. Those that a backward pass leaves in the weights of *other* optimizers
        are not: where one network is trained through another, zero the other's before its own backward pass.

        Args:
            optimizers: themselves or their names.

        Raises:
            TrainingError: optimisation is automatic.
            RequestError: there is no optimizer of this name.
        """
        if self.automatic_optimization:
            raise TrainingError(
                f"{type(self).__name__} calls optimizer_step, and the trainer steps by itself; set "
                "automatic_optimization = False in the class"
            )
        chosen = [self._optimizer(o) if isinstance(o, str) else o for o in optimizers]
        self._clip_step_schedule(chosen)
        for optimizer in chosen:
            optimizer.zero_grad()
        self._has_stepped = True

    def _optimizer(self, name: str) -> Optimizer:
        if name not in self.optimizers:
            raise RequestError(
                f"there is no optimizer {name!r}; there are: {', '.join(self.optimizers) or 'none'}"
            )
        return self.optimizers[name]

    def _clip_step_schedule(self, optimizers: list[Optimizer]) -> None:
        # Where a hook decides which optimizers step, the step that is logged may have none.
        is_logged = (
            not self.automatic_optimization or (self.state.step + 1) % self.config.log_interval == 0
        )
        self.grad_norm = self.guard.clip_and_step(optimizers, must_measure=is_logged)
        if is_logged:
            self.learning_rates = self._learning_rates()
        if self.config.lr_scheduler_interval == "step" and self.lr_schedulers:
            for scheduler in self._timed_schedulers:
                if scheduler.optimizer in optimizers:
                    scheduler.step()

    def _forward(self, micro_batch: DealtBatch, batch_idx: int) -> Tensor:
        batch = self.engine.to_device(micro_batch.batch)
        # The strategies average gradients over the processes, whose shares may differ by a sample.
        self._share = micro_batch.num_own * self.world_size / micro_batch.num_samples
        output = self._autocast_training_step(batch, batch_idx)
        loss = loss_of(output)
        self.training_epoch_output.append(output, micro_batch.num_own)
        return loss

    # ---- logging -------------------------------------------------------------------------------------

    def log(self, name: str, value: Tensor | float) -> None:
        """Write a number to the trackers.

        In ``training_step`` it is written with the losses of every ``log_interval``-th step, and forgotten in the
        others; elsewhere it is written when the hook has ended.

        Args:
            name: a name with a ``/`` is taken as it is; others are put into the group of what is going on (``train``,
                ``train_epoch``, ``valid``, ``test``).
            value: a number, or a tensor with one element.
        """
        if self.stage == "train":
            if self._graphs is not None:
                raise TrainingError(
                    f"training_step logs {name!r}, and with cuda_graphs it is not called in each step; return the "
                    'value in a dict with "loss", or set cuda_graphs = false'
                )
            if self._is_quiet_step():
                return
        key = name if "/" in name else f"{self.stage}/{name}"
        self.session.keep(key, value.detach() if isinstance(value, Tensor) else value)

    def log_audio(self, name: str, waveform: Any, sample_rate: int) -> None:
        """Write a sound and its spectrogram to the trackers.

        In an evaluation, only what comes from the first ``num_audio_samples`` batches of each dataloader is written.

        Args:
            name: the same over the epochs, so that they can be compared.
            waveform: shape ``(time,)``, in [-1, 1].
            sample_rate: in Hz.
        """
        if self.batch_idx < self.config.num_audio_samples:
            self.session.log_sound(f"{self.stage}/{name}", waveform, sample_rate, self.weights.step)

    def save_audio(
        self, ids: Sequence[str], *, sample_rate: int | None = None, **signals: Any
    ) -> None:
        """Write the sound of test signals as wav files, for the players of ``audiozen report`` and for other tools.

        ``enhanced`` goes to ``enhanced/<id>.wav``, every other role to ``sounds/<role>/<id>.wav``, in a folder per
        dataset where there are several. Levels are kept. In other stages than ``test``, and with
        ``save_audio = false``, nothing is written, so that a validation step may serve both.

        Args:
            ids: one per signal, as in the table.
            sample_rate: in Hz. None: that of ``[acoustics]``.
            signals: by role, such as ``noisy``, ``enhanced`` and ``clean``: shape ``(batch, time)``, or a list of
                ``(time,)`` where lengths differ.

        Raises:
            RequestError: not as many signals as ids.
            AudioError: a signal is not finite, or the disk refuses.
        """
        if self.stage == "test" and self.config.save_audio:
            several = len(self.datasets) > 1
            dataset = self.datasets[self.dataloader_idx] if several else None
            rate = self.sample_rate if sample_rate is None else sample_rate
            write_sounds(self.folder, ids, signals, rate, dataset=dataset)

    def _latest_losses(self) -> dict[str, float]:
        return self.training_epoch_output.latest(self._num_micro_batches)

    def _log_losses(self) -> None:
        losses = self._latest_losses()
        mine = self.session.take_kept() | {f"train/{name}": loss for name, loss in losses.items()}
        pending = PendingMeans(self.group, mine, self._num_own, flag=self.guard.suspects())
        scalars: dict[str, Tensor | float] = {"grad_norm": self.grad_norm}
        if self.config.on_nonfinite == "skip":
            scalars["num_skipped_steps"] = self.guard.num_skipped_steps
        for name, learning_rate in self.learning_rates.items():
            scalars[f"lr_{name}" if name else "lr"] = learning_rate
        step, epoch = self.state.step, self.state.epoch

        def finish() -> None:
            averaged, is_suspicious = pending.result()
            self.guard.check() if is_suspicious else self.guard.acquit()
            if self.world_size > 1:
                shown = {name: averaged[f"train/{name}"] for name in losses}
                self.latest_losses = lambda: shown
            own = {f"train/{name}": value for name, value in scalars.items()}
            self.session.write_now(averaged | own, step=step, epoch=epoch)

        self._unfinished_log = finish
        if self.world_size == 1:
            self._finish_log()

    def _finish_log(self) -> None:
        """Write what the last step to be logged has given, now that it is known of all processes."""
        finish, self._unfinished_log = self._unfinished_log, None
        if finish is not None:
            finish()

    def _call_training_epoch_end(self) -> None:
        if not (self.automatic_optimization or self._has_stepped):
            logger.warning(
                "training_step has not called optimizer_step in epoch %d: nothing is trained",
                self.state.epoch,
            )
        self._finish_log()
        self.guard.check()
        self.training_epoch_output.merge(self.group)
        self.stage, self.phase = "train_epoch", "training_epoch_end"
        self.training_epoch_end(self.training_epoch_output.floats())
        self.session.write(step=self.state.step, epoch=self.state.epoch)
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
        """Copy everything that is needed to go on from here, and write it while the training goes on.

        When one before is still being written, that is waited for. See :meth:`require_saved`.
        """
        self._finish_log()
        self.guard.check()
        self.phase = "saving"
        self.state.saved_step = self.state.step
        self.training_epoch_output.merge(self.group)
        self._list_bad_samples()
        self.saving.wait()
        staged = self._stage()
        if staged is not None:
            self.saving.start(partial(self._write, staged))

    def _list_bad_samples(self) -> None:
        for samples in self.group.gather(list(self.bad_samples), "samples that are bad"):
            for sample in samples:
                self.bad_samples.add(sample)
        if len(self.bad_samples) and self.is_main_process:
            with self._told_in_training("bad_samples.csv"):
                self.bad_samples.write(self.exp_dir / "bad_samples.csv")

    def _stage(self) -> StagedCheckpoint | None:
        """Everything in memory that is kept; on the main process, while the others give it their parts."""
        strategy = self.engine.strategy
        snapshot = {**take_snapshot(self.stateful_parts()), IDENTITY: self.identity}
        training_state = strategy.whole(snapshot, keep=self.is_main_process)
        with self.averaging.applied(), strategy.published():
            if not self.is_main_process:
                return None
            return self.store.stage(
                self.state.checkpoint_name,
                epoch=self.state.epoch,
                step=self.state.step,
                models={name: module.state_dict() for name, module in self.modules.items()},
                training_state=training_state,
            )

    def _write(self, staged: StagedCheckpoint) -> None:
        """What the thread does."""
        self.tracker.flush()  # what was logged up to a checkpoint is not logged again
        self.store.write(staged)
        if not self.validation_dataloaders:
            self.store.mark_best(staged.name)
        self.store.prune()

    def _is_saved(self) -> bool:
        """Wait for the checkpoint that is being written, and try once more if it failed; the same on every process."""
        label = "whether the checkpoint is on the disk"
        if not self.group.broadcast(self.saving.succeeded(), label):
            self.save_checkpoint()
        return self.group.broadcast(self.saving.succeeded(), label)

    def require_saved(self) -> None:
        """Return when the weights as they are now, and everything to go on from them, are on the disk.

        Raises:
            CheckpointError: they cannot be written. Earlier checkpoints are whole.
        """
        if self.state.saved_step != self.state.step:
            self.state.validation_is_pending = False
            self.save_checkpoint()
        if not self._is_saved():
            raise CheckpointError(
                f"epoch {self.state.epoch}, step {self.state.step} could not be saved in {self.checkpoints_dir}; "
                "resume to go on from the newest checkpoint there"
            )
        if self.unrecorded is not None:
            raise self.unrecorded

    def load_checkpoint(self, ckpt_path: str | Path) -> Path:
        """Load the weights of a checkpoint, and nothing else.

        Args:
            ckpt_path: ``"best"``, ``"latest"``, a name or a path.

        Returns:
            The checkpoint's folder.

        Raises:
            CheckpointError: it is missing, damaged, or of another model; the text says which tensors differ.
        """
        path = self.group.broadcast(
            self.store.find(ckpt_path) if self.is_main_process else Path(),
            "which checkpoint to load",
        )
        moment = self.store.read_moment(path)
        weights = self.store.load_models(path)
        if problems := misfits(self.modules, weights):
            raise CheckpointError("\n  ".join([f"{path} does not fit:", *first_of(problems)]))
        load_matching(self.modules, weights)
        self._loaded = moment
        logger.info("weights of %s", path)
        return path

    def stateful_parts(self) -> dict[str, Stateful]:
        """Everything but the weights that a run needs to go on."""
        return name_parts(
            {
                "state": {"": self.state},
                "epoch_output": {"": self.training_epoch_output},
                "averaging": {"": self.averaging},
                "scaler": {"": self.engine.scaler},
                "finite_guard": {"": self.guard},
                "bad_samples": {"": self.bad_samples},
                "optimizer": self.optimizers,
                "lr_scheduler": self.lr_schedulers,
                "loss_function": named(
                    self.loss_function if has_state(self.loss_function) else None
                ),
                "registered": self.registered,
            }
        )

    def outcome_parts(self) -> dict[str, Stateful]:
        """What a validation changes."""
        return {"state": self.state, "score_followers": self.score_followers}

    # ---- the small questions ----------------------------------------------------------------------------

    @property
    def weights(self) -> Moment:
        """When the weights in the model were made."""
        state = self.state
        return self._loaded or Moment(state.checkpoint_name, state.epoch, state.step)

    def is_finished(self) -> bool:
        """Whether there is nothing left to train."""
        return self.is_given_up or self.end.reached(self.state)

    def _with_loss_function(self, modules: dict[str, nn.Module]) -> dict[str, nn.Module]:
        """Everything that may have weights."""
        loss = self.loss_function
        return modules | ({"loss_function": loss} if isinstance(loss, nn.Module) else {})

    def _num_metric_workers(self) -> int:
        if self.config.num_metric_workers is not None:
            return self.config.num_metric_workers
        return max(1, num_cores() // self.group.local_world_size)

    def has_own(self, hook: str) -> bool:
        """Whether the recipe has written this hook."""
        return getattr(type(self), hook) is not getattr(BaseTrainer, hook)

    def _is_quiet_step(self) -> bool:
        """Whether the step that is being made is one that is not logged."""
        return (self.state.step + 1) % self.config.log_interval != 0

    def _learning_rates(self) -> dict[str, float]:
        return {name: o.param_groups[0]["lr"] for name, o in self.optimizers.items()}

    # ---- around the loops ---------------------------------------------------------------------------------

    @contextmanager
    def _training(
        self, train_dataloader: Any, validation_dataloaders: Any
    ) -> Iterator[TrainingLoader]:
        """The model wrapped for training, messages shown, signals caught; resumed where that was asked for."""
        with ExitStack() as stack:
            stack.enter_context(self.group.watched(self._where, lambda: self.stop_signals.received))
            self.validation_dataloaders = as_dataloaders(validation_dataloaders)
            self._check_request()
            loader = TrainingLoader(
                train_dataloader,
                seed=self.config.seed,
                rank=self.rank,
                world_size=self.world_size,
                on_bad_sample=self.config.on_bad_sample,
                keeps_generators=False,  # each step seeds them
            )
            self.bad_samples = loader.bad_samples
            stack.enter_context(self._alone())
            stack.enter_context(self._status())
            stack.enter_context(self.session.opened())
            stack.enter_context(self.stop_signals)
            stack.enter_context(self._writing_to_the_end())
            stack.enter_context(dead_workers_told())
            stack.enter_context(self.metric_pool)
            logger.info("training on %s", self.engine.describe())
            if loader.inexact:
                logger.info("the train dataloader is used as it is: %s", loader.inexact)
            self.identity = run_identity(
                self.config,
                loader.identity(),
                self.modules,
                self.optimizers,
                self.lr_schedulers,
            )
            if self.resume:
                resuming.resume(self)
            if self.state.step == 0:
                resuming.start_from_the_beginning(self)
            if self.is_main_process:
                self.write_record()
            self._loaded = None
            stack.enter_context(self._prepared())
            try:
                if self.state.validation_is_pending and self.validation_dataloaders:
                    self.validate_checkpoint()
                if self.is_finished():
                    logger.info("training is over: nothing is left to do")
                yield loader
                self.require_saved()
                # It was done, but with nothing on the disk that it is of.
                if self.state.validation_is_pending:
                    self.validate_checkpoint()
            finally:
                self.phase = "the end"

    @contextmanager
    def _prepared(self) -> Iterator[None]:
        """The model as training calls it; afterwards it is again what it was."""
        strategy = self.engine.strategy
        self._wrapped = self.engine.prepare(self.modules, self.optimizers)
        self._follow(strategy.trained)
        self.model = unnamed(self._wrapped)
        self._autocast_training_step = self.engine.autocast_in(self.training_step)
        try:
            with strategy.explained(), self._as_graphs():
                yield
            strategy.leave()
            self._follow(self.modules)
        except BaseException:
            strategy.abandon()
            raise
        finally:
            self.model, self._wrapped = unnamed(self.modules), {}

    @contextmanager
    def _as_graphs(self) -> Iterator[None]:
        """Where the settings say so, a training step includes its backward pass, and both are replayed."""
        if not self.config.cuda_graphs:
            yield
            return
        modules = self._with_loss_function(self.modules).values()
        weights = dict.fromkeys(p for module in modules for p in module.parameters())
        eager = self._autocast_training_step
        self._graphs = self._autocast_training_step = StepGraphs(eager, weights, self.device)
        self._make_backward_pass = lambda _: None  # it has been made
        try:
            yield
        finally:
            self._graphs, self._autocast_training_step = None, eager
            self._make_backward_pass = self.engine.backward

    def _follow(self, modules: dict[str, nn.Module]) -> None:
        """Let everything that has to do with weights look at these."""
        self.averaging.follow(modules)
        self.guard.modules = self._with_loss_function(modules)

    def _where(self) -> Place:
        """What this process is doing; asked for by the watch, in its thread."""
        return Place(self.phase, self.state.epoch, self.state.step, self.batch_idx)

    def _alone(self) -> AbstractContextManager[None]:
        """No other run in this experiment's folder."""
        return run_lock(self.exp_dir) if self.is_main_process else nullcontext()

    def _status(self) -> AbstractContextManager[None]:
        """How the run is getting on, for those who look at the folder."""
        return run_status(self.folder.status) if self.is_main_process else nullcontext()

    @contextmanager
    def _writing_to_the_end(self) -> Iterator[None]:
        """Whatever ends the run, a checkpoint that is being written is finished; but not by a second signal."""
        try:
            yield
        except KeyboardInterrupt:
            raise
        except BaseException:
            self.saving.wait()
            raise

    def _check_request(self) -> None:
        if problems := request_problems(self):
            raise ConfigError(type(self).__name__, problems)
        if not self.resume and self.state.step == 0 and (names := self.store.names()):
            raise RequestError(
                f"{self.checkpoints_dir} has checkpoints already ({', '.join(names)}); resume, choose another "
                "folder, or delete them"
            )

    def _warn_of_shared_ids(self, table: ScoreTable) -> None:
        """Say it where the weights that are tested were chosen by the same signals."""
        validated = self.folder.tables(f"valid_{self.weights.name}").values()
        try:
            ids = [str(record.get("id")) for path in validated for record in read_csv(path)]
        except AudioZENError as error:
            logger.warning("validation and test signals are not compared: %s", error)
            return
        if shared := shared_ids(ids, table.ids()):
            logger.warning("%s", warning_of(shared, len(table.ids())))

    def _meet(self) -> Wishes:
        """What any process has reason to do."""
        wishes = Wishes(
            stop=self.stop_signals.received is not None,
            save=self.save_due.by_clock(),
            validate=self.validation_due.by_clock(),
        )
        return self.agreement.meet(wishes, self.state.step, self.grad_norm)

    def _stop_if_asked(self) -> None:
        if self._meet().stop:
            self._stop()

    def _stop(self) -> NoReturn:
        self.require_saved()
        who = self.stop_signals.received or self.group.stop_requested
        raise Preempted(
            f"stopped by {who or 'a signal to another process'} at epoch {self.state.epoch}, step {self.state.step}; "
            f"everything is saved in {self.checkpoints_dir}: resume to go on"
        )

    @contextmanager
    def _told_in_training(self, what: str) -> Iterator[None]:
        """A disk that refuses a file which nothing depends on does not end a training."""
        try:
            yield
        except OSError as error:
            if not self._wrapped:
                raise
            logger.error("%s could not be written: %s; training goes on", what, error)  # noqa: TRY400 - told, not traced

    def _check_score(self, score: Any, hook: Any) -> float:
        if isinstance(score, Tensor) and score.numel() == 1:
            score = score.item()
        if not isinstance(score, (int, float)):
            raise TrainingError(
                f"{type(self).__name__}.{hook.__name__} must return the score, a float; it returned {score!r}"
            )
        return float(score)


def describe_step(
    loader: TrainingLoader, epoch: int, step: int, start: int, num_samples: int
) -> str:
    """Which step it is and what it is made of; asked for only where something is wrong with it."""
    indices = loader.sample_indices(epoch, start, num_samples)
    samples = "" if indices is None else f" (samples {', '.join(map(str, indices))})"
    return f"epoch {epoch}, step {step}{samples}"


def named(thing: T | dict[str, T] | None) -> dict[str, T]:
    """Things by name; the only one is called ``""``."""
    if thing is None:
        return {}
    return thing if isinstance(thing, dict) else {"": thing}


def unnamed(things: dict[str, T]) -> T | dict[str, T]:
    """The opposite of :func:`named`."""
    return things[""] if set(things) == {""} else things


def has_state(thing: Any) -> bool:
    """Whether a loss has weights or buffers that a checkpoint must carry."""
    return isinstance(thing, nn.Module) and bool(thing.state_dict())
