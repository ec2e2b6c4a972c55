"""What a run that goes on must have in common with the one that it goes on from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from audiozen.config.schema import TrainerConfig

SETTINGS = (
    "seed",
    "gradient_accumulation_steps",
    "max_grad_norm",
    "precision",
    "ema_decay",
    "lr_scheduler_interval",
    "on_nonfinite",
    "on_bad_sample",
    "best_metric",
    "higher_is_better",
)
"""Those that the numbers of a run depend on. Others, such as max_epochs, may change at any time."""

Identity = dict[str, Any]

BATCH_SIZE, GLOBAL_BATCH_SIZE = "train_dataloader.batch_size", "train_dataloader.global_batch_size"
ACCUMULATION = "trainer.gradient_accumulation_steps"
OF_A_STEP = (BATCH_SIZE, GLOBAL_BATCH_SIZE, ACCUMULATION)


def run_identity(
    config: TrainerConfig,
    train_dataloader: Mapping[str, Any],
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, Optimizer],
    lr_schedulers: Mapping[str, LRScheduler],
) -> Identity:
    """Everything that is compared, by a name to show: numbers, strings, and lists of them.

    Args:
        config: settings of the trainer.
        train_dataloader: what it says of itself (see ``TrainingLoader.identity``).
        modules: models by name; their weights are compared when they are loaded.
        optimizers: by name, as they are before the first step.
        lr_schedulers: by name, as they are before the first step.
    """
    identity: Identity = {f"trainer.{name}": getattr(config, name) for name in SETTINGS}
    identity |= {f"train_dataloader.{key}": value for key, value in train_dataloader.items()}
    identity |= {dotted("model", name): type(module).__name__ for name, module in modules.items()}
    for name, optimizer in optimizers.items():
        identity |= optimizer_identity(dotted("optimizer", name), optimizer)
    for name, scheduler in lr_schedulers.items():
        identity |= scheduler_identity(dotted("lr_scheduler", name), scheduler)
    return {key: plain(value) for key, value in identity.items()}


def differences(before: Identity, now: Identity) -> list[str]:
    """One sentence for each thing that differs. What is None on one side is unknown there, and is not compared.

    A run may go on with another number of processes. So the three numbers that make up a step count as one: the samples
    of a step may change with the processes, or stay the same in spite of them.
    """
    allowed = OF_A_STEP if step_may_differ(before, now) else ()
    changed = [
        key
        for key in {**before, **now}
        if before.get(key) != now.get(key) and None not in (before.get(key, ""), now.get(key, ""))
    ]
    return [
        f"{key}: was {shown(before, key)}, is {shown(now, key)}"
        for key in changed
        if key not in allowed
    ]


def step_may_differ(before: Identity, now: Identity) -> bool:
    """Whether a step is of as many samples as before, or would be with as many processes."""
    if samples_of_step(before) == samples_of_step(now) is not None:
        return True
    return all(before.get(key) == now.get(key) for key in (BATCH_SIZE, ACCUMULATION))


def samples_of_step(identity: Identity) -> int | None:
    """Samples of one step, over all processes; None where that is not known."""
    batch, accumulation = identity.get(GLOBAL_BATCH_SIZE), identity.get(ACCUMULATION)
    return None if batch is None or accumulation is None else batch * accumulation


def shown(identity: Identity, key: str) -> str:
    """A value in a message."""
    return repr(identity[key]) if key in identity else "not there"


def dotted(kind: str, name: str) -> str:
    """``kind.name``, or ``kind`` where there is no name."""
    return f"{kind}.{name}" if name else kind


def optimizer_identity(kind: str, optimizer: Optimizer) -> Identity:
    """Class and settings of an optimizer. The learning rate is that of before any schedule."""
    identity: Identity = {kind: type(optimizer).__name__}
    groups = optimizer.param_groups
    for index, group in enumerate(groups):
        prefix = kind if len(groups) == 1 else f"{kind}.{index}"
        settings = {
            key: value for key, value in group.items() if key not in ("params", "initial_lr")
        }
        settings["lr"] = group.get("initial_lr", group["lr"])
        identity |= {f"{prefix}.{key}": value for key, value in settings.items() if is_plain(value)}
    return identity


def scheduler_identity(kind: str, scheduler: LRScheduler) -> Identity:
    """Class and settings of a learning-rate schedule, as far as it tells them."""
    settings = {
        key: value
        for key, value in scheduler.state_dict().items()
        if not key.startswith("_") and key not in ("base_lrs", "last_epoch") and is_plain(value)
    }
    return {kind: type(scheduler).__name__, **{f"{kind}.{k}": v for k, v in settings.items()}}


def is_plain(value: Any) -> bool:
    """Whether a value is a number, a string, or some of them."""
    if isinstance(value, (list, tuple)):
        return all(is_plain(item) for item in value)
    return isinstance(value, (bool, int, float, str)) or (
        isinstance(value, torch.Tensor) and value.numel() == 1
    )


def plain(value: Any) -> Any:
    """The same as a checkpoint gives it back."""
    if isinstance(value, torch.Tensor):
        return value.item()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def take_over_settings(
    before: Identity,
    now: Identity,
    optimizers: Mapping[str, Optimizer],
    lr_schedulers: Iterable[LRScheduler],
) -> None:
    """Let optimizers whose old state was loaded have the settings of ``now``.

    A learning rate is scaled by the same factor as that of the settings, so that schedules keep their place.
    """
    scales: dict[int, float] = {}
    for name, optimizer in optimizers.items():
        kind = dotted("optimizer", name)
        groups = optimizer.param_groups
        for index, group in enumerate(groups):
            prefix = f"{kind}." if len(groups) == 1 else f"{kind}.{index}."
            changed = {
                key.removeprefix(prefix): value
                for key, value in now.items()
                if key.startswith(prefix) and key in before and before[key] != value
            }
            if changed.pop("lr", None) is not None and before[f"{prefix}lr"]:
                scale = now[f"{prefix}lr"] / before[f"{prefix}lr"]
                scales[id(group)] = scale
                for key in ("lr", "initial_lr"):
                    if key in group:
                        group[key] = group[key] * scale
            group |= {
                k: type(group[k])(v) if isinstance(v, list) else v for k, v in changed.items()
            }
    for scheduler in lr_schedulers:
        scale_learning_rates(scheduler, scales)


def scale_learning_rates(scheduler: LRScheduler, scales: Mapping[int, float]) -> None:
    """Scale what a schedule, or those that it consists of, remembers of the learning rates of its groups."""
    for part in getattr(scheduler, "_schedulers", []):
        scale_learning_rates(part, scales)
    factors = [scales.get(id(group), 1.0) for group in scheduler.optimizer.param_groups]
    for key in ("base_lrs", "_last_lr"):
        if hasattr(scheduler, key):
            values = [value * factor for value, factor in zip(getattr(scheduler, key), factors)]
            setattr(scheduler, key, values)
