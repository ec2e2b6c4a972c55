"""``audiozen check``: what is wrong with an experiment, and what it will cost, before it costs anything."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from audiozen.cli.request import ConfigFile, Overrides, read_experiment
from audiozen.cli.throughput import (
    LOADING,
    MAX_SECONDS,
    advice,
    largest_part,
    seconds_of_step,
    try_workers,
    where_a_step_goes,
    where_a_validation_goes,
)
from audiozen.config.locate import explain
from audiozen.data.shared_ids import ids_of, shared_ids, warning_of
from audiozen.errors import AudioZENError, ConfigError, RequestError
from audiozen.processes import memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import nn
    from torch.utils.data import DataLoader

    from audiozen.experiment import Experiment
    from audiozen.trainer.base_trainer import BaseTrainer

NUM_STEPS = 3
"""Steps of training: the first one is slower than the others."""
NUM_NAMES = 3
"""Names that one line lists."""
AUDIO_SUFFIXES = (".wav", ".flac")


def check(config: ConfigFile, overrides: Overrides = None) -> None:
    """Find what is wrong before it costs anything.

    One batch goes through training, validation and test; then it is measured where the time of a few real steps goes.
    Nothing is kept.
    """
    with TemporaryDirectory(prefix="audiozen-check-") as folder:
        short = [f"meta.save_dir={json.dumps(folder)}", f"trainer.args.max_steps={NUM_STEPS}"]
        experiment = read_experiment(config, [*(overrides or ()), *short])
        findings = Findings(experiment.resolved.search_dirs)
        findings.ok("configuration", str(config))
        Check(experiment, findings).run()
    if findings.num_problems:
        raise RequestError(f"problems found: {findings.num_problems}")


class Findings:
    """One line for each thing that was looked at.

    Args:
        folders: where the user's own code is; errors are told with the place there.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = folders
        self.num_problems = 0

    def ok(self, subject: str, text: str) -> None:
        """It is as it should be, or simply a fact."""
        self._say("ok", subject, text)

    def warn(self, subject: str, text: str) -> None:
        """It may be meant so."""
        self._say("warning", subject, text)

    def problem(self, subject: str, text: str) -> None:
        """It cannot work."""
        self.num_problems += 1
        self._say("problem", subject, text)

    @contextmanager
    def attempt(self, subject: str) -> Iterator[None]:
        """Turn what is raised into a problem, and what is printed into nothing."""
        try:
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                yield
        except ConfigError as error:
            for problem in error.problems:
                self.problem(subject, problem)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a user's code raises
            self.problem(subject, self.explain(error))

    def explain(self, error: BaseException) -> str:
        """The text of the error, and where in the user's code it happened."""
        text = explain(error, self.folders)
        is_theirs = any(str(folder) in text for folder in self.folders)
        return str(error) if isinstance(error, AudioZENError) and not is_theirs else text

    def _say(self, kind: str, subject: str, text: str) -> None:
        typer.echo(f"{kind:8} {subject:18} {text}")


class Batch(NamedTuple):
    """One batch, in the place of a dataloader."""

    content: Any
    name: str
    seconds: float  # to load it, in one process
    num_batches: int | None  # that the dataloader has
    num_workers: int


class Repeated:
    """A dataloader that gives the same batch a few times."""

    def __init__(self, batch: Batch, num: int = 1) -> None:
        self.batch, self.num = batch.content, num
        self.name = batch.name

    def __len__(self) -> int:
        return self.num

    def __iter__(self) -> Iterator[Any]:
        for _ in range(self.num):
            yield self.batch


class Check:
    """Looks at the data, the model, every stage and the costs, in this order."""

    def __init__(self, experiment: Experiment, findings: Findings) -> None:
        self.experiment = experiment
        self.findings = findings
        self.inputs: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {}
        self.seconds: dict[str, float] = {}
        self.ids: dict[str, set[str]] = {}

    def run(self) -> None:
        """Look at everything. What depends on something broken is left out."""
        train = self.load("train_dataset", lambda: [self.experiment.train_dataloader()])
        valid = self.load("validate_dataset", self.experiment.validation_dataloaders)
        test = self.load("test_dataset", self.experiment.test_dataloaders)
        self.compare_ids()
        trainer = self.build_trainer()
        if trainer is None:
            return
        if train:
            self.train(trainer, train[0])
        if valid and self.evaluate("validation_step", trainer.validate, valid):
            self.measure_validation(trainer, valid)
        if test:
            self.evaluate("test_step", trainer.test, test)
        self.tell_cost(trainer)
        if train:
            self.tell_where_time_goes(trainer)
        if train and "training_step" in self.seconds:
            self.findings.ok("time per epoch", self.time_per_epoch(trainer, train[0], valid))

    # ---- data ----------------------------------------------------------------------------------

    def load(self, table: str, build: Callable[[], list[DataLoader[Any]]]) -> list[Batch]:
        """The first batch of each dataloader of a table."""
        batches: list[Batch] = []
        ids = self.ids[table] = set()
        if getattr(self.experiment.config, table):
            with self.findings.attempt(table):
                for dataloader in build():
                    refuse_missing_files(dataloader.dataset)
                    ids.update(ids_of(dataloader.dataset) or ())
                    batches.append(first_batch(dataloader))
        for batch in batches:
            num = batch.num_batches
            length = "" if num is None else f"{num} {'batch' if num == 1 else 'batches'} of "
            self.findings.ok(table, length + describe(batch.content))
        return batches

    def compare_ids(self) -> None:
        """Whether the best checkpoint is chosen by signals that it is tested on."""
        validation, test = self.ids["validate_dataset"], self.ids["test_dataset"]
        if shared := shared_ids(validation, test):
            self.findings.warn("test_dataset", warning_of(shared, len(test)))

    # ---- model ---------------------------------------------------------------------------------

    def build_trainer(self) -> BaseTrainer | None:
        """The trainer, quiet; None if it cannot be built."""
        from audiozen.complexity import count_parameters
        from audiozen.tracking.console import SilentConsole
        from audiozen.tracking.tracker import Tracker
        from audiozen.trainer.session import Session

        trainer = None
        with self.findings.attempt("model"):
            trainer = self.experiment.build_trainer()
            trainer.session = Session(
                trainer.exp_dir, Tracker(), SilentConsole(), is_main_process=trainer.is_main_process
            )
        for name, module in trainer.modules.items() if trainer else ():
            total, trainable = count_parameters(module)
            self.findings.ok(
                name or "model", f"{total:,} parameters, {trainable:,} of them trainable"
            )
        return trainer

    # ---- stages --------------------------------------------------------------------------------

    def train(self, trainer: BaseTrainer, batch: Batch) -> None:
        """A few steps on one batch: forward, backward, optimizer, schedule, checkpoint."""
        self.watch_inputs(trainer.modules)
        durations = watch_updates(trainer)
        num_batches = NUM_STEPS * trainer.config.gradient_accumulation_steps
        attempt = self.findings.attempt("training_step")
        with watch_gradients(trainer.modules) as without_gradient, attempt:
            trainer.train(Repeated(batch, num_batches))
            self.seconds["training_step"] = min(durations[1:] or durations)
        if "training_step" not in self.seconds:
            return
        self.findings.ok("training_step", f"{1000 * self.seconds['training_step']:.0f} ms per step")
        if without_gradient:
            self.findings.warn("gradients", f"none for {some(sorted(without_gradient))}")
        else:
            self.findings.ok("gradients", "every trainable parameter gets one")

    def evaluate(self, stage: str, run: Callable[..., float], batches: Sequence[Batch]) -> bool:
        """One batch of each dataset through the hooks; whether they went through."""
        score = None
        with self.findings.attempt(stage):
            score = run([Repeated(batch) for batch in batches], ckpt_path=None)
        if score is not None:
            self.findings.ok(stage, f"score {score:.4f}, without training")
        return score is not None

    # ---- time ----------------------------------------------------------------------------------

    def measure_validation(self, trainer: BaseTrainer, batches: Sequence[Batch]) -> None:
        """Model against metrics, on the batches that are set up already."""
        from audiozen.trainer.metric_time import watched_evaluation

        took = None
        with self.findings.attempt("validation_step"):
            with watched_evaluation(trainer, "validation_step") as watch:
                trainer.validate([Repeated(batch) for batch in batches])
            took = watch.read()
        if took is not None:
            self.seconds["validation_step"] = took.estimate()
            self.findings.ok("validation", where_a_validation_goes(took, len(batches)))

    def tell_where_time_goes(self, trainer: BaseTrainer) -> None:
        """The parts of real steps, with the data and workers of the experiment; and what the largest asks for."""
        from audiozen.trainer.step_parts import measure_steps

        subject = "where a step goes"
        if "training_step" not in self.seconds:
            self.findings.ok(subject, "not measured, as training_step failed")
            return
        measured = None
        with self.findings.attempt("train_dataset"):
            dataloader = self.experiment.train_dataloader()
            measured = measure_steps(trainer, dataloader, max_seconds=MAX_SECONDS)
        if measured is None:
            return
        if not measured.num_steps:
            self.findings.ok(subject, "not measured, as an epoch has too few steps")
            return
        self.seconds["step"] = seconds_of_step(measured)
        self.findings.ok(subject, where_a_step_goes(measured, trainer.device.type))
        part = largest_part(measured)
        text = (
            try_workers(trainer, self.experiment.train_dataloader, measured, self.findings.explain)
            if part in LOADING
            else advice(part, trainer)
        )
        self.findings.ok("largest part", f"{part}: {text}")

    # ---- costs ---------------------------------------------------------------------------------

    def watch_inputs(self, modules: Mapping[str, nn.Module]) -> None:
        """Keep what each model is called with first."""
        for name, module in modules.items():

            def keep(
                _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], name: str = name
            ) -> None:
                self.inputs.setdefault(name, (args, kwargs))

            module.register_forward_pre_hook(keep, with_kwargs=True)

    def tell_cost(self, trainer: BaseTrainer) -> None:
        """Memory, and of each model multiply-accumulates, look-ahead and speed."""
        self.findings.ok("memory", peak_memory(trainer.device.type))
        acoustics = self.experiment.config.acoustics
        for name, (args, kwargs) in self.inputs.items():
            model, of_name = trainer.modules[name], f" of {name}" if name else ""
            if acoustics and takes_waveform(args, kwargs):
                self.tell_complexity(model, acoustics.sample_rate, of_name)
            else:
                self.findings.ok(f"MACs{of_name}", self.macs_per_batch(model, args, kwargs))

    def tell_complexity(self, model: nn.Module, sample_rate: int, of_name: str) -> None:
        """What a model costs and how late it answers; or why that could not be found out."""
        from audiozen.complexity import describe

        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            facts = describe(model, sample_rate, explain=self.findings.explain)
        for subject, text in complexity_lines(facts, sample_rate):
            self.findings.ok(f"{subject}{of_name}", text)

    def macs_per_batch(
        self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> str:
        """Of a model that does not take a waveform alone."""
        from audiozen.complexity import count_macs

        try:
            return f"{count_macs(model, *args, **kwargs) / 1e6:,.1f} M per batch"
        except Exception as error:  # noqa: BLE001 - whatever a user's model raises
            return f"not found out: {self.findings.explain(error)}"

    def time_per_epoch(self, trainer: BaseTrainer, train: Batch, valid: Sequence[Batch]) -> str:
        """An estimate: steps, loading and validation."""
        if train.num_batches is None:
            return "unknown, as the dataset does not know its length"
        batches_per_step = trainer.config.gradient_accumulation_steps
        per_batch = self.seconds_per_step(train, batches_per_step) / batches_per_step
        text = f"about {duration(train.num_batches * per_batch)}"
        counts = [batch.num_batches for batch in valid]
        if "validation_step" in self.seconds and None not in counts:
            loading = sum(batch.seconds * (batch.num_batches or 0) for batch in valid)
            scoring = self.seconds["validation_step"] * sum(filter(None, counts)) / len(counts)
            text += f", and {duration(loading + scoring)} per validation"
        return text

    def seconds_per_step(self, train: Batch, num_batches: int) -> float:
        """As measured; else an estimate from one step and the loading of one batch.

        Args:
            train: how long it takes to load.
            num_batches: of a step.
        """
        if "step" in self.seconds:
            return self.seconds["step"]
        compute, loading = self.seconds["training_step"], train.seconds * num_batches
        workers = train.num_workers
        return max(compute, loading / workers) if workers else compute + loading


def takes_waveform(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a model is called with ``(batch, time)`` and nothing else."""
    return len(args) == 1 and not kwargs and getattr(args[0], "ndim", 0) == 2


def complexity_lines(facts: Mapping[str, Any], sample_rate: int) -> Iterator[tuple[str, str]]:
    """Subject and text of what :func:`audiozen.complexity.describe` found out."""
    if facts["macs_per_second"] is not None:
        yield "MACs", f"{facts['macs_per_second'] / 1e6:,.1f} M per second of audio"
    samples = facts["look_ahead_samples"]
    if facts["looks_at_whole_signal"]:
        yield "look-ahead", "the whole signal: the output begins when the input has ended"
    elif samples is not None:
        ms = 1000 * samples / sample_rate
        yield "look-ahead", f"{samples:,} samples, {ms:.1f} ms" if samples else "none: causal"
        hops = f", in hops of {facts['hop_length']} samples" if facts["hop_length"] else ""
        yield "latency", f"{facts['latency_ms']:.1f} ms, algorithmic{hops}"
    if facts["real_time_factor"] is not None:
        factor = f"{facts['real_time_factor']:.4f} offline"
        if facts["real_time_factor_streaming"] is not None:
            factor += f", {facts['real_time_factor_streaming']:.4f} frame by frame"
        threads = "1 thread" if facts["num_threads"] == 1 else f"{facts['num_threads']} threads"
        yield "real-time factor", f"{factor}; {threads} of {facts['cpu']}"
    for note in facts["notes"]:
        subject, _, reason = note.partition(": ")
        yield subject, f"not found out: {reason}"


def first_batch(dataloader: DataLoader[Any]) -> Batch:
    """Load two batches, as the first one pays for what is set up once; in this process, for plain errors."""
    num_workers, dataloader.num_workers = dataloader.num_workers, 0
    batches, times = [], [time.perf_counter()]
    for batch in islice(dataloader, 2):
        batches.append(batch)
        times.append(time.perf_counter())
    if not batches:
        raise RequestError("the dataset gave no batch")
    try:
        num_batches = len(dataloader)
    except TypeError:
        num_batches = None
    name = getattr(dataloader, "name", "")
    return Batch(batches[0], name, times[-1] - times[-2], num_batches, num_workers)


def refuse_missing_files(dataset: object) -> None:
    """Look for every sound file that a dataset names.

    Raises:
        RequestError: some do not exist.
    """
    missing = sorted({str(path) for path in sound_files(dataset, depth=3) if not path.exists()})
    if missing:
        raise RequestError(f"sound files that do not exist: {some(missing)}")


def sound_files(thing: object, depth: int) -> Iterator[Path]:
    """Absolute paths of sound files among the attributes of an object, and in lists and tables there."""
    if isinstance(thing, (str, Path)):
        if str(thing).endswith(AUDIO_SUFFIXES) and Path(thing).is_absolute():
            yield Path(thing)
        return
    if isinstance(thing, Mapping):
        parts: Any = thing.values()
    elif isinstance(thing, (list, tuple)):
        parts = thing
    else:
        parts = getattr(thing, "__dict__", {}).values()
        depth -= 1
    for part in parts if depth >= 0 else ():
        yield from sound_files(part, depth)


@contextmanager
def watch_gradients(modules: Mapping[str, nn.Module]) -> Iterator[set[str]]:
    """Names of the trainable parameters; one that gets a gradient within the context vanishes from the set."""
    waiting = set()
    with ExitStack() as stack:
        for model, module in modules.items():
            for key, parameter in module.named_parameters():
                if parameter.requires_grad:
                    name = f"{model}.{key}" if model else key
                    waiting.add(name)
                    handle = parameter.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
                        lambda _, name=name: waiting.discard(name)
                    )
                    stack.callback(handle.remove)
        yield waiting


def watch_updates(trainer: BaseTrainer) -> list[float]:
    """Seconds of each step that the trainer makes from now on."""
    import torch

    durations: list[float] = []
    update = trainer.update

    def timed_update(micro_batches: Any) -> None:
        start = time.perf_counter()
        update(micro_batches)
        if trainer.device.type != "cpu":
            torch.accelerator.synchronize()
        durations.append(time.perf_counter() - start)

    trainer.update = timed_update  # type: ignore[method-assign]
    return durations


def peak_memory(device_type: str) -> str:
    """The most memory that was used: of the GPU where there is one, else of this process."""
    import torch

    if device_type == "cuda":
        return f"{torch.cuda.max_memory_allocated() / 2**20:,.0f} MiB of the GPU at most"
    peak = memory.peak_memory()
    if peak is None:
        return "how much, this system does not tell"
    return f"{peak / 2**20:,.0f} MiB of this process at most"


def describe(content: Any) -> str:
    """What a batch is made of, such as ``(8, 16000) float32, 8 x str``."""
    import torch

    if isinstance(content, torch.Tensor):
        shape = ", ".join(map(str, content.shape))
        return f"({shape}) {str(content.dtype).removeprefix('torch.')}"
    if isinstance(content, Mapping):
        return ", ".join(f"{key} {describe(value)}" for key, value in content.items())
    if isinstance(content, (list, tuple)) and content:
        kinds = {type(item) for item in content}
        if len(kinds) == 1 and kinds <= {str, int, float, bool}:
            return f"{len(content)} x {kinds.pop().__name__}"
        return ", ".join(describe(item) for item in content)
    return type(content).__name__


def some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    listed = ", ".join(names[:NUM_NAMES])
    return f"{listed} and {len(names) - NUM_NAMES} more" if len(names) > NUM_NAMES else listed


def duration(seconds: float) -> str:
    """A duration for people."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    if seconds < 6000:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"
