"""What scoring takes in an evaluation, and what the model takes: measured from outside, for one moment."""

from __future__ import annotations

import time
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from audiozen.metrics.scorer import Job
from audiozen.processes.cores import num_cores
from audiozen.trainer.step_parts import Stopwatch, replaced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from audiozen.trainer.base_trainer import BaseTrainer

MODEL, METRICS = "model", "metrics"


class EvaluationTime(NamedTuple):
    """What an evaluation took, in seconds.

    Attributes:
        model: ``validation_step`` or ``test_step``, without the metrics in it.
        metrics_here: metrics in this process.
        metrics_beside: CPU time of metrics in the metric workers.
        num_workers: metric workers.
    """

    model: float
    metrics_here: float
    metrics_beside: float
    num_workers: int

    @property
    def own(self) -> float:
        """What is done in this process."""
        return self.model + self.metrics_here

    @property
    def of_workers(self) -> float:
        """What the workers take, shared among those that have a core."""
        return self.metrics_beside / max(1, min(self.num_workers, num_cores()))

    def estimate(self) -> float:
        """How long it takes where process and workers go on beside each other, and many batches follow."""
        return max(self.own, self.of_workers, (self.own + self.metrics_beside) / num_cores())


class EvaluationWatch:
    """Collects what the evaluations of a trainer take; see :func:`watched_evaluation`."""

    def __init__(self, trainer: BaseTrainer) -> None:
        on_cpu = trainer.device.type == "cpu"
        self._watch = Stopwatch() if on_cpu else Stopwatch(torch.accelerator.synchronize)
        self._beside: list[float] = []
        self._num_workers = trainer.metric_pool.num_workers

    def read(self) -> EvaluationTime:
        """What was collected so far."""
        seconds = self._watch.read()
        here = seconds.get(METRICS, 0.0)
        return EvaluationTime(
            seconds.get(MODEL, 0.0), here, sum(self._beside), num_workers=self._num_workers
        )

    def inside(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function``, measured as ``part``."""

        @wraps(function)
        def measured(*args: Any, **kwargs: Any) -> Any:
            with self._watch.part(part):
                return function(*args, **kwargs)

        return measured

    def submit(self, submit: Callable[..., Future[Any]]) -> Callable[..., Future[Any]]:
        """``submit`` of a pool, so that its workers tell the CPU time."""

        def submit_measured(function: Callable[..., Any], *args: Any) -> Future[Any]:
            result: Future[Any] = Future()

            def settle(pair: Future[tuple[Any, float]]) -> None:
                try:
                    value, seconds = pair.result()
                except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
                    result.set_exception(error)
                else:
                    self._beside.append(seconds)
                    result.set_result(value)

            submit(_second_time, function, args).add_done_callback(settle)
            return result

        return submit_measured


@contextmanager
def watched_evaluation(trainer: BaseTrainer, hook: str) -> Iterator[EvaluationWatch]:
    """Within this context it is measured what ``hook`` and the metrics in it take.

    What is submitted to the metric workers is computed twice there, and the second time counts: the first one pays for
    imports and models that are loaded, once in an evaluation. Metrics that are computed without
    :class:`~audiozen.metrics.Scorer` and the trainer's ``metric_pool`` count as the model.

    Args:
        trainer: whose methods are replaced for the time.
        hook: ``"validation_step"`` or ``"test_step"``.
    """
    watch = EvaluationWatch(trainer)
    with ExitStack() as stack:
        stack.enter_context(replaced(trainer, hook, lambda step: watch.inside(MODEL, step)))
        stack.enter_context(replaced(Job, "run", lambda run: watch.inside(METRICS, run)))
        if trainer.metric_pool.num_workers:
            stack.enter_context(replaced(trainer.metric_pool, "submit", watch.submit))
        yield watch


def _second_time(function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, float]:
    """In a worker: what ``function`` returns, and the CPU time of its second call."""
    function(*args)
    start = time.process_time()
    value = function(*args)
    return value, time.process_time() - start
