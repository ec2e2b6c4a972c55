"""What is counted of a step, a save and a signal is the same however many there are."""

from __future__ import annotations

import logging

import pytest
import torch

from benchmarks import growth
from benchmarks.growth import Computed, Counted, Folder, Row, Steps


@pytest.fixture(autouse=True)
def process_as_it_was():
    """A benchmark has a process of its own, and sets its threads and what is logged."""
    logger = logging.getLogger("audiozen")
    before, level = torch.get_num_threads(), logger.level
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    logger.setLevel(level)


@pytest.mark.parametrize("shuffle", [True, False])
def test_steps_call_as_many_functions_in_an_epoch_of_ten_million_samples_as_of_a_thousand(shuffle):
    growth.train(10**3, Steps(), shuffle=shuffle)  # what is made once
    few, before_few = growth.calls_of_steps(10**3, shuffle=shuffle)
    many, before_many = growth.calls_of_steps(10**7, shuffle=shuffle)
    # Shuffled positions beyond the end are looked up again, of one sample in so many, whatever their number.
    assert many == pytest.approx(few, rel=0.01 if shuffle else 1e-9)
    # Setting up a training calls some 3,000 functions, a few more or less by what the process has done before.
    assert before_many == pytest.approx(before_few, abs=50)


def test_steps_hold_no_order_of_ten_million_samples():
    growth.train(10**3, Steps(), shuffle=True)
    assert growth.traced_kilobytes(10**7, shuffle=True) < 1000


@pytest.fixture(scope="module")
def operations(tmp_path_factory) -> list[dict[str, int]]:
    root = tmp_path_factory.mktemp("growth")
    costs = [growth.costs_of(Folder(root, number), num_rounds=1) for number in (1, 200)]
    return [{name: count for name, (count, _) in found.items()} for found in costs]


@pytest.mark.parametrize(
    "name", ["save, none removed", "save, the oldest removed", "nothing to remove"]
)
def test_save_among_many_checkpoints_touches_as_many_files_as_among_one(operations, name):
    few, many = operations
    assert many[name] == few[name] > 0


def test_newest_good_checkpoint_is_found_by_reading_each_manifest_once(operations):
    few, many = (found["find the newest good one"] for found in operations)
    assert many - few <= 10 * (200 - 1)


def test_signals_call_as_many_functions_where_there_are_many():
    growth.validate(growth.FEW_SIGNALS, Counted())
    few, many = growth.per_further_signal(growth.calls_of_validation)
    assert many == pytest.approx(few, rel=0.02)


def test_functions_and_operations_on_files_are_counted(tmp_path):
    data = Computed(10)
    with Counted() as counted:
        data[0]
        data[1]
        (tmp_path / "one").mkdir()
    assert counted.num_file_operations == 1
    assert 2 < counted.num_calls < 20


@pytest.mark.parametrize(
    ("values", "limit", "grows"),
    [
        ([10, 11], 1.1, False),
        ([10, 12], 1.1, True),
        ([10, 12], None, False),
        ([0, 12], 1.1, True),
        ([12, 10], 1.1, False),
    ],
)
def test_row_grows_where_it_must_not(values, limit, grows):
    assert Row("calls", values, limit).grows == grows


def test_what_grows_ends_with_1(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["growth.py", "--quick"])
    monkeypatch.setattr(
        growth, "tables", lambda num_rounds: [Row("calls", [1, num_rounds + 1], 1.1)]
    )
    with pytest.raises(SystemExit) as ended:
        growth.main()
    assert ended.value.code == 1
    assert "grows: calls, 2.00 times; wanted: at most 1.1" in capsys.readouterr().out
