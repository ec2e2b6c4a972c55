"""How several processes train one set of modules together: each holds all of it (DDP), or a part (FSDP2).

The modules that the user gave are called bare. Outside of training they and their optimizers are whole and plain on
every process; inside, ``training_step`` calls what :meth:`OneProcess.enter` returned. Where a method is collective, all
processes call it, in the same order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from audiozen.strategies.ddp import DDP
from audiozen.strategies.fsdp import FSDP
from audiozen.strategies.one_process import OneProcess

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

__all__ = ["DDP", "FSDP", "OneProcess", "make_strategy"]


def make_strategy(
    name: str,
    device: torch.device,
    world_size: int,
    *,
    units: Sequence[str] = (),
    find_unused_parameters: bool = False,
) -> OneProcess:
    """The strategy of a name.

    Args:
        name: ``"ddp"``, ``"fsdp"``, or ``"auto"``: DDP where there are several processes.
        device: of this process.
        world_size: number of processes. Except for ``"auto"`` with one, the process group has to be there.
        units: as in :class:`FSDP`.
        find_unused_parameters: as in :class:`DDP`.
    """
    if name == "fsdp":
        return FSDP(device, units)
    if name == "ddp" or world_size > 1:
        return DDP(device, find_unused_parameters=find_unused_parameters)
    return OneProcess()
