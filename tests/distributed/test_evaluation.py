"""The same scores, tables and sounds on one, two and three processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.distributed.launch import documents

WORKER = Path(__file__).parent / "worker.py"
SETS = ["13", "13 in batches", "one", "few", "several"]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory) -> dict[int, list[dict]]:
    folder = tmp_path_factory.mktemp("evaluated")
    return {
        p: documents([WORKER, "evaluate_exactly", folder / str(p)], p, folder / f"output_{p}")
        for p in (1, 2, 3)
    }


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("num_processes", [2, 3])
def test_epoch_end_receives_what_it_receives_on_one_process(evaluated, num_processes, name):
    expected = evaluated[1][0][name]
    main, *others = [process[name] for process in evaluated[num_processes]]
    assert main["outputs"] == expected["outputs"]
    assert all(other["outputs"] == "[]" for other in others)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("num_processes", [2, 3])
def test_the_score_is_the_same_to_the_last_bit_on_every_process(evaluated, num_processes, name):
    everyone = [process[name]["score"] for process in evaluated[num_processes]]
    assert set(everyone) == {evaluated[1][0][name]["score"]}


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("num_processes", [2, 3])
def test_tables_are_the_same_byte_for_byte(evaluated, num_processes, name):
    tables = evaluated[num_processes][0][name]["tables"]
    assert tables == evaluated[1][0][name]["tables"]
    assert len(tables) == (4 if name == "several" else 1)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("num_processes", [2, 3])
def test_what_the_steps_log_is_what_one_process_logs(evaluated, num_processes, name):
    for kind in ("logged", "heard"):
        assert evaluated[num_processes][0][name][kind] == evaluated[1][0][name][kind]
    assert "valid/0_0" in evaluated[1][0][name]["heard"]


@pytest.mark.parametrize("name", SETS)
def test_an_evaluation_gathers_objects_at_most_once(evaluated, name):
    assert evaluated[1][0][name]["gathers"] == {}
    for num_processes in (2, 3):
        for process in evaluated[num_processes]:
            assert process[name]["gathers"] == {"gather_object": 1}
