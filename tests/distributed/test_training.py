"""The same training on one, two and three processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.distributed.launch import documents

WORKER = Path(__file__).parent / "worker.py"
RUNS = [
    (num_processes, f"{strategy} {accumulation}")
    for num_processes in (2, 3)
    for strategy in ("ddp", "fsdp")
    for accumulation in (1, 2)
]
FREE = [
    (num_processes, f"{strategy} free") for num_processes in (2, 3) for strategy in ("ddp", "fsdp")
]
"""In these, no gradient is measured."""


def results_of(scenario: str, num_processes: int, folder: Path, *arguments: str) -> list[dict]:
    command = [WORKER, scenario, folder, *arguments]
    return documents(command, num_processes, folder / "output")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> dict[int, list[dict]]:
    folder = tmp_path_factory.mktemp("trained")
    return {p: results_of("train_the_same", p, folder / str(p)) for p in (1, 2, 3)}


def alone(trained, run: str) -> dict:
    return trained[1][0][f"auto {run.split()[1]}"]


def without_time(row: dict) -> dict:
    return {name: value for name, value in row.items() if name != "time"}


def flat(values) -> list[float]:
    if isinstance(values, dict):
        values = list(values.values())
    return (
        [number for value in values for number in flat(value)]
        if isinstance(values, list)
        else [values]
    )


@pytest.mark.parametrize(("num_processes", "run"), RUNS)
def test_each_step_sees_the_same_samples(trained, num_processes, run):
    everyone = [process[run]["seen"] for process in trained[num_processes]]
    expected = alone(trained, run)["seen"]
    for step, samples in enumerate(expected):
        assert {i for process in everyone for i in process[step]} == set(samples)
        counts = [len(process[step]) for process in everyone]
        assert sum(counts) == len(samples) or len(samples) < num_processes
    assert {len(process) for process in everyone} == {len(expected)}


@pytest.mark.parametrize(("num_processes", "run"), RUNS)
def test_logged_numbers_are_those_of_the_global_batch(trained, num_processes, run):
    found, expected = trained[num_processes][0][run]["rows"], alone(trained, run)["rows"]
    assert len(found) == len(expected) > 50
    assert "train/mean_index" in found[0]
    for row, other in zip(found, expected):
        assert without_time(row) == pytest.approx(without_time(other), rel=2e-5, abs=2e-6)


@pytest.mark.parametrize(("num_processes", "run"), RUNS)
def test_epoch_outputs_are_the_same_everywhere_and_those_of_one_process(
    trained, num_processes, run
):
    first, *others = [process[run]["epochs"] for process in trained[num_processes]]
    assert all(other == first for other in others)
    expected = alone(trained, run)["epochs"]
    assert [len(epoch) for epoch in first] == [len(epoch) for epoch in expected]
    assert flat(first) == pytest.approx(flat(expected), rel=2e-5, abs=2e-6)


@pytest.mark.parametrize(("num_processes", "run"), RUNS + FREE)
def test_weights_are_the_same_everywhere_and_those_of_one_process(trained, num_processes, run):
    first, *others = [process[run] for process in trained[num_processes]]
    expected = alone(trained, run)
    for key in ("weights", "loss_weight", "best"):
        assert all(other[key] == first[key] for other in others)
        assert flat(first[key]) == pytest.approx(flat(expected[key]), rel=1e-3, abs=1e-4)
    # More than the first step of its optimizer: it was trained.
    assert abs(first["loss_weight"]) > 0.01


@pytest.mark.parametrize("num_processes", [2, 3])
def test_adversaries_are_trained_as_by_one_process(tmp_path, num_processes):
    expected = results_of("train_adversaries", 1, tmp_path / "one")[0]["auto"]
    everyone = results_of("train_adversaries", num_processes, tmp_path / "several")
    for strategy in ("ddp", "fsdp"):
        assert all(process[strategy] == everyone[0][strategy] for process in everyone)
        assert flat(everyone[0][strategy]) == pytest.approx(flat(expected), rel=1e-3, abs=1e-4)


# ---- another number of processes ----------------------------------------------------------------------------


def consumed(results: list[dict]) -> list[int]:
    return [i for process in results for batch in process["seen"] for i in batch]


def test_a_run_goes_on_with_another_number_of_processes_and_strategy(tmp_path):
    """Steps of 6 samples throughout; 37 samples make 7 steps."""
    whole = results_of("go_on", 1, tmp_path / "whole", "auto", "6", "20")[0]
    parts = [
        (2, "ddp", 3, 3),  # inside the first epoch
        (1, "auto", 6, 5),
        (3, "fsdp", 2, 9),  # inside the second
        (2, "fsdp", 3, 12),
        (1, "ddp", 6, 16),
        (3, "ddp", 2, 20),
    ]
    for index, (num_processes, strategy, batch_size, max_steps) in enumerate(parts):
        results = results_of(
            "go_on",
            num_processes,
            tmp_path / "parts",
            *(strategy, str(batch_size), str(max_steps)),
        )
        assert {(r["step"], r["epoch"], r["position"]) for r in results} == {
            (max_steps, max_steps // 7 + 1, 6 * (max_steps % 7))
        }, index
    assert flat(results[0]["weights"]) == pytest.approx(flat(whole["weights"]), rel=1e-3, abs=1e-4)
    assert results[0]["best"] == pytest.approx(whole["best"], rel=1e-4)
    assert len(results[0]["output"]) == len(whole["output"]) == 6
    assert flat(results[0]["output"]) == pytest.approx(flat(whole["output"]), rel=1e-4)


def test_every_sample_of_an_epoch_comes_once_also_where_the_batch_changes(tmp_path):
    """One epoch: 2 x 4, then 3 x 4, then 1 x 4 samples a step."""
    seen = []
    for num_processes, max_steps in ((2, 1), (3, 2), (1, 7)):
        results = results_of("go_on", num_processes, tmp_path, "auto", "4", str(max_steps))
        seen += consumed(results)
    assert sorted(seen[:37]) == list(range(37))
    texts = "".join(path.read_text() for path in (tmp_path / "run" / "logs").glob("*.log"))
    assert "a step was of 8 samples and is of 12 from here on" in texts


# ---- data of other kinds ------------------------------------------------------------------------------------


def test_a_dataset_that_deals_unevenly_holds_up_nobody(tmp_path):
    """Process 0 has 5 samples, in 3 batches; process 1 has 7, in 4."""
    first, second = results_of("draw_unevenly", 2, tmp_path)
    assert first["step"] == second["step"] == 6
    assert first["seen"] == [[0, 2], [4, 6], [8]] * 2
    assert second["seen"] == [[1, 3], [5, 7], [9, 11]] * 2
    assert "process 1 has batches left in epoch 1" in (tmp_path / "output" / "stderr_1").read_text()


def test_batches_of_a_sampler_of_ones_own_are_dealt_in_turn(tmp_path):
    [one] = results_of("bucket", 1, tmp_path / "1")
    several = results_of("bucket", 2, tmp_path / "2")
    assert one["step"] == several[0]["step"] == 8
    dealt = [process["seen"] for process in several]
    assert [batch for pair in zip(*dealt) for batch in pair][:13] == one["seen"][:13]
    assert flat(several[0]["weights"]) == pytest.approx(flat(one["weights"]), rel=1e-3, abs=1e-4)


def test_an_epoch_of_which_no_whole_batch_is_left_is_over(tmp_path):
    """One process consumes 16 of 22 samples; three would need 12 for a step."""
    results_of("drop_the_last", 1, tmp_path, "4")
    results = results_of("drop_the_last", 3, tmp_path, "5")
    assert {(r["epoch"], r["step"]) for r in results} == {(2, 5)}
    assert sorted(consumed(results)) == list(range(12))


def test_a_process_may_leave_its_predictions_while_others_go_on(tmp_path):
    first, second = results_of("predict_some", 2, tmp_path)
    assert first["seen"] == [0]
    assert second["seen"] == [1, 3, 5, 7]


def test_clocks_patience_and_best_are_the_same_for_all(tmp_path):
    first, *others = results_of("decide_alike", 3, tmp_path)
    assert others == [first, first]
    assert first["step"] == 160  # validated at 40, and three times more without a better score
    assert first["waited"] == 3
    assert first["best"] == "epoch_0008"
    by_clock = [step for step in first["saved"] if step % 40]
    assert len(by_clock) >= 2
