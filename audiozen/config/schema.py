"""Every setting of AudioZEN, its default and its meaning, once.

A table of an experiment file is one class here. Keys that a class does not have are refused, with a suggestion.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

PositiveInt = Annotated[int, Field(gt=0, strict=True)]
NonNegativeInt = Annotated[int, Field(ge=0, strict=True)]
PositiveFloat = Annotated[float, Field(gt=0, strict=True)]


class Settings(BaseModel):
    """A frozen table of settings that refuses unknown keys."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, allow_inf_nan=True
    )


class Interval(Settings):
    """How often something happens. Several may be given; each is due on its own."""

    epochs: PositiveInt | None = None
    """Every so many epochs, at the end of the epoch."""
    steps: PositiveInt | None = None
    """Every so many steps (optimizer updates), also inside an epoch."""


class SaveInterval(Interval):
    """How often a checkpoint is written."""

    minutes: PositiveFloat | None = None
    """Every so many minutes, also inside an epoch."""


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
    strategy: Literal["auto", "ddp"] = "auto"
    """How several processes share the work. auto: ddp where there are several."""
    device: str = "auto"
    """auto: a GPU where there is one. Else a torch device, such as "cpu" or "cuda:1"."""
    num_threads: PositiveInt | None = None
    """Threads of one operation on the CPU. None: what PyTorch chooses."""
    deterministic: bool = False
    """Refuse operations that do not give the same bits twice."""
    seed: NonNegativeInt = 0
    """Start of all random numbers. In an experiment, [meta] seed sets it."""

    lr_scheduler_interval: Literal["step", "epoch"] = "step"
    """When the learning-rate schedule advances. ReduceLROnPlateau always follows the score."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Evaluate and publish a moving average of the weights with this decay. None: the weights."""
    on_nonfinite: Literal["raise", "skip", "ignore"] = "raise"
    """A loss or gradient that is NaN or infinite. raise: stop before it is saved. skip: leave out the
    step and count it (reads one number from the device in each step). ignore: go on."""

    validation_interval: Interval = Interval(epochs=1)
    """How often to validate. A checkpoint is written before each validation."""
    best_metric: str | None = None
    """Column of the validation table that decides the best checkpoint. None: the only one there is."""
    higher_is_better: bool = True
    """Direction of the score."""
    patience: PositiveInt | None = None
    """Stop after so many validations in a row without a better score. None: never."""

    save_interval: SaveInterval = SaveInterval(epochs=1)
    """How often to write a checkpoint. One is always written at the end of training."""
    max_num_checkpoints: PositiveInt = 3
    """How many of the newest checkpoints to keep. latest and best are kept besides."""
    log_interval: PositiveInt = 10
    """Losses are logged every so many steps."""
    num_audio_samples: NonNegativeInt = 4
    """Signals per evaluation dataloader that log_audio writes to the tracker."""


class MetaConfig(Settings):
    """``[meta]``: what the experiment is called and where it goes."""

    save_dir: str = "exp"
    """Folder of all experiments. Relative to the current folder."""
    exp_id: str | None = None
    """Name of this experiment's folder. None: the name of the file without its ending."""
    seed: NonNegativeInt = 0
    """Start of all random numbers."""
    description: str = ""
    """Free text."""
    deterministic: bool = False
    """Refuse operations that do not give the same bits twice."""


class AcousticsConfig(Settings):
    """``[acoustics]``: stated once, offered to model, data and trainer by the names of its keys."""

    sample_rate: PositiveInt
    """Samples per second, in Hz."""
    n_fft: PositiveInt = 512
    """Length of the Fourier transform, in samples."""
    hop_length: PositiveInt = 256
    """Samples from one frame to the next."""
    win_length: PositiveInt = 512
    """Length of the window, in samples; at most n_fft."""


class TargetConfig(Settings):
    """A class or function and what it is called with."""

    path: str
    """Dotted name: looked up beside the experiment file, then in its parent, then in packages."""
    args: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments. A table with path (and args) among them is built first."""


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
    """Load into page-locked memory, for faster copies to a GPU."""
    prefetch_factor: PositiveInt | None = None
    """Batches that each worker loads ahead."""
    persistent_workers: bool = True
    """Keep the workers between epochs."""
    collate_fn: str | None = None
    """Dotted name of a function that makes a batch of a list of samples."""


class DatasetConfig(TargetConfig):
    """``[train_dataset]``, ``[[validate_dataset]]``, ``[[test_dataset]]``."""

    name: str | None = None
    """What tables and curves call this dataset. None: its number."""
    dataloader: DataLoaderConfig = DataLoaderConfig()
    """How samples become batches."""
