"""The processes of a run, behind a few verbs. Alone, every verb does nothing: nobody need ask how many there are."""

from __future__ import annotations

import atexit
import os
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from audiozen.errors import AudioZENError, TrainingError
from audiozen.processes.meeting import meet
from audiozen.processes.watch import Place, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

T = TypeVar("T")

SECONDS_TO_JOIN = 600.0
"""So long a process waits for the others to start."""
MARGIN = 600.0
"""Seconds by which the watch is earlier than the collectives' own timeout."""
UNWATCHED = timedelta(days=365)


class Group:
    """All processes of a run, this one among them.

    Started by ``torchrun`` (or anything that sets ``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK``, ``MASTER_ADDR`` and
    ``MASTER_PORT``), it joins the others; started alone it is the only one.

    What the processes say to each other goes through a group of its own over gloo, so it neither waits for a GPU nor
    comes between the exchange of gradients.

    Args:
        backend: ``"gloo"`` or ``"nccl"``: through which gradients are exchanged.
        joins_alone: make a process group also for one process alone.
        stall_timeout: see :class:`~audiozen.processes.watch.Watch`.
        contact_timeout: as well.

    Attributes:
        rank: number of this process, from 0.
        world_size: number of processes.
        local_rank: number of this process on its machine.
        local_world_size: number of processes on this machine.
        watch: what goes on elsewhere, while :meth:`watched`; None outside, and for one process.
    """

    def __init__(
        self,
        backend: str = "gloo",
        *,
        joins_alone: bool = False,
        stall_timeout: float | None = None,
        contact_timeout: float | None = None,
    ) -> None:
        self.rank = int(os.environ.get("RANK", "0"))
        self.world_size = int(os.environ.get("WORLD_SIZE", "1"))
        self.local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        self.local_world_size = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        self.stall_timeout, self.contact_timeout = stall_timeout, contact_timeout
        self.watch: Watch | None = None
        self._control = self._join(backend) if self.world_size > 1 or joins_alone else None

    def _join(self, backend: str) -> Any:
        if not dist.is_initialized():
            self._initialise(backend)
            atexit.register(leave_process_group)  # its threads abort a process that ends without
        return dist.new_group(backend="gloo", timeout=self._timeout())

    def _initialise(self, backend: str) -> None:
        try:
            dist.init_process_group(
                backend,
                store=self._meeting_place(),
                rank=self.rank,
                world_size=self.world_size,
                timeout=self._timeout(),
            )
        except (RuntimeError, ValueError) as error:
            address = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
            raise TrainingError(
                f"process {self.rank} of {self.world_size} did not meet the others at {address}: {error}; are all of "
                "them started, and can this machine reach that address?"
            ) from error

    def _meeting_place(self) -> Any:
        if self.world_size == 1:
            return dist.HashStore()  # type: ignore[attr-defined] # PyTorch does not say that it exports it
        store, _, _ = next(rendezvous("env://", timeout=timedelta(seconds=SECONDS_TO_JOIN)))
        return meet(store, self.rank, self.world_size, SECONDS_TO_JOIN)

    def _timeout(self) -> timedelta:
        if self.stall_timeout is None:
            return UNWATCHED
        return timedelta(seconds=self.stall_timeout + MARGIN)

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and computes scores."""
        return self.rank == 0

    # ---- looking after each other -------------------------------------------------------

    @contextmanager
    def watched(self, where: Callable[[], Place], poll: Callable[[], str | None]) -> Iterator[None]:
        """Within this context, all processes end when one fails, dies or stands still; the reason is told once.

        Inside of another such context, nothing changes.

        Args:
            where: says what this process is doing; called in another thread, about once a second.
            poll: says why all processes should stop, if this one has a reason; called there as well.

        Raises:
            SystemExit: another process failed, and told why.
        """
        if self.world_size == 1 or self.watch is not None:
            yield
            return
        self.watch = self._connected_watch(where)
        self.watch.poll = poll
        try:
            with self.watch.guarded():
                yield
        except AudioZENError as error:
            error.speaks_for_all = True
            raise
        finally:
            watch, self.watch = self.watch, None
            watch.close()

    def _connected_watch(self, where: Callable[[], Place]) -> Watch:
        watch = Watch(
            self.rank,
            self.world_size,
            local_rank=self.local_rank,
            stall_timeout=self.stall_timeout,
            contact_timeout=self.contact_timeout,
            where=where,
        )
        address = self.broadcast(
            watch.listen() if self.is_main else None, "the address of the watch"
        )
        assert address is not None
        if not self.is_main:
            watch.connect(os.environ["MASTER_ADDR"], *address)
        self.wait("the watch")  # none may be done, and gone, before all are connected
        return watch

    @property
    def stop_requested(self) -> str | None:
        """Who asked all processes to stop, if anybody did."""
        return None if self.watch is None else self.watch.stop_requested

    def _waiting(self, label: str) -> AbstractContextManager[object]:
        if self.watch is None:
            return nullcontext()
        self.watch.check()
        return self.watch.waiting(label)

    # ---- saying something to each other ---------------------------------------------------

    def wait(self, label: str) -> None:
        """Go on when every process is here.

        Args:
            label: what for, here and below; it is told where the processes lose each other.
        """
        if self.world_size > 1:
            with self._waiting(label):
                dist.barrier(group=self._control)

    def broadcast(self, value: T, label: str) -> T:
        """The main process's value, on every process."""
        if self.world_size == 1:
            return value
        box = [value]
        with self._waiting(label):
            dist.broadcast_object_list(box, src=0, group=self._control)
        return box[0]

    def gather(self, value: T, label: str) -> list[T]:
        """Everyone's values in order of rank on the main process; nothing on the others."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size if self.is_main else []
        with self._waiting(label):
            dist.gather_object(value, values if self.is_main else None, dst=0, group=self._control)
        return values

    def all_gather(self, value: T, label: str) -> list[T]:
        """Everyone's values in order of rank, on every process."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        with self._waiting(label):
            dist.all_gather_object(values, value, group=self._control)
        return values

    def max(self, numbers: Sequence[float], label: str) -> list[float]:
        """The largest of everyone's first numbers, second numbers, ...; on every process. None may be NaN."""
        if self.world_size == 1:
            return list(numbers)
        largest = torch.tensor(numbers, dtype=torch.float64)
        with self._waiting(label):
            dist.all_reduce(largest, dist.ReduceOp.MAX, group=self._control)
        found: list[float] = largest.tolist()
        return found

    def any(self, flag: bool, label: str) -> bool:
        """Whether the flag is set on any process; the same answer on all of them."""
        return bool(self.max([flag], label)[0])

    def all_equal(self, numbers: Sequence[float], label: str) -> bool:
        """Whether everyone has the same numbers; everyone must have equally many, none of them NaN."""
        largest = self.max([*numbers, *(-number for number in numbers)], label)
        half = len(numbers)
        return largest[:half] == [-number for number in largest[half:]]

    def start_sum(self, values: Tensor, label: str) -> Callable[[], Tensor]:
        """As :meth:`sum`, of a tensor on the CPU, but nothing waits until what is returned is called for the sum."""
        if self.world_size == 1:
            return lambda: values
        values = values.clone()
        work = dist.all_reduce(values, group=self._control, async_op=True)

        def finish() -> Tensor:
            with self._waiting(label):
                work.wait()
            return values

        return finish

    def sum(self, values: Tensor, label: str) -> Tensor:
        """The sum of everyone's values, which are of one shape; on every process, on the device where they are."""
        if self.world_size == 1:
            return values
        values = values.clone()
        with self._waiting(label):
            dist.all_reduce(values, group=self._control if values.device.type == "cpu" else None)
        return values


def leave_process_group() -> None:
    """Part from the other processes, if that has not been done."""
    if dist.is_initialized():
        dist.destroy_process_group()
