"""Data for Accelerate, and for transformers, which is built on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from accelerate.data_loader import prepare_data_loader

from peers.work import num_processes

if TYPE_CHECKING:
    from peers.work import Work


def prepared_batches(accelerator: Any, work: Work) -> Any:
    """What ``accelerator`` makes of the batches of this process.

    On several processes it would deal them once more, so its loader is then told that there is but one.
    """
    if num_processes() == 1:
        return accelerator.prepare(work.dataloader())
    return prepare_data_loader(
        work.dataloader(), accelerator.device, num_processes=1, process_index=0, put_on_device=True
    )
