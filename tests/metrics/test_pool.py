"""Worker processes for metrics: results, crashes, bounds, ends."""

from __future__ import annotations

import contextlib
import faulthandler
import math
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
import torch

from audiozen.errors import MetricError, RequestError, WorkerDied
from audiozen.metrics import Scorer, workers
from audiozen.metrics.pool import MetricPool, gathered

SAMPLE_RATE = 16000


def speech_like(num_signals: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy and clean, each ``(batch, time)``, of 1.5 s."""
    generator = torch.Generator().manual_seed(0)
    time_axis = torch.arange(SAMPLE_RATE * 3 // 2) / SAMPLE_RATE
    pitches = 100 + 40 * torch.arange(num_signals)[:, None]
    loudness = torch.sin(6 * math.pi * time_axis).square()
    clean = 0.3 * loudness * torch.sin(2 * math.pi * pitches * time_axis)
    return clean + 0.05 * torch.randn(clean.shape, generator=generator), clean


def slow_abort_or_value(value: float) -> float:
    time.sleep(0.05)
    if value < 0:
        faulthandler.disable()  # which pytest switches on
        os.kill(os.getpid(), signal.SIGSEGV)
    return value


def num_threads() -> list[int]:
    import threadpoolctl

    return [
        torch.get_num_threads(),
        *(pool["num_threads"] for pool in threadpoolctl.threadpool_info()),
    ]


class Stubborn(Exception):
    """Cannot be rebuilt from its arguments."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first + second)


def raise_stubborn() -> None:
    raise Stubborn("cannot be ", "pickled")


# ---- results ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_results_arrive_in_the_order_of_the_futures(num_workers: int) -> None:
    with MetricPool(num_workers) as pool:
        futures = [pool.submit(divmod, number, 7) for number in range(50)]
        assert [future.result() for future in futures] == [divmod(n, 7) for n in range(50)]


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_scores_are_the_same_bits_as_without_a_pool(num_workers: int) -> None:
    noisy, clean = speech_like(4)
    scorer = Scorer(["si_sdr", "stoi", "estoi", "si_sdr_i"], SAMPLE_RATE)
    clean[2] = 0  # one with a reason
    expected = scorer(noisy, clean, noisy=2 * noisy)
    with MetricPool(num_workers) as pool:
        columns = scorer.submit(pool, noisy, clean, noisy=2 * noisy, suffix="").result()
    assert repr(columns) == repr(expected)
    assert columns["stoi__error"] == ["", "", "silent_reference", ""]


def test_signals_may_be_changed_as_soon_as_they_were_submitted() -> None:
    noisy, clean = (signal.double().numpy() for signal in speech_like(2))
    scorer = Scorer(["stoi"], SAMPLE_RATE)
    expected = scorer(noisy, clean)
    with MetricPool(1) as pool:
        future = scorer.submit(pool, noisy, clean)
        noisy[:] = clean
        assert future.result() == expected


def test_what_a_function_raises_is_raised_where_the_result_is_asked_for() -> None:
    with MetricPool(1) as pool:
        with pytest.raises(ValueError, match="invalid literal"):
            pool.submit(int, "x").result()
        assert pool.submit(int, "3").result() == 3


def test_metric_error_keeps_its_reason_on_the_way() -> None:
    with MetricPool(1) as pool:
        [returned] = pool.submit(list, [MetricError("too_short", "a sentence")]).result()
    assert isinstance(returned, MetricError)
    assert (returned.reason, str(returned)) == ("too_short", "a sentence")


def test_error_that_cannot_be_pickled_arrives_as_text() -> None:
    with MetricPool(1) as pool, pytest.raises(RuntimeError, match="Stubborn: cannot be pickled"):
        pool.submit(raise_stubborn).result()


def test_wrong_request_is_refused_at_once() -> None:
    with MetricPool(1) as pool, pytest.raises(RequestError, match="without a reference"):
        Scorer(["stoi"]).submit(pool, torch.randn(16000))


def test_negative_number_of_workers_is_refused() -> None:
    with pytest.raises(RequestError, match="num_workers must be at least 0, got -1"):
        MetricPool(-1)


# ---- crashes ----------------------------------------------------------------------------------------


def test_crash_costs_one_task_and_says_how_the_process_ended() -> None:
    with MetricPool(2) as pool:
        values = [1.0, -1.0, 2.0, 3.0, -2.0, 4.0]
        futures = [pool.submit(slow_abort_or_value, value) for value in values]
        for value, future in zip(values, futures):
            if value < 0:
                with pytest.raises(WorkerDied, match="was ended by SIGSEGV"):
                    future.result()
            else:
                assert future.result() == value


def test_exit_of_a_worker_is_told_with_its_code() -> None:
    with MetricPool(1) as pool, pytest.raises(WorkerDied, match="ended with the exit code 3"):
        pool.submit(os._exit, 3).result()


def test_crash_in_a_metric_is_nan_with_a_reason_for_that_signal_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = sys.modules["audiozen.metrics.stoi"]  # the package has a function of this name
    original = module.resample

    def abort_on_loud_signals(signal: np.ndarray, *rates: int) -> np.ndarray:
        if np.abs(signal).max() > 5:
            faulthandler.disable()
            os.abort()
        return original(signal, *rates)

    monkeypatch.setattr(module, "resample", abort_on_loud_signals)  # forked workers have it, too
    noisy, clean = speech_like(3)
    noisy[1] *= 100
    scorer = Scorer(["si_sdr", "stoi"], SAMPLE_RATE)
    with MetricPool(2) as pool:
        columns = scorer.submit(pool, noisy, clean).result()
    assert columns["stoi__error"] == ["", "crashed", ""]
    assert [math.isnan(value) for value in columns["stoi"]] == [False, True, False]
    assert "si_sdr__error" not in columns


# ---- bounds -----------------------------------------------------------------------------------------


def test_submitting_waits_while_too_much_is_pending() -> None:
    size = 1 << 20
    with MetricPool(1, max_pending_bytes=3 * size) as pool:
        started = time.monotonic()
        futures = [pool.submit(hold, np.zeros(size, np.int8)) for _ in range(6)]
        waited = time.monotonic() - started
        num_pending = sum(not future.done() for future in futures)
    assert num_pending <= 2 + 1  # what fits beside the last one
    assert waited > 0.25  # three of them had to be done before the last got in


def hold(array: np.ndarray) -> int:
    time.sleep(0.1)
    return array.size


def test_task_larger_than_all_room_gets_in_alone() -> None:
    with MetricPool(1, max_pending_bytes=10) as pool:
        assert pool.submit(len, bytes(1000)).result() == 1000
        assert pool.submit(len, bytes(2000)).result() == 2000


def test_workers_have_one_thread() -> None:
    with MetricPool(1) as pool:
        assert set(pool.submit(num_threads).result()) == {1}


# ---- ends -------------------------------------------------------------------------------------------


def test_pool_that_was_closed_can_be_used_again_and_leaves_no_process() -> None:
    pool = MetricPool(2)
    first = {pool.submit(os.getpid).result() for _ in range(4)}
    pool.close()
    assert not any(is_running(process) for process in first)
    with pool:
        assert pool.submit(os.getpid).result() not in first


def test_cancelled_pool_does_not_begin_what_waits() -> None:
    pool = MetricPool(1)
    futures = [pool.submit(time.sleep, 0.2) for _ in range(20)]
    while not (futures[0].running() or futures[0].done()):
        time.sleep(0.01)
    pool.close(cancel=True)
    assert sum(future.cancelled() for future in futures) >= 17
    assert pool.submit(abs, -1).result() == 1  # there is room again
    pool.close()


def test_pool_is_cancelled_where_the_block_fails() -> None:
    futures: list[Future[None]] = []

    def fail_inside() -> None:
        with MetricPool(1) as pool:
            futures.extend(pool.submit(time.sleep, 0.2) for _ in range(10))
            raise KeyError

    with pytest.raises(KeyError):
        fail_inside()
    assert any(future.cancelled() for future in futures)


SCRIPT = """
import os, sys, time
from audiozen.metrics.pool import MetricPool
pool = MetricPool(2)
print(*{pool.submit(os.getpid).result() for _ in range(20)}, flush=True)
if sys.argv[1] == "forget":
    pool.submit(time.sleep, 60)
    time.sleep(0.2)
else:
    time.sleep(60)
"""


def test_process_that_forgets_its_pool_ends() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, "forget"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    await_the_end_of([int(word) for word in done.stdout.split()])


def test_workers_of_a_killed_process_end() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "wait"], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    workers = [int(word) for word in parent.stdout.readline().split()]
    parent.kill()
    parent.wait()
    await_the_end_of(workers)
    parent.stdout.close()


def await_the_end_of(processes: list[int]) -> None:
    """A process that was killed has closed its files a moment before it has ended."""
    deadline = time.monotonic() + 20
    while any(is_running(process) for process in processes):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in {"Z", "X"}


# ---- gathered ---------------------------------------------------------------------------------------


def test_gathered_waits_for_all_parts_and_keeps_their_order() -> None:
    first: Future[int] = Future()
    second: Future[int] = Future()
    combined = gathered([first, 7, second], list)
    second.set_result(2)
    assert not combined.done()
    first.set_result(1)
    assert combined.result() == [1, 7, 2]


def test_gathered_without_futures_is_done_at_once() -> None:
    assert gathered([1, 2], sum).result() == 3


def test_gathered_passes_other_errors_on() -> None:
    broken: Future[int] = Future()
    broken.set_exception(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        gathered([broken], list).result()


def test_parts_that_end_in_several_threads_count_once() -> None:
    futures: list[Future[int]] = [Future() for _ in range(64)]
    combined = gathered(futures, sum)
    threads = [threading.Thread(target=f.set_result, args=(1,)) for f in futures]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert combined.result(timeout=5) == 64


# ---- forks ------------------------------------------------------------------------------------------


def test_worker_that_dies_with_nothing_to_do_costs_nothing() -> None:
    with MetricPool(1) as pool:
        os.kill(pool.submit(os.getpid).result(), signal.SIGKILL)
        time.sleep(0.5)
        assert [pool.submit(abs, -number).result() for number in range(5)] == list(range(5))


def test_end_of_the_process_that_looks_after_the_workers_is_told() -> None:
    pool = MetricPool(1)
    keeper = pool.submit(os.getppid).result()
    os.kill(keeper, signal.SIGKILL)
    with pytest.raises(WorkerDied, match="looks after the workers has ended"):
        pool.submit(time.sleep, 30).result(timeout=20)
    pool.close()
    assert pool.submit(abs, -1).result() == 1
    pool.close()


IMPORTING = """
import sys
from audiozen.metrics.pool import MetricPool

sys.path.insert(0, sys.argv[1])
import tasks
with MetricPool(1) as pool:
    assert pool.submit(abs, -1).result() == 1
    future = pool.submit(tasks.die)
    import slow_to_import  # meanwhile, the worker is replaced
    print(type(future.exception()).__name__)
    print(pool.submit(tasks.use).result(timeout=30))
"""


def test_worker_is_replaced_while_the_calling_process_imports(tmp_path: Path) -> None:
    """One that was forked by it at that moment would wait for ever for the lock of the module."""
    (tmp_path / "slow_to_import.py").write_text("import time\ntime.sleep(2)\nvalue = 3\n")
    (tmp_path / "tasks.py").write_text(
        "import os\ndef die():\n    os.abort()\n"
        "def use():\n    import slow_to_import\n    return slow_to_import.value\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", IMPORTING, tmp_path],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == ["WorkerDied", "3"]


def test_process_that_got_stuck_before_it_was_there_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle_down = workers._settle_down

    def get_stuck_once(*arguments: object) -> None:
        with contextlib.suppress(FileExistsError):
            (tmp_path / "stuck").touch(exist_ok=False)
            time.sleep(600)
        settle_down(*arguments)

    monkeypatch.setattr(workers, "_settle_down", get_stuck_once)
    monkeypatch.setattr(workers, "START_TIMEOUT", 5.0)
    with MetricPool(2) as pool:
        assert [pool.submit(abs, -n).result(timeout=60) for n in range(4)] == [0, 1, 2, 3]
    assert (tmp_path / "stuck").exists()


def test_pool_that_is_always_stuck_is_told_and_can_be_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "_settle_down", lambda _: time.sleep(600))
    monkeypatch.setattr(workers, "START_TIMEOUT", 0.2)
    with MetricPool(1) as pool, pytest.raises(WorkerDied, match="has ended"):
        pool.submit(abs, -1).result(timeout=60)
