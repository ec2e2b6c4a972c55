from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from torch.distributed import HashStore, Store

from audiozen.processes.meeting import meet

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 10.0


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


@pytest.fixture
def store() -> Store:
    return HashStore()


def start(pool: ThreadPoolExecutor, store: Store, ranks: list[int]) -> list[Future[Store]]:
    return [pool.submit(meet, store, rank, 3, SECONDS) for rank in ranks]


def test_all_get_the_same_part_of_the_store(pool, store):
    zero, *others = [future.result() for future in start(pool, store, [0, 1, 2])]
    zero.set("word", "hello")
    assert [part.get("word") for part in others] == [b"hello", b"hello"]


def test_after_a_restart_nothing_is_left_of_the_time_before(pool, store):
    for future in start(pool, store, [0, 1, 2]):
        future.result().set("address", "of a process that is gone")
    for future in start(pool, store, [2, 1, 0]):
        assert not future.result().check(["address"])


def test_who_comes_first_waits_for_the_new_process_0(pool, store):
    [old, *_] = [future.result() for future in start(pool, store, [0, 1, 2])]
    others = start(pool, store, [1, 2])
    with pytest.raises(TimeoutError):
        others[0].result(timeout=0.5)
    [new] = start(pool, store, [0])
    new.result().set("word", "new")
    assert [part.result().get("word") for part in others] == [b"new", b"new"]
    assert not old.check(["word"])


def test_process_0_that_does_not_come_is_given_up(pool, store):
    for future in start(pool, store, [0, 1, 2]):
        future.result()
    with pytest.raises(RuntimeError, match=r"process 0 did not answer within 0\.3 s"):
        meet(store, 1, 3, timeout=0.3)
