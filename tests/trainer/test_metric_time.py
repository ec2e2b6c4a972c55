from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from audiozen.metrics import Scorer
from audiozen.metrics.scorer import Job
from audiozen.testing import RecordingTracker, TinyEnhancer
from audiozen.tracking.console import SilentConsole
from audiozen.trainer import metric_time
from audiozen.trainer.base_trainer import BaseTrainer
from audiozen.trainer.metric_time import EvaluationTime, watched_evaluation


class Scoring(BaseTrainer):
    """Scores with one cheap metric and one slow one."""

    def validation_step(self, batch, batch_idx):
        noisy, clean = batch
        scorer = Scorer(["si_sdr", "estoi"], 16_000)
        return scorer.submit(self.metric_pool, self.model(noisy), clean)


class Burning(BaseTrainer):
    """Its metric burns CPU time."""

    def validation_step(self, batch, batch_idx):
        return {"si_sdr": self.metric_pool.submit(burn, 0.02)}


def burn(seconds: float) -> list[float]:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return [seconds]


warm: list[bool] = []


def burn_more_at_first() -> list[float]:
    result = burn(0.02 if warm else 1.0)
    warm.append(True)
    return result


class WarmingUp(BaseTrainer):
    """Its metric pays for something in the first call of a process."""

    def validation_step(self, batch, batch_idx):
        return {"si_sdr": self.metric_pool.submit(burn_more_at_first)}


def fail() -> None:
    raise ZeroDivisionError("in a worker")


def build(
    tmp_path, cls=Scoring, num_metric_workers: int = 1, metric: str = "si_sdr"
) -> BaseTrainer:
    torch.manual_seed(0)
    model: nn.Module = TinyEnhancer()
    settings = {"num_threads": 1, "num_metric_workers": num_metric_workers, "best_metric": metric}
    return cls(
        model,
        config=settings,
        exp_dir=tmp_path,
        tracker=RecordingTracker(),
        console=SilentConsole(),
    )


def batches() -> list[list[tuple[torch.Tensor, torch.Tensor]]]:
    """One dataloader with one batch of two signals."""
    torch.manual_seed(1)
    return [[(torch.randn(2, 16_000), torch.randn(2, 16_000))]]


@pytest.mark.parametrize("num_metric_workers", [0, 1])
def test_scores_are_those_without_the_watch_and_everything_is_put_back(
    num_metric_workers, tmp_path
):
    trainer = build(tmp_path, num_metric_workers=num_metric_workers)
    expected = trainer.validate(batches())
    before, run = [set(vars(trainer)), set(vars(trainer.metric_pool))], Job.run
    with watched_evaluation(trainer, "validation_step") as watch:
        assert trainer.validate(batches()) == expected
    assert [set(vars(trainer)), set(vars(trainer.metric_pool))] == before
    assert Job.run is run
    took = watch.read()
    assert took.model > 0
    assert took.metrics_here > 0
    assert (took.metrics_beside > 0) == (num_metric_workers > 0)


def test_cpu_time_of_workers_is_that_of_one_call(tmp_path):
    trainer = build(tmp_path, Burning)
    with watched_evaluation(trainer, "validation_step") as watch:
        trainer.validate([[0, 1, 2]])
    assert 3 * 0.02 <= watch.read().metrics_beside < 2 * 3 * 0.02


def test_first_call_in_a_worker_does_not_count(tmp_path):
    trainer = build(tmp_path, WarmingUp)
    with watched_evaluation(trainer, "validation_step") as watch:
        trainer.validate([[0, 1]])
    assert watch.read().metrics_beside < 1


def test_error_of_a_worker_is_raised_where_its_result_is_asked_for(tmp_path):
    trainer = build(tmp_path)
    with watched_evaluation(trainer, "validation_step") as watch, trainer.metric_pool as pool:
        future = pool.submit(fail)
        with pytest.raises(ZeroDivisionError, match="in a worker"):
            future.result()
    assert watch.read().metrics_beside == 0


@pytest.mark.parametrize(
    ("took", "num_cores", "expected"),
    [
        (EvaluationTime(4, 1, 0, 2), 4, 5),  # workers have nothing to do
        (EvaluationTime(1, 0, 12, 2), 4, 6),  # workers are waited for
        (EvaluationTime(1, 0, 12, 8), 4, 13 / 4),  # as many as there are cores, and this process
        (EvaluationTime(3, 9, 0, 0), 4, 12),
    ],
)
def test_estimate_is_what_is_waited_for(took, num_cores, expected, monkeypatch):
    monkeypatch.setattr(metric_time, "num_cores", lambda: num_cores)
    assert took.estimate() == expected


def test_model_is_what_is_left_of_the_step(tmp_path, monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(
        "audiozen.trainer.step_parts.time", SimpleNamespace(perf_counter=lambda: clock.now)
    )

    class Slow(BaseTrainer):
        def validation_step(self, batch, batch_idx):
            clock.now += 3
            return Scorer(["snr"], 16_000)(*batch)

    run = Job.run

    def slow_run(self):
        clock.now += 10
        return run(self)

    monkeypatch.setattr(Job, "run", slow_run)
    trainer = build(tmp_path, Slow, metric="snr")
    with watched_evaluation(trainer, "validation_step") as watch:
        trainer.validate(batches())
    assert watch.read() == EvaluationTime(3, 20, 0, 1)
