from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audiozen.trainer.epoch_output import BLOCK_SIZE, EpochOutput, fetch, means, weighted_means
from audiozen.trainer.serialization import flatten, unflatten
from tests.distributed.launch import documents


def saved_and_loaded(output: EpochOutput) -> EpochOutput:
    """What a checkpoint makes of it."""
    document, tensors = flatten(output.state_dict())
    loaded = EpochOutput()
    loaded.load_state_dict(unflatten(json.loads(json.dumps(document, allow_nan=False)), tensors))
    return loaded


def test_entries_come_back_as_they_were_returned_but_as_floats():
    output = EpochOutput()
    output.append(torch.tensor(1.5, requires_grad=True))
    output.append({"loss": torch.tensor([2.0]), "snr": 3, "count": torch.tensor(4)})
    assert output.floats() == [1.5, {"loss": 2.0, "snr": 3.0, "count": 4.0}]
    assert all(isinstance(v, float) for v in output.floats()[1].values())


def test_double_precision_is_kept():
    value = 1 / 3
    output = EpochOutput()
    output.append({"loss": torch.tensor(value, dtype=torch.float64), "other": torch.tensor(1.0)})
    assert output.floats()[0]["loss"] == value


def test_tensors_do_not_pile_up():
    output = EpochOutput()
    for _ in range(3 * BLOCK_SIZE + 1):
        output.append(torch.zeros(()))
        assert len(output._pending) < BLOCK_SIZE
    assert len(output._pending) == 1
    assert len(output) == 3 * BLOCK_SIZE + 1


def test_scalars_are_read_in_one_transfer_and_only_when_asked_for(monkeypatch):
    reads = []
    original = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda t: reads.append(t.numel()) or original(t))
    output = EpochOutput()
    for _ in range(100):
        output.append({"loss": torch.zeros(()), "other": torch.ones(())})
    assert reads == []
    output.floats()
    assert reads == [200]


def test_tensors_that_the_step_writes_to_later_are_kept_as_they_were():
    output, running = EpochOutput(), torch.zeros(())
    for _ in range(3):
        running += 1
        output.append({"loss": torch.tensor(0.5), "running": running})
    assert [entry["running"] for entry in output.floats()] == [1.0, 2.0, 3.0]


def test_a_small_part_of_a_large_tensor_does_not_keep_it_in_memory():
    output, large = EpochOutput(), torch.zeros(1000)
    output.append(large[3])
    assert output._pending[0].untyped_storage().nbytes() == 4


def test_mean_of_the_latest_micro_batches():
    output = EpochOutput()
    output.append(torch.tensor(5.0))
    assert output.latest(4) == {"loss": 5.0}
    output.append({"loss": torch.tensor(1.0), "a": 3})
    output.append({"a": 4, "loss": torch.tensor(2.0)})
    assert output.latest(1) == {"a": 4.0, "loss": 2.0}
    assert output.latest(5) == output.latest(3)
    assert output.latest(2) == {"loss": 1.5, "a": 3.5}
    assert output.latest(3)["loss"] == pytest.approx(8 / 3)


def test_saved_entries_go_on():
    first = EpochOutput()
    first.append(torch.tensor(1.0))
    second = saved_and_loaded(first)
    second.append(torch.tensor(2.0))
    second.append({"loss": torch.tensor(3.0)})
    assert second.floats() == [1.0, 2.0, {"loss": 3.0}]
    assert second.latest(2) == {"loss": 2.5}
    assert first.floats() == [1.0]


def test_a_saved_state_does_not_change_when_more_is_appended():
    output = EpochOutput()
    output.append(torch.tensor(1.0))
    state = output.state_dict()
    for _ in range(2 * BLOCK_SIZE):
        output.append({"loss": torch.tensor(2.0)})
    loaded = EpochOutput()
    loaded.load_state_dict(state)
    assert loaded.floats() == [1.0]


scalars_of_a_step = st.dictionaries(st.sampled_from("abcd"), st.floats(), max_size=4)


@given(st.lists(st.one_of(st.floats(), scalars_of_a_step)), st.integers(0, 50))
@settings(max_examples=50, deadline=None)
def test_entries_of_any_layout_in_any_order_survive_a_checkpoint(entries, cut):
    output = EpochOutput()
    for index, entry in enumerate(entries):
        if index == cut:
            output = saved_and_loaded(output)
        is_bare = isinstance(entry, float)
        output.append(torch.tensor(entry, dtype=torch.float64) if is_bare else entry)
    assert len(output) == len(entries)
    assert repr(output.floats()) == repr(entries)  # repr tells NaN and the order of the names
    assert repr(saved_and_loaded(output).floats()) == repr(entries)


def test_a_saved_entry_takes_eight_bytes_per_scalar_and_four_for_itself():
    output = EpochOutput()
    for _ in range(1000):
        output.append({"loss": torch.zeros(()), "snr": 1, "count": 2})
    document, tensors = flatten(output.state_dict())
    assert sum(tensor.nbytes for tensor in tensors.values()) == 1000 * (3 * 8 + 4)
    assert len(json.dumps(document)) < 200


def test_memory_grows_by_little_more_than_what_is_kept():
    program = """
import torch
from audiozen.trainer.epoch_output import EpochOutput

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

def append(num_entries):
    for _ in range(num_entries):
        output.append({"loss": torch.zeros(()), "snr": torch.zeros(()), "count": 3})

output = EpochOutput()
append(5_000)
before = resident()
append(50_000)
print((resident() - before) / 50_000)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 90


def test_means_over_the_entries_that_have_a_scalar():
    assert means([{"loss": 1.0, "a": 4.0}, {"loss": 3.0}]) == {"loss": 2.0, "a": 4.0}
    assert means([1.0, 2.0]) == {"loss": 1.5}


@pytest.mark.parametrize("scalars", [[], [1.0, torch.tensor(2), torch.tensor([3.5])]])
def test_fetch(scalars):
    assert fetch(scalars) == [1.0, 2.0, 3.5][: len(scalars)]


# ---- several processes ------------------------------------------------------------------------------

SEVERAL = """
import json, math, warnings
import torch
from audiozen.errors import TrainingError
from audiozen.processes.group import Group
from audiozen.trainer.epoch_output import EpochOutput, PendingMeans

warnings.simplefilter("error")
group = Group()
rank = group.rank
results = {}

output = EpochOutput()
output.append(torch.tensor(1.0 + rank), 2)  # 2 samples with 1, 2 with 2, 2 with 3
output.append({"loss": torch.tensor(1.0 + rank), "b": 10.0 * rank}, rank)  # none, 1, 2 samples
output.merge(group)
output.append(torch.tensor(math.nan if rank == 0 else 5.0), rank)  # of no sample of the first process
output.merge(group)
results["merged"] = output.floats()
output.merge(group)
results["merged again"] = output.floats()
results["state"] = output.state_dict()["values"].tolist()
output.append(torch.tensor(8.0), 1)
other = EpochOutput()
other.load_state_dict(output.state_dict())
results["loaded"] = other.floats()

uneven = EpochOutput()
uneven.append({"loss": torch.tensor(1.0)}, 1)
extra = {"extra": 7.0 + rank} if rank else {}
uneven.append({"loss": torch.tensor(3.0 * rank)} | extra, 1)
uneven.append(torch.tensor(6.0 * rank) if rank else {"loss": torch.tensor(3.0)}, 2)
uneven.append(torch.tensor(1.0 * rank), 1)
uneven.merge(group)
results["uneven"] = uneven.floats()


def means(scalars, weight, flag=False):
    return PendingMeans(group, scalars, weight, flag=flag).result()

results["scalars"] = means({"a": 1.0 * rank, "b": 3.0}, 1 + rank, flag=rank == 1)
results["other scalars"] = means({"a": 1.0 * rank} | extra, 1)
results["of some"] = means({"a": math.nan if rank == 1 else 2.0 + rank}, rank != 1)
results["many"] = means({str(i): 1.0 * rank for i in range(100)}, 1)

behind = EpochOutput()
for _ in range(1 + (rank == 2)):
    behind.append(torch.tensor(1.0), 1)
try:
    behind.merge(group)
except TrainingError as error:
    results["behind"] = str(error)
print(json.dumps(results))
"""


def test_entries_of_several_processes_are_weighted_by_their_samples(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SEVERAL)
    first, *others = documents([script], 3, tmp_path / "output")
    assert others == [first, first]
    assert first["merged"] == [2.0, {"loss": (2 + 2 * 3) / 3, "b": (10 + 2 * 20) / 3}, 5.0]
    assert first["merged again"] == first["merged"]
    assert first["state"] == [2.0, 8 / 3, 50 / 3, 5.0]
    assert first["loaded"] == [*first["merged"], 8.0]
    assert first["uneven"] == [
        {"loss": 1.0},
        {"loss": 3.0, "extra": 8.5},
        {"loss": (3.0 + 6.0 + 12.0) / 3},
        1.0,
    ]
    assert first["scalars"] == [{"a": (2 + 2 * 3) / 6, "b": 3.0}, True]
    assert first["other scalars"] == [{"a": 1.0, "extra": 8.5}, False]
    assert first["of some"] == [{"a": 3.0}, False]
    assert first["many"] == [{str(i): 1.0 for i in range(100)}, False]
    assert "different numbers of micro-batches since the last merge: 1, 1, 2" in first["behind"]


def test_the_latest_losses_are_weighted_by_their_samples():
    output = EpochOutput()
    output.append(torch.tensor(9.0), 5)
    output.append(torch.tensor(1.0), 3)
    output.append(torch.tensor(5.0), 1)
    assert output.latest(2) == {"loss": 2.0}
    assert weighted_means([1.0, {"loss": 4.0, "b": 2.0}], [0, 0]) == {"loss": 2.5, "b": 2.0}
