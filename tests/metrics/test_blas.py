from __future__ import annotations

import multiprocessing
import sys
import threading

import numpy as np
import pytest

from audiozen.metrics.blas import _limiting, blas_libraries, one_blas_thread
from audiozen.metrics.measure import Measure


def num_threads() -> int:
    [number] = {library["num_threads"] for library in blas_libraries().info()}
    return number


@pytest.fixture(autouse=True)
def three_threads():
    """More than one, and such a number as nobody sets by chance."""
    before = num_threads()
    set_number(3)
    yield
    set_number(before)


def set_number(number: int) -> None:
    """For good; any thread may set another one then, as after each context of threadpoolctl."""
    with blas_libraries().limit(limits=number) as limit:
        limit._original_info = blas_libraries().info()  # which it gives back at its end


def test_has_one_thread_inside_and_then_as_many_as_before():
    with one_blas_thread():
        assert num_threads() == 1
        with one_blas_thread():
            assert num_threads() == 1
        assert num_threads() == 1
    assert num_threads() == 3


def test_gives_threads_back_after_an_error():
    with pytest.raises(ZeroDivisionError), one_blas_thread():
        raise ZeroDivisionError
    assert num_threads() == 3


@pytest.mark.parametrize("leaves_first", [0, 1])
def test_threads_that_overlap_leave_the_setting_as_it_was(leaves_first):
    inside, leave = ([threading.Event(), threading.Event()] for _ in range(2))
    seen = []

    def enter(number: int) -> None:
        with one_blas_thread():
            seen.append(num_threads())
            inside[number].set()
            leave[number].wait(10)

    threads = [threading.Thread(target=enter, args=(number,)) for number in range(2)]
    for thread, event in zip(threads, inside):
        thread.start()
        event.wait(10)
    for number in (leaves_first, 1 - leaves_first):
        leave[number].set()
        threads[number].join()
    assert seen == [1, 1]
    assert num_threads() == 3


def enter_and_leave() -> None:
    with one_blas_thread():
        sys.exit(40)


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_process_that_is_forked_while_another_thread_is_inside_can_enter():
    has_lock, is_done = threading.Event(), threading.Event()

    def hold() -> None:
        with _limiting:
            has_lock.set()
            is_done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    has_lock.wait(10)
    process = multiprocessing.get_context("fork").Process(target=enter_and_leave)
    process.start()
    process.join(10)
    is_done.set()
    thread.join()
    if process.exitcode is None:
        process.kill()
    assert process.exitcode == 40


@pytest.mark.parametrize(("is_slow", "number"), [(True, 1), (False, 3)])
def test_slow_measures_have_one_thread_and_cheap_ones_do_not_pay(is_slow, number):
    def compute(estimate, reference, sample_rate):
        return {"threads": float(num_threads())}

    samples = np.arange(100.0)
    assert Measure(compute, is_slow=is_slow)(samples, samples, 16000) == {"threads": number}
    assert num_threads() == 3


def test_libraries_are_looked_for_once(monkeypatch):
    import threadpoolctl

    monkeypatch.delattr(threadpoolctl, "ThreadpoolController")
    with one_blas_thread():
        assert num_threads() == 1
