"""Every setting of AudioZEN, its default and its meaning, once.

A table of an experiment file is one class here; ``ExperimentConfig`` is the file. Keys that a class does not have are
refused, with a suggestion. ``docs/settings.md`` is made of this module.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from audiozen.config.settings import Settings, as_table, build_settings, kinds_of
from audiozen.config.values import Limits

__all__ = [
    "AcousticsConfig",
    "DataLoaderConfig",
    "DatasetConfig",
    "ExperimentConfig",
    "Interval",
    "MetaConfig",
    "SaveInterval",
    "TargetConfig",
    "TrainerConfig",
]

PositiveInt = Annotated[int, Limits(gt=0)]
NonNegativeInt = Annotated[int, Limits(ge=0)]
PositiveFloat = Annotated[float, Limits(gt=0)]
Seed = Annotated[int, Limits(ge=0, le=2**32 - 1)]


def no_nul(value: str | list[str] | None) -> str | None:
    """What is wrong with paths that have a character which no system allows in them."""
    return "a path cannot contain the character NUL" if "\0" in "".join(value or "") else None


def name_of_folder(value: str | None) -> str | None:
    """What is wrong with a name that no folder can have."""
    if value is not None and (value in ("", ".", "..") or set(value) & set("/\\\0")):
        return f"{value!r} cannot be the name of a folder; put folders into [meta] save_dir"
    return None


@dataclass(frozen=True, kw_only=True)
class Interval(Settings):
    """How often something happens. Several may be given; each is due on its own. None given: never."""

    epochs: PositiveInt | None = None
    """Every so many epochs, at the end of the epoch."""
    steps: PositiveInt | None = None
    """Every so many steps (optimizer updates), also inside an epoch."""


@dataclass(frozen=True, kw_only=True)
class SaveInterval(Interval):
    """How often a checkpoint is written. Steps and minutes are besides the epochs."""

    epochs: PositiveInt | None = 1
    """Every so many epochs, at the end of the epoch."""
    minutes: PositiveFloat | None = None
    """Every so many minutes, also inside an epoch."""


@dataclass(frozen=True, kw_only=True)
class TrainerConfig(Settings):
    """``[trainer.args]``: when the loop stops, how one step is made, and what is kept."""

    max_epochs: PositiveInt | None = None
    """Last epoch to train. With neither this nor max_steps: 100."""
    max_steps: PositiveInt | None = None
    """Train exactly so many steps (optimizer updates), also if that ends inside an epoch."""
    gradient_accumulation_steps: PositiveInt = 1
    """Micro-batches per step. k of them equal one batch k times larger."""
    max_grad_norm: PositiveFloat = math.inf
    """Gradients are scaled down to this norm before the step. inf: measured, never clipped."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the forward pass. fp16 scales the loss; weights stay in fp32."""
    compile: bool = False
    """Run the model through torch.compile."""
    cuda_graphs: bool = False
    """On one GPU: launch the forward and backward pass of a step as one CUDA graph for each shape of a batch. Python in
    training_step then runs in the first steps only; see throughput.md."""
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    """How several processes share the work. ddp: each has the whole model. fsdp: each has a part of the weights,
    gradients and optimizer states, which takes less memory and more time. auto: ddp where there are several."""
    fsdp_units: list[str] = field(default_factory=list)
    """With strategy = "fsdp": names of classes; the weights of each module of them are put together one module at a
    time. Empty: those of the whole model at once."""
    find_unused_parameters: bool = False
    """With strategy = "ddp": allow weights that training_step does not use in every step. Costs a little time."""
    stall_timeout: PositiveFloat | None = 1800.0
    """Several processes: seconds after which a run in which none of them moves is ended, saying where each of them is.
    More than the longest hook takes. None: never."""
    contact_timeout: PositiveFloat | None = 60.0
    """Several processes: seconds without a sign of life of one of them after which the others end. None: never."""
    device: str = "auto"
    """auto: a GPU where there is one. Else a torch device, such as "cpu" or "cuda:1"."""
    num_threads: PositiveInt | None = None
    """Threads of one operation on the CPU. None: what PyTorch chooses, and of several processes no more than the share
    of each in the machine's cores."""
    deterministic: bool = False
    """Refuse operations that do not give the same bits twice."""
    seed: Seed = 0
    """Start of all random numbers. In an experiment, [meta] seed sets it."""

    lr_scheduler_interval: Literal["step", "epoch"] = "step"
    """When the learning-rate schedule advances. ReduceLROnPlateau always follows the score."""
    ema_decay: Annotated[float, Limits(ge=0, lt=1)] | None = None
    """Evaluate and publish a moving average of the weights with this decay. None: the weights."""
    on_nonfinite: Literal["raise", "skip", "ignore"] = "raise"
    """A loss or gradient that is NaN or infinite. raise: stop before it is saved. skip: leave out the
    step and count it. ignore: go on."""
    max_skips_in_a_row: PositiveInt = 10
    """With on_nonfinite = "skip": give up after so many steps in a row that had to be left out."""
    on_bad_sample: Literal["raise", "skip"] = "raise"
    """A training sample that cannot be loaded. raise: stop and name it. skip: take another one in its
    place, always the same, and list it in bad_samples.csv. Evaluations always stop."""
    init_from: str | None = None
    """Weights to start from: a checkpoint's folder or a .safetensors file. Tensors that the model lacks, or has in
    another shape, are told and left out. Where a run is resumed, this does nothing."""

    validation_interval: Interval = Interval(epochs=1)
    """How often to validate. A checkpoint is taken before each validation, and written while it runs."""
    best_metric: str | None = None
    """Column of the validation table that decides the best checkpoint. None: the only one there is."""
    higher_is_better: bool = True
    """Direction of the score."""
    patience: PositiveInt | None = None
    """Stop after so many validations in a row without a better score. None: never."""

    save_interval: SaveInterval = SaveInterval(epochs=1)
    """How often to write a checkpoint. One is always written at the end of training."""
    max_num_checkpoints: PositiveInt = 3
    """How many of the newest checkpoints to keep. The best one is kept besides."""
    log_interval: PositiveInt = 10
    """Losses are logged every so many steps."""
    num_audio_samples: NonNegativeInt = 4
    """Signals per evaluation dataloader that log_audio writes to the tracker."""
    save_audio: bool = True
    """Write the signals that a test step gives to save_audio; audiozen report plays them."""
    num_metric_workers: NonNegativeInt | None = None
    """Processes that compute slow metrics beside the model. None: one per core, divided among the processes of the
    machine. 0: none; metrics are computed in turn. The values do not depend on it."""

    def problems(self) -> list[str]:
        """What does not go together."""
        problems = []
        if self.strategy == "fsdp" and self.precision == "fp16":
            problems.append('precision: "fp16" does not go with strategy = "fsdp"; take "bf16"')
        if self.cuda_graphs:
            problems += self._graph_problems()
        return problems

    def _graph_problems(self) -> list[str]:
        """What does not go with ``cuda_graphs``; a trainer knows of more."""
        problems = []
        if self.precision == "fp16":
            problems.append('precision: "fp16" does not go with cuda_graphs; take "bf16"')
        if self.gradient_accumulation_steps > 1:
            problems.append(
                "gradient_accumulation_steps: must be 1 with cuda_graphs; take larger batches instead"
            )
        if self.strategy != "auto":
            problems.append(
                f'strategy: "{self.strategy}" does not go with cuda_graphs, which are for one process; take "auto"'
            )
        return problems


@dataclass(frozen=True, kw_only=True)
class MetaConfig(Settings):
    """``[meta]``: what the experiment is called and where it goes."""

    save_dir: Annotated[str, no_nul] = "exp"
    """Folder of all experiments. Relative to the current folder."""
    exp_id: Annotated[str | None, name_of_folder] = None
    """Name of this experiment's folder. None: the name of the file without its ending."""
    seed: Seed = 0
    """Start of all random numbers."""
    description: str = ""
    """Free text."""
    deterministic: bool = False
    """Refuse operations that do not give the same bits twice."""
    code_dirs: Annotated[list[str] | None, no_nul] = None
    """Folders in which a path is looked up before the installed packages. None: the folder of the file and its
    parent, then those of the file that it extends."""


@dataclass(frozen=True, kw_only=True)
class AcousticsConfig(Settings):
    """``[acoustics]``: stated once, offered to model, loss, data and trainer by the names of its keys.

    A class or function that has a parameter of that name gets the value, unless its args state another.
    """

    sample_rate: PositiveInt
    """Samples per second, in Hz."""
    n_fft: PositiveInt = 512
    """Length of the Fourier transform, in samples."""
    hop_length: PositiveInt = 256
    """Samples from one frame to the next; at most win_length."""
    win_length: PositiveInt = 512
    """Length of the window, in samples; at most n_fft."""

    def problems(self) -> list[str]:
        """What does not go together."""
        problems = []
        if self.win_length > self.n_fft:
            problems.append(
                f"win_length: {self.win_length} is longer than n_fft ({self.n_fft}); "
                "lower it or raise n_fft"
            )
        if self.hop_length > self.win_length:
            problems.append(
                f"hop_length: {self.hop_length} is longer than win_length ({self.win_length}), "
                "so samples between the frames would be lost; lower it"
            )
        return problems


@dataclass(frozen=True, kw_only=True)
class TargetConfig(Settings):
    """A class or function and what it is called with."""

    path: str
    """Dotted name: looked up beside the experiment file, then in its parent, then in packages."""
    args: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments. A table with path (and args) among them is built first."""


@dataclass(frozen=True, kw_only=True)
class DataLoaderConfig(Settings):
    """``[train_dataset.dataloader]``: how samples become batches."""

    batch_size: PositiveInt = 1
    """Samples per process and forward pass."""
    shuffle: bool | None = None
    """Draw the samples in a new order each epoch. None: yes in training, no in evaluation."""
    num_workers: NonNegativeInt = 0
    """Processes that load samples. The samples do not depend on it."""
    drop_last: bool = False
    """Leave out the last batch of an epoch where it is short."""
    pin_memory: bool = False
    """Load into page-locked memory, for faster copies to a GPU. Without a GPU it does nothing."""
    prefetch_factor: PositiveInt | None = None
    """Batches that each worker loads ahead. None: 2. Without workers it does nothing."""
    persistent_workers: bool = True
    """Keep the workers between epochs. Without workers it does nothing."""
    collate_fn: str | None = None
    """Dotted name of a function that makes a batch of a list of samples. None: PyTorch's own."""


@dataclass(frozen=True, kw_only=True)
class DatasetConfig(TargetConfig):
    """Samples, and how they become batches.

    There may be several of ``[[validate_dataset]]`` and ``[[test_dataset]]``, each scored on its own; one alone may be
    written ``[test_dataset]``.
    """

    name: str | None = None
    """What tables and curves call this dataset. None: its number, from 0."""
    dataloader: DataLoaderConfig = DataLoaderConfig()
    """How samples become batches."""


Targets = TargetConfig | dict[str, TargetConfig]
Datasets = list[DatasetConfig]


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig(Settings):
    """One experiment file.

    ``[model]``, ``[optimizer]`` and ``[lr_scheduler]`` are one target each, or tables of named ones
    (``[model.generator]``, ``[model.discriminator]``): a named optimizer gets the parameters of the model of its
    name, a named schedule the optimizer of its name.
    """

    is_file: ClassVar[bool] = True

    meta: MetaConfig = MetaConfig()
    """What the experiment is called and where it goes."""
    trainer: TargetConfig
    """The class that trains, and its settings. Args that are not settings go to its constructor."""
    acoustics: AcousticsConfig | None = None
    """Sample rate and transform, stated once."""
    model: Targets
    """The model, or named ones."""
    loss_function: TargetConfig | None = None
    """A class that is built, or a function that is taken as it is, with args bound to it."""
    optimizer: Targets | None = None
    """Called with the parameters of the model first."""
    lr_scheduler: Targets | None = None
    """Called with the optimizer first."""
    train_dataset: DatasetConfig | None = None
    """What is trained on."""
    validate_dataset: Datasets = field(default_factory=list)
    """One table, or several: what the best checkpoint is chosen by."""
    test_dataset: Datasets = field(default_factory=list)
    """One table, or several: what ``audiozen test`` scores."""

    @property
    def trainer_config(self) -> TrainerConfig:
        """The settings among ``[trainer.args]``, with seed and deterministic of ``[meta]``."""
        settings = trainer_settings(as_table(self.meta), self.trainer.args)
        return build_settings(TrainerConfig, settings, source="[trainer.args]")

    @property
    def trainer_extras(self) -> dict[str, Any]:
        """Those of ``[trainer.args]`` that are no settings: arguments of the recipe's own trainer."""
        known = kinds_of(TrainerConfig)
        return {key: value for key, value in self.trainer.args.items() if key not in known}


def trainer_settings(meta: dict[str, Any], args: dict[str, Any]) -> dict[str, Any]:
    """Fields of TrainerConfig out of ``[meta]`` and ``[trainer.args]``."""
    shared = {key: meta[key] for key in ("seed", "deterministic") if key in meta}
    return shared | {key: value for key, value in args.items() if key in kinds_of(TrainerConfig)}
