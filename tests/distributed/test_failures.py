"""What happens to all processes when something happens to one."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from audiozen.trainer.checkpoint import CheckpointStore
from tests.distributed.launch import Ended, documents, run

WORKER = Path(__file__).parent / "worker.py"
PLACES = ["training_step", "training_epoch_end", "validation_step", "validation_epoch_end"]
STRATEGIES = ["ddp", "fsdp"]


def misfortune(
    folder: Path, place: str, rank: int, what: str, strategy: str = "ddp", num_processes: int = 2
) -> list[Ended]:
    command = [WORKER, "meet_misfortune", folder, place, str(rank), what, strategy]
    without = [rank] if what == "SIGSTOP" else []
    return run(command, num_processes, folder / "output", timeout=60, without=without)


def go_on(folder: Path, strategy: str = "ddp") -> list:
    command = [WORKER, "meet_misfortune", folder, "nowhere", "0", "nothing", strategy]
    return documents(command, 2, folder / "output_after")


def told(ended: list[Ended]) -> str:
    return "".join(process.stderr for process in ended)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict:
    return {s: go_on(tmp_path_factory.mktemp(s), s)[0] for s in STRATEGIES}


# ---- an exception ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "rank"), [(p, r) for p in PLACES for r in (0, 1) if (p, r) != (PLACES[3], 1)]
)
def test_an_exception_in_a_hook_ends_all_processes_and_is_told_once(tmp_path, place, rank):
    ended = misfortune(tmp_path, place, rank, "raise")
    assert [process.returncode for process in ended] == [1, 1]
    assert told(ended).count(f"ValueError: misfortune in {place}") == 1
    assert told(ended).count("Traceback") == 1
    first, last = sorted(process.seconds for process in ended)
    assert last - first < 5


def test_an_exception_under_fsdp_ends_all_processes(tmp_path):
    ended = misfortune(tmp_path, "validation_step", 1, "raise", "fsdp", num_processes=3)
    assert [process.returncode for process in ended] == [1, 1, 1]
    assert told(ended).count("ValueError: misfortune in validation_step") == 1


# ---- a signal ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("place", ["training_step", "validation_step"])
def test_a_signal_to_one_process_saves_and_stops_all(tmp_path, undisturbed, place, rank, strategy):
    ended = misfortune(tmp_path, place, rank, "SIGTERM", strategy)
    assert [process.returncode for process in ended] == [75, 75], told(ended)
    newest = CheckpointStore(tmp_path / "run" / "checkpoints").newest_good()
    assert newest is not None
    assert go_on(tmp_path, strategy)[0] == undisturbed[strategy]


# ---- a death, and a stop that is none ------------------------------------------------------------------


@pytest.mark.parametrize("rank", [0, 1])
def test_the_death_of_one_process_ends_the_other_with_its_name(tmp_path, undisturbed, rank):
    ended = misfortune(tmp_path, "training_epoch_end", rank, "SIGKILL")
    assert ended[rank].returncode == -signal.SIGKILL
    assert ended[1 - rank].returncode == 1
    assert told(ended).count(f"process {rank} on ") == 1
    assert "Last seen in training_epoch_end, epoch 1" in ended[1 - rank].stderr
    assert ended[1 - rank].seconds - ended[rank].seconds < 10
    assert go_on(tmp_path)[0] == undisturbed["ddp"]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_held_is_named_with_phase_and_stack(tmp_path, rank):
    ended = misfortune(tmp_path, "validation_step", rank, "SIGSTOP")
    other = ended[1 - rank]
    assert other.returncode == 1
    assert f"process {rank} on " in other.stderr
    assert "no sign of life" in other.stderr
    assert "Last seen in validation_step, epoch 1" in other.stderr
    assert 'in validation_step: self.strike("validation_step")' in other.stderr


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("place", ["training_step", "validation_step"])
def test_a_hook_that_sleeps_is_named_with_phase_and_stack(tmp_path, place, rank):
    ended = misfortune(tmp_path, place, rank, "sleep")
    assert [process.returncode for process in ended] == [1, 1]
    text = told(ended)
    assert text.count("time.sleep(600)") == 1
    busy = text[text.index(f"process {rank} on ") :]
    assert f"busy in {place}" in busy[: busy.index("\n")]
    assert max(process.seconds for process in ended) < 40


# ---- different ways -----------------------------------------------------------------------------------------


def test_processes_that_wait_for_different_things_are_told_of(tmp_path):
    ended = run([WORKER, "go_astray", tmp_path, "early return"], 2, tmp_path / "output", timeout=60)
    assert [process.returncode for process in ended] == [1, 1]
    assert "something that not all do" in told(ended)


def test_gradients_that_are_not_exchanged_are_told_of(tmp_path):
    ended = run([WORKER, "go_astray", tmp_path, "around the model"], 2, tmp_path / "output")
    assert [process.returncode for process in ended] == [1, 1]
    assert "self.model(...)" in told(ended)
