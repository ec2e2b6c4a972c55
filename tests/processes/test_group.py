from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
import torch

from audiozen.processes.group import Group
from tests.distributed.launch import documents, free_port

SCRIPT = """
import json, torch
from audiozen.processes.group import Group

group = Group()
mine = group.rank + 1
results = {
    "rank": group.rank,
    "is_main": group.is_main,
    "broadcast": group.broadcast({"of": group.rank}, "a"),
    "gather": group.gather(["x"] * mine, "b"),
    "all_gather": group.all_gather(mine, "c"),
    "max": group.max([mine, -mine, 0.5], "d"),
    "any": [group.any(False, "e"), group.any(group.rank == 1, "e")],
    "all_equal": [group.all_equal([1, 2.5], "f"), group.all_equal([1, mine], "f")],
    "sum": group.sum(torch.tensor([mine, 0.25], dtype=torch.float64), "g").tolist(),
}
group.wait("h")
another = Group()  # a second trainer in the same script
results["again"] = another.all_gather(mine, "i")
print(json.dumps(results))
"""


def test_alone_every_verb_does_nothing():
    group = Group()
    group.wait("nothing")
    values = torch.tensor([1.0])
    assert group.is_main
    assert group.broadcast(3, "a") == 3
    assert group.gather("x", "b") == group.all_gather("x", "c") == ["x"]
    assert group.max([2, -1], "d") == [2, -1]
    assert group.any(True, "e")
    assert not group.any(False, "e")
    assert group.all_equal([1.0], "f")
    assert group.sum(values, "g") is values
    assert group.stop_requested is None


@pytest.mark.parametrize("num_processes", [2, 3])
def test_several_processes_speak_to_each_other(tmp_path, num_processes):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    results = documents([script], num_processes, tmp_path / "output")
    everyone = list(range(1, num_processes + 1))
    for rank, found in enumerate(results):
        assert found == {
            "rank": rank,
            "is_main": rank == 0,
            "broadcast": {"of": 0},
            "gather": [["x"] * n for n in everyone] if rank == 0 else [],
            "all_gather": everyone,
            "max": [num_processes, -1, 0.5],
            "any": [False, True],
            "all_equal": [True, False],
            "sum": [sum(everyone), 0.25 * num_processes],
            "again": everyone,
        }


def test_a_process_that_meets_nobody_says_where_it_waited(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
            from audiozen.processes import group
            from audiozen.errors import TrainingError
            group.SECONDS_TO_JOIN = 2.0
            try:
                group.Group()
            except TrainingError as error:
                print(error)
            """)
    )
    port = str(free_port())
    env = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    done = subprocess.run(
        [sys.executable, script], env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert f"process 1 of 2 did not meet the others at 127.0.0.1:{port}" in done.stdout
    assert "are all of them started" in done.stdout
