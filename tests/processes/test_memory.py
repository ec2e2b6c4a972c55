"""Page faults are counted, each time in a fresh process."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from audiozen.processes import memory

BATCHES_ARE_FREED = """
import resource
from audiozen.processes.memory import keep_freed_memory

def make_batches():
    for _ in range(100):
        batch = [bytearray(b"1") * 1_000_000 for _ in range(10)]

{prepare}
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
make_batches()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
FAULTS_OF_FRESH_MEMORY = 1000 * 1_000_000 // os.sysconf("SC_PAGE_SIZE")

with_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone is told")


def page_faults(prepare: str, **variables: str) -> int:
    """Of a process in which 10 arrays of 1 MB are made and freed, 100 times."""
    chosen = ("MALLOC_", "GLIBC_")
    environment = {name: os.environ[name] for name in os.environ if not name.startswith(chosen)}
    done = subprocess.run(
        [sys.executable, "-c", BATCHES_ARE_FREED.format(prepare=prepare)],
        env=environment | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@with_glibc
def test_freed_arrays_are_used_again():
    assert page_faults("pass") > 0.5 * FAULTS_OF_FRESH_MEMORY
    assert page_faults("keep_freed_memory()") < 0.05 * FAULTS_OF_FRESH_MEMORY


@with_glibc
@pytest.mark.parametrize(
    "variables",
    [{"MALLOC_TOP_PAD_": "0"}, {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=3"}],
    ids=lambda variables: next(iter(variables)),
)
def test_environment_has_the_last_word(variables):
    assert page_faults("keep_freed_memory()", **variables) > 0.5 * FAULTS_OF_FRESH_MEMORY


IN_A_DATA_WORKER = """
from types import SimpleNamespace
from audiozen.data import workers

workers._leave_signals_to_the_main_process = lambda: None
workers.get_worker_info = lambda: SimpleNamespace(dataset=SimpleNamespace(dataset=None))
workers.WorkerStart(None)(0)
"""
IN_TRAINING = """
from audiozen.config.schema import TrainerConfig
from audiozen.engine import Engine

Engine(TrainerConfig(device="cpu"))
"""


@with_glibc
@pytest.mark.parametrize("prepare", [IN_TRAINING, IN_A_DATA_WORKER])
def test_training_and_data_workers_use_freed_arrays_again(prepare):
    assert page_faults(prepare) < 0.05 * FAULTS_OF_FRESH_MEMORY


@with_glibc
def test_other_tunables_are_none_of_malloc():
    faults = page_faults("keep_freed_memory()", GLIBC_TUNABLES="glibc.rtld.nns=4")
    assert faults < 0.05 * FAULTS_OF_FRESH_MEMORY


@with_glibc
def test_more_than_the_largest_kept_is_given_back():
    program = """
import resource
from audiozen.processes.memory import LARGEST_KEPT, keep_freed_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

keep_freed_memory()
before = resident()
array = bytearray(b"1") * (LARGEST_KEPT + 1_000_000)
assert resident() - before > LARGEST_KEPT
del array
assert resident() - before < 5_000_000
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("platform_name", ["darwin", "win32"])
def test_nothing_is_done_elsewhere(monkeypatch, platform_name):
    monkeypatch.setattr(sys, "platform", platform_name)
    monkeypatch.setattr(memory.ctypes, "CDLL", None)  # calling it would be an error
    memory.keep_freed_memory()


def test_another_libc_is_left_alone(monkeypatch):
    monkeypatch.setattr(memory, "_is_set_by_the_user", lambda: False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: object())  # without mallopt
    memory.keep_freed_memory()
