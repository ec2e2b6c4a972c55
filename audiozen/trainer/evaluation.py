"""One pass over evaluation dataloaders, exact on any number of processes.

Batches are dealt to the processes in turn, as a single process would form them; nobody gets a duplicate and
nothing is padded.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from audiozen.data.loader import EvaluationLoader
from audiozen.data.nested import map_leaves, move_tensors
from audiozen.trainer.generators import seed_process

if TYPE_CHECKING:
    from typing import Concatenate

    from torch import nn

    from audiozen.engine import Engine
    from audiozen.processes.group import Group

Step = Callable[..., Any]


@dataclass(frozen=True)
class BatchOutput:
    """What a step returned for one batch.

    Attributes:
        dataloader_idx: number of the dataloader, from 0.
        batch_idx: number of the batch in its dataloader, as a single process counts.
        value: what the step returned.
    """

    dataloader_idx: int
    batch_idx: int
    value: Any


def run_step(
    step: Step, dataloaders: Sequence[Any], engine: Engine, *, seed: int
) -> Generator[BatchOutput]:
    """Call ``step(batch, batch_idx[, dataloader_idx])`` for each batch that falls to this process.

    Args:
        step: a hook; it gets the dataloader's number if it accepts one.
        dataloaders: in the order of their numbers.
        engine: gives device and processes.
        seed: start of the random numbers of datasets that draw some; each pass draws the same.

    Yields:
        Outputs in the order of their numbers.
    """
    call = with_dataloader_idx(step)
    for dataloader_idx, dataloader in enumerate(dataloaders):
        group = engine.group
        loader = EvaluationLoader(
            dataloader, seed=seed, rank=group.rank, world_size=group.world_size
        )
        for batch_idx, batch in loader:
            # Each batch on its own, so that what a hook draws does not depend on who evaluated those before.
            seed_process(seed, "evaluation", dataloader_idx, batch_idx, device=engine.device)
            value = call(engine.to_device(batch), batch_idx, dataloader_idx)
            yield BatchOutput(dataloader_idx, batch_idx, value)


def collect(
    outputs: Generator[BatchOutput],
    num_dataloaders: int,
    group: Group,
    *,
    goes_on: Callable[[], bool],
    when_done: Callable[[], object] = lambda: None,
) -> list[list[Any]] | None:
    """All outputs in dataset order, on the CPU, on the main process; nothing on the others.

    What futures in outputs stand for is computed while the evaluation goes on; those that are left are waited for at
    the end.

    Args:
        outputs: those of this process.
        num_dataloaders: how many lists to return.
        group: the processes; all of them call this.
        goes_on: called after each batch and each wait; False ends the evaluation here, and so the whole of it.
        when_done: called for each batch whose output is there.

    Returns:
        One list per dataloader, each with one entry per batch; None where a process ended before its last batch.
    """
    mine: list[BatchOutput] = []
    pending: deque[BatchOutput] = deque()

    def settle(*, waits: bool) -> bool:
        while pending and (waits or is_there(pending[0].value)):
            output = pending.popleft()
            mine.append(replace(output, value=map_leaves(awaited, output.value)))
            when_done()
            if not goes_on():
                return False
        return goes_on()

    with closing(outputs):
        for output in outputs:
            pending.append(replace(output, value=move_tensors(output.value, "cpu")))
            if not settle(waits=False):
                break
    is_whole = goes_on() and settle(waits=True)
    gathered = group.gather((is_whole, mine), "the outputs of an evaluation")
    if not all(whole for whole, _ in gathered):
        return None
    collected: list[list[Any]] = [[] for _ in range(num_dataloaders)]
    everything = chain(*(outputs_of_one for _, outputs_of_one in gathered))
    for output in sorted(everything, key=attrgetter("dataloader_idx", "batch_idx")):
        collected[output.dataloader_idx].append(output.value)
    return collected


def is_there(value: Any) -> bool:
    """Whether no future in an output is still to come."""
    to_come = []

    def look(leaf: Any) -> None:
        if isinstance(leaf, Future) and not leaf.done():
            to_come.append(leaf)

    map_leaves(look, value)
    return not to_come


def awaited(leaf: Any) -> Any:
    """What a future stands for; all else is what it is."""
    return leaf.result() if isinstance(leaf, Future) else leaf


def with_dataloader_idx(step: Step) -> Step:
    """``step`` as a function of batch, batch_idx and dataloader_idx; the last is dropped if it does not accept
    one.
    """
    parameters = inspect.signature(step).parameters.values()
    accepts = "dataloader_idx" in [p.name for p in parameters] or any(
        p.kind is p.VAR_POSITIONAL for p in parameters
    )
    if accepts or len([p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]) > 2:
        return lambda batch, batch_idx, dataloader_idx: step(batch, batch_idx, dataloader_idx)
    return lambda batch, batch_idx, _: step(batch, batch_idx)


def dataloader_idx_is_optional(
    hook: Callable[[Any, Any, int, int], Any],
) -> Callable[Concatenate[Any, Any, int, ...], Any]:
    """Says to type checkers that a hook of this name may take ``dataloader_idx``, or leave it out."""
    return hook


def as_dataloaders(dataloaders: Any) -> list[Any]:
    """One dataloader or several as a list.

    A list or tuple is several; anything else that can be iterated over is one.
    """
    if dataloaders is None:
        return []
    return list(dataloaders) if isinstance(dataloaders, (list, tuple)) else [dataloaders]


def dataset_names(dataloaders: Sequence[Any]) -> list[str]:
    """What tables and curves call the dataloaders: their attribute ``name``, or else their number."""
    return [str(getattr(loader, "name", index)) for index, loader in enumerate(dataloaders)]


def num_batches(dataloaders: Sequence[Any], group: Group) -> int | None:
    """Batches of all dataloaders that fall to this process, or None if one does not know."""
    try:
        return sum(len(range(group.rank, len(loader), group.world_size)) for loader in dataloaders)
    except TypeError:
        return None


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
