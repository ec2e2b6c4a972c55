"""Where the processes of a run meet: in a part of torchrun's store that nobody has written to before them."""

from __future__ import annotations

import secrets
import time

from torch.distributed.distributed_c10d import PrefixStore, Store

PLACE = "audiozen/meeting"
PAUSE = 0.1
"""Seconds between two looks."""


def meet(store: Store, rank: int, world_size: int, timeout: float) -> Store:
    """A part of the store for these processes alone; returns when all of them are there.

    torchrun keeps one store for all its restarts, and with it the addresses of processes that have ended: who finds
    those before the new ones cannot connect.

    Raises:
        RuntimeError: not all of them came within ``timeout`` seconds.
    """
    me = secrets.token_hex(8)
    return _invite(store, me, world_size) if rank == 0 else _come(store, me, rank, timeout)


def _invite(store: Store, me: str, world_size: int) -> Store:
    store.set(PLACE, me)
    part = PrefixStore(me, store)
    guests = [part.get(f"guest {rank}").decode() for rank in range(1, world_size)]
    part.set("guests", " ".join(guests))
    return part


def _come(store: Store, me: str, rank: int, timeout: float) -> Store:
    """Where process 0 says so: the place may still be that of a process 0 which has ended, and does not answer."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        part = PrefixStore(store.get(PLACE).decode(), store)
        part.set(f"guest {rank}", me)
        time.sleep(PAUSE)
        if part.check(["guests"]) and me in part.get("guests").decode().split():
            return part
    raise RuntimeError(f"process 0 did not answer within {timeout:g} s")
