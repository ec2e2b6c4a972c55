from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from audiozen.cli import throughput
from audiozen.cli.throughput import (
    Trial,
    advice,
    cores_left,
    largest_part,
    load,
    loading_advice,
    no_core_left,
    optimizer_advice,
    validation_advice,
    where_a_step_goes,
    where_a_validation_goes,
    workers_to_try,
)
from audiozen.trainer.metric_time import EvaluationTime
from audiozen.trainer.step_parts import MeasuredSteps

MEASURED = MeasuredSteps(
    10, {"data": 0.61, "copy": 0.0, "forward": 0.2, "backward": 0.14, "optimizer": 0.05}
)


@pytest.fixture(autouse=True)
def cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "num_cores", lambda: 8)
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))


def trainer(device_type: str = "cpu", precision: str = "fp32", *, compiles: bool = False):
    config = SimpleNamespace(precision=precision, compile=compiles)
    return SimpleNamespace(device=torch.device(device_type), config=config, optimizers={})


def test_parts_are_told_in_per_cent_with_the_largest_first() -> None:
    expected = "data 61 % (61.0 ms), forward 20 %, backward 14 %, optimizer 5 %; 100 ms per step"
    assert where_a_step_goes(MEASURED) == f"{expected}, mean of 10 real ones"
    assert where_a_step_goes(MEASURED, "cuda").endswith(
        "waiting for the cuda device at each border"
    )
    assert largest_part(MEASURED) == "data"


def steps(**seconds: float) -> MeasuredSteps:
    return MeasuredSteps(2, {part: 2 * value for part, value in seconds.items()})


@pytest.mark.parametrize(
    ("measured", "num_workers", "left", "expected"),
    [
        (steps(data=3, forward=2), 0, 7, 2),  # 3 s to load in 2 s
        (steps(data=3, forward=2), 0, 1, 1),  # better than none
        (steps(data=3, forward=2), 0, 0, None),
        (steps(data=1, forward=0.9), 0, 7, 2),
        (steps(waiting=3, forward=2), 2, 7, 5),  # 2 workers load for 5 s each: 10 s to load in 2 s
        (steps(waiting=3, forward=2), 2, 4, 4),
        (steps(waiting=3, forward=2), 2, 2, None),
        (steps(waiting=3, forward=2), 4, 2, None),
        (steps(data=3, forward=0), 0, 7, 7),
    ],
)
def test_workers_that_are_tried_load_as_fast_as_the_rest_goes(
    measured: MeasuredSteps, num_workers: int, left: int, expected: int | None
) -> None:
    assert workers_to_try(measured, num_workers, left) == expected


def test_cores_that_are_left_are_those_that_the_model_does_not_use() -> None:
    assert cores_left(trainer()) == 8 - torch.get_num_threads()
    assert cores_left(trainer("cuda")) == 7


def test_workers_are_advised_only_where_they_have_helped() -> None:
    tried = "train_dataset.dataloader.num_workers=2 was tried"
    helped = loading_advice(Trial(2, 0.05, (0.12, 0.1)))
    assert helped == f"{tried}: 50.0 ms per step in place of 100 ms to 120 ms"
    in_vain = loading_advice(Trial(2, 0.095, (0.1, 0.1)))
    assert in_vain.startswith(f"{tried} and does not help: 95.0 ms per step in place of 100 ms to")
    assert "audiozen pack" in in_vain
    for trial in (Trial(2, 0.095, (0.1, 0.2)), Trial(2, 0.5, (0.4, 0.15))):
        unclear = loading_advice(trial)
        assert unclear.startswith(f"{tried}, and figures vary too much to tell")
        assert "audiozen pack" not in unclear


def test_without_a_core_that_is_left_no_workers_are_advised() -> None:
    assert no_core_left(0).startswith("loaded by this process, and no core is left for more")
    assert no_core_left(2).startswith("loaded by 2 workers, and no core is left for more")


@pytest.mark.parametrize(
    ("busy", "note"), [(9.0, ""), (9.5, "; the machine is busy: load 9.5 on 8 cores")]
)
def test_other_programs_are_told(busy: float, note: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (busy, 0.0, 0.0))
    assert load() == note
    in_vain = loading_advice(Trial(2, 0.1, (0.1, 0.1)))
    assert in_vain.endswith("other programs have the cores") == bool(note)
    assert ("audiozen pack" in in_vain) != bool(note)


def test_fused_updates_are_advised_where_there_are_some_and_they_are_not_used() -> None:
    parameters = [torch.zeros(2, requires_grad=True)]
    assert optimizer_advice([torch.optim.Adam(parameters)]).endswith(
        "Adam can be fused: fused = true"
    )
    for optimizer in (torch.optim.Adam(parameters, fused=True), torch.optim.RMSprop(parameters)):
        assert "fused" not in optimizer_advice([optimizer])


@pytest.mark.parametrize("part", ["forward", "backward"])
def test_settings_of_the_model_are_named_where_there_is_a_gpu_and_they_are_not_used(part) -> None:
    assert advice(part, trainer()) == "the model itself"
    text = "the model itself; not used: "
    precision, compilation = "trainer.args.precision=bf16", "trainer.args.compile=true"
    assert advice(part, trainer("cuda")) == f"{text}{precision}, {compilation}"
    assert advice(part, trainer("cuda", "bf16")) == f"{text}{compilation}"
    assert advice(part, trainer("cuda", "fp16", compiles=True)) == "the model itself"


@pytest.mark.parametrize(
    ("part", "word"), [("optimizer", "clip"), ("copy", "pin_"), ("other", "batches")]
)
def test_every_other_part_has_a_word_on_it(part: str, word: str) -> None:
    assert word in advice(part, trainer())


def test_validation_is_told_per_batch() -> None:
    text = where_a_validation_goes(EvaluationTime(0.2, 0.02, 0.1, num_workers=2), num_batches=2)
    beside = "50.0 ms of CPU time in 2 metric workers"
    assert text == f"model 100 ms, metrics 10.0 ms in this process and {beside}, per batch"
    alone = where_a_validation_goes(EvaluationTime(0.2, 0.02, 0.0, num_workers=0), num_batches=2)
    assert alone == "model 100 ms, metrics 10.0 ms in this process, per batch"


@pytest.mark.parametrize(
    ("took", "word"),
    [
        (EvaluationTime(1, 0, 1.9, 2), ""),
        (EvaluationTime(1, 0, 20, 2), "num_metric_workers=8"),
        (EvaluationTime(1, 0, 20, 8), "fewer or cheaper"),
        (EvaluationTime(1, 2, 0, 0), ""),
        (EvaluationTime(1, 2, 0, 2), ""),
        (EvaluationTime(1, 0.5, 0, 0), ""),
    ],
)
def test_advice_on_metrics_is_given_where_they_are_waited_for(
    took: EvaluationTime, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audiozen.trainer.metric_time.num_cores", lambda: 8)
    text = validation_advice(took)
    assert word in text
    assert bool(word) == bool(text)
