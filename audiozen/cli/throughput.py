"""Where the time of training and of validation goes, in words; and advice where what was measured supports it."""

from __future__ import annotations

import io
import math
import os
from contextlib import redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any, NamedTuple

from audiozen.processes.cores import num_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch.optim import Optimizer
    from torch.utils.data import DataLoader

    from audiozen.trainer.base_trainer import BaseTrainer
    from audiozen.trainer.metric_time import EvaluationTime
    from audiozen.trainer.step_parts import MeasuredSteps

FUSED = {"Adam", "AdamW", "SGD", "Adagrad"}
"""Optimizers of PyTorch that have ``fused = true``."""
WORTH_IT = 0.9
"""A change is advised where a step takes less than so much of what it took."""
MAX_SECONDS = 1.5
"""Of steps that are measured; where workers are tried, three times."""
LOADING = ("data", "waiting")
LESS_TO_LOAD = "what is left is less to load: a packed corpus (audiozen pack), cheaper augmentation"


def where_a_step_goes(measured: MeasuredSteps, device_type: str = "cpu") -> str:
    """The parts in per cent, the largest first; those below half a per cent are left out."""
    seconds = measured.seconds_per_step
    total = sum(seconds.values())
    largest_first = sorted(seconds, key=seconds.__getitem__, reverse=True)
    shown = [
        f"{part} {100 * seconds[part] / total:.0f} %"
        for part in largest_first
        if seconds[part] / total >= 0.005
    ]
    shown[0] += f" ({milliseconds(seconds[largest_first[0]])})"
    waits = "" if device_type == "cpu" else f", waiting for the {device_type} device at each border"
    text = f"{', '.join(shown)}; {milliseconds(total)} per step"
    return f"{text}, mean of {measured.num_steps} real ones{waits}{load()}"


def load() -> str:
    """A note where other programs use the machine, too; then all times are too long."""
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    cores = num_cores()
    return f"; the machine is busy: load {busy:.1f} on {cores} cores" if busy > cores + 1 else ""


def largest_part(measured: MeasuredSteps) -> str:
    """Its name."""
    return max(measured.seconds, key=measured.seconds.__getitem__)


def seconds_of_step(measured: MeasuredSteps) -> float:
    """All parts together."""
    return sum(measured.seconds_per_step.values())


# ---- loading ------------------------------------------------------------------------------------


def try_workers(
    trainer: BaseTrainer,
    make_dataloader: Callable[[], DataLoader[Any]],
    measured: MeasuredSteps,
    explain: Callable[[BaseException], str],
) -> str:
    """Advice on loading, which is the largest part: more workers are tried, and what there was is measured once more.

    Args:
        trainer: makes further steps.
        make_dataloader: the dataloader of the experiment, anew each time.
        measured: steps with it.
        explain: tells what is wrong with the user's code.
    """
    from torch.utils.data import IterableDataset

    from audiozen.trainer.step_parts import measure_steps

    dataloader, again = make_dataloader(), make_dataloader()
    if isinstance(dataloader.dataset, IterableDataset):
        return "loaded by an iterable dataset, which says itself how workers share it"
    num_workers = dataloader.num_workers
    wanted = workers_to_try(measured, num_workers, cores_left(trainer))
    if wanted is None:
        return no_core_left(num_workers)
    dataloader.num_workers = wanted
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            tried = measure_steps(trainer, dataloader, max_seconds=MAX_SECONDS)
            after = measure_steps(trainer, again, max_seconds=MAX_SECONDS)
    except Exception as error:  # noqa: BLE001 - whatever a user's code raises
        return f"{wanted} workers cannot load it: {explain(error)}"
    if not (tried.num_steps and after.num_steps):
        return f"an epoch has too few steps to try {wanted} workers"
    seconds, before = seconds_of_step(tried), (seconds_of_step(measured), seconds_of_step(after))
    return loading_advice(Trial(wanted, seconds, before))


def workers_to_try(measured: MeasuredSteps, num_workers: int, cores_left: int) -> int | None:
    """How many workers would load as fast as the rest of a step goes; None where no core is left for more.

    Args:
        measured: with ``num_workers``; the largest part is loading.
        num_workers: that load now.
        cores_left: those that training does not need.
    """
    total = seconds_of_step(measured)
    loading = sum(measured.seconds_per_step.get(part, 0.0) for part in LOADING)
    # Workers that are waited for need num_workers * total for a batch.
    to_load = num_workers * total if num_workers else loading
    needed = math.ceil(to_load / max(total - loading, 1e-6))
    wanted = min(needed, cores_left)
    return wanted if wanted > num_workers else None


def cores_left(trainer: BaseTrainer) -> int:
    """Cores that this process does not compute with."""
    import torch

    return num_cores() - (torch.get_num_threads() if trainer.device.type == "cpu" else 1)


class Trial(NamedTuple):
    """Steps that were made with another number of workers, between two times without them.

    Attributes:
        num_workers: of the trial.
        seconds: per step, with them.
        without: seconds per step as the experiment has it, before the trial and after it.
    """

    num_workers: int
    seconds: float
    without: tuple[float, float]


def loading_advice(trial: Trial) -> str:
    """Whether more workers help; neither is said where the two times without them differ too much for it."""
    low, high = sorted(trial.without)
    takes = f"{milliseconds(trial.seconds)} per step in place of {milliseconds(low)} to {milliseconds(high)}"
    tried = f"train_dataset.dataloader.num_workers={trial.num_workers} was tried"
    if trial.seconds < WORTH_IT * low:
        return f"{tried}: {takes}"
    if trial.seconds < WORTH_IT * high or low < WORTH_IT * high:
        return f"{tried}, and figures vary too much to tell whether it helps: {takes}"
    why = "other programs have the cores" if load() else LESS_TO_LOAD
    return f"{tried} and does not help: {takes}; {why}"


def no_core_left(num_workers: int) -> str:
    """Advice where more workers would take the cores from the training."""
    who = f"{num_workers} workers" if num_workers else "this process"
    return f"loaded by {who}, and no core is left for more; {LESS_TO_LOAD}"


# ---- everything else -----------------------------------------------------------------------------


def advice(part: str, trainer: BaseTrainer) -> str:
    """What to do about a part that is not loading."""
    if part == "optimizer":
        return optimizer_advice(trainer.optimizers.values())
    if part == "copy":
        return "batches on their way to the device; train_dataset.dataloader.pin_memory=true is made for it"
    if part == "other":
        return (
            "the trainer itself and logging, as often as there are steps; larger batches need fewer"
        )
    return model_advice(trainer)


def optimizer_advice(optimizers: Iterable[Optimizer]) -> str:
    """Fused updates, where PyTorch has them and they are not used."""
    slow = {
        type(o).__name__
        for o in optimizers
        if type(o).__name__ in FUSED and not any(group.get("fused") for group in o.param_groups)
    }
    text = "clipping, the step, its schedule and averaged weights"
    return f"{text}; {', '.join(sorted(slow))} can be fused: fused = true" if slow else text


def model_advice(trainer: BaseTrainer) -> str:
    """The model is what it is; on a GPU there are settings that are worth a try."""
    untried = []
    if trainer.device.type == "cuda" and trainer.config.precision == "fp32":
        untried.append("trainer.args.precision=bf16")
    if trainer.device.type == "cuda" and not trainer.config.compile:
        untried.append("trainer.args.compile=true")
    return f"the model itself{'; not used: ' * bool(untried)}{', '.join(untried)}"


def where_a_validation_goes(took: EvaluationTime, num_batches: int) -> str:
    """Model against metrics, per batch."""
    model, here, beside = (
        milliseconds(seconds / num_batches)
        for seconds in (took.model, took.metrics_here, took.metrics_beside)
    )
    text = f"model {model}, metrics {here} in this process"
    if took.num_workers:
        text += f" and {beside} of CPU time in {took.num_workers} metric workers"
    return f"{text}, per batch{validation_advice(took)}"


def validation_advice(took: EvaluationTime) -> str:
    """What to do where metrics take more than the model; else nothing."""
    if took.of_workers > took.own:
        if took.num_workers < num_cores():
            return f"; trainer.args.num_metric_workers={num_cores()} would use every core"
        return "; the model waits for metrics: fewer or cheaper ones in validation_step would help"
    return ""


def milliseconds(seconds: float) -> str:
    """In a fitting number of digits."""
    return f"{1000 * seconds:.{0 if seconds >= 0.1 else 1}f} ms"
