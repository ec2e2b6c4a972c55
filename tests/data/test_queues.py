from __future__ import annotations

import gc
import multiprocessing
import pickle
import sys
import threading
import time
from multiprocessing.queues import Queue
from pathlib import Path
from queue import Empty
from typing import Any

import pytest

from audiozen.data.queues import QuickQueue, with_quick_queues

LARGE = bytes(5000)
"""More than is sent at once."""


def queue(method: str | None = None) -> Any:
    return with_quick_queues(multiprocessing.get_context(method)).Queue()


def feeders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "QueueFeederThread"]


def received(queue: Any, number: int) -> list[Any]:
    return [queue.get(timeout=20) for _ in range(number)]


def descriptors() -> set[Path]:
    return set(Path("/proc/self/fd").iterdir())


def test_small_things_are_sent_without_a_thread():
    before = feeders()
    ours = queue()
    for number in range(3):
        ours.put((number, [number] * 32))
    assert feeders() == before
    assert received(ours, 3) == [(number, [number] * 32) for number in range(3)]


def test_large_things_and_all_after_them_go_through_the_thread():
    before = feeders()
    ours = queue()
    things = ["small", LARGE, *range(50), LARGE * 100, "small"]
    for thing in things:
        ours.put(thing)
    assert len(feeders()) == len(before) + 1
    assert received(ours, len(things)) == things
    ours.close()
    ours.join_thread()


def test_full_pipe_is_not_waited_for_and_order_is_kept():
    ours = queue()
    things = [bytes([number % 256]) * 3000 for number in range(200)]  # ten times what a pipe holds
    for thing in things:
        ours.put(thing)
    assert received(ours, len(things)) == things
    ours.close()
    ours.join_thread()


def test_sender_that_was_stopped_while_it_sent_is_not_waited_for():
    ours = queue()
    with ours._wlock:
        ours.put("small")
    assert received(ours, 1) == ["small"]
    ours.close()
    ours.join_thread()


def test_nothing_is_told_after_as_long_as_was_asked_for():
    ours = queue()
    begin = time.monotonic()
    with pytest.raises(Empty):
        ours.get(timeout=0.05)
    assert time.monotonic() - begin >= 0.05
    for timeout in (0, -1):
        with pytest.raises(Empty):
            ours.get(timeout=timeout)
    with pytest.raises(Empty):
        ours.get_nowait()


def test_get_waits_for_what_comes_later():
    ours = queue()
    timer = threading.Timer(0.1, ours.put, ["late"])
    timer.start()
    assert received(ours, 1) == ["late"]
    timer.join()


def test_things_that_wait_are_counted():
    ours = queue()
    for number in range(3):
        ours.put(number)
    assert ours.qsize() == 3
    received(ours, 3)
    assert ours.qsize() == 0
    assert ours.empty()


def test_what_cannot_be_sent_is_an_error_where_it_is_put():
    ours = queue()
    with pytest.raises((AttributeError, pickle.PicklingError), match="lambda"):
        ours.put(lambda: None)
    ours.put("next")
    assert received(ours, 1) == ["next"]


def test_closed_queue_takes_nothing():
    ours = queue()
    ours.close()
    with pytest.raises(ValueError, match="is closed"):
        ours.put(1)


def answer(questions: Any, answers: Any) -> None:
    while (question := questions.get(timeout=20)) is not None:
        answers.put((question, type(answers) is QuickQueue, len(feeders())))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_other_process_gets_and_answers_through_its_thread(method):
    context = with_quick_queues(multiprocessing.get_context(method))
    questions, answers = context.Queue(), context.Queue()
    process = context.Process(target=answer, args=(questions, answers), daemon=True)
    process.start()
    things = ["small", LARGE, "small"]
    for thing in [*things, None]:
        questions.put(thing)
    received_things = received(answers, len(things))
    assert [thing for thing, _, _ in received_things] == things
    assert all(is_quick for _, is_quick, _ in received_things)
    assert [num_threads > 0 for _, _, num_threads in received_things] == [False, True, True]
    process.join()
    assert process.exitcode == 0
    questions.close()
    questions.join_thread()


def test_descriptors_are_closed_with_the_queue():
    gc.collect()
    before = descriptors()
    ours = queue()
    ours.put(1)
    assert descriptors() > before
    del ours
    assert descriptors() == before


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_given_context_starts_the_same_way_and_is_left_as_it_is(method):
    given = multiprocessing.get_context(method)
    quick = with_quick_queues(with_quick_queues(given))
    assert quick.get_start_method() == method
    assert quick.Process is given.Process
    assert type(quick.Queue()) is QuickQueue
    assert type(given.Queue()) is Queue


def test_context_is_no_garbage():
    gc.collect()
    with_quick_queues(with_quick_queues(multiprocessing.get_context("fork"))).Queue()
    assert gc.collect() == 0


def test_default_context_is_that_of_the_process():
    assert with_quick_queues(None).get_start_method() == multiprocessing.get_start_method()


class Owner:
    """Ends in a circle with its queue, and sends its last word then, as a data loader of PyTorch does."""

    def __init__(self, its_queue: Any) -> None:
        self.queue, self.circle = its_queue, self

    def __del__(self) -> None:
        self.queue.put("the end")


def test_last_word_of_what_becomes_garbage_arrives():
    owner = Owner(queue())  # older, and so the first to end
    reader, before = owner.queue._reader, descriptors()
    del owner
    gc.collect()
    assert reader.poll(5)
    assert pickle.loads(reader.recv_bytes()) == "the end"
    assert len(descriptors()) < len(before)  # the other end was closed


def test_last_word_that_nobody_is_left_to_read_is_no_error(monkeypatch: pytest.MonkeyPatch):
    errors: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", errors.append)
    before = descriptors()
    owner = Owner(queue())  # as where the workers have ended already
    del owner
    gc.collect()
    assert errors == []
    assert descriptors() == before
