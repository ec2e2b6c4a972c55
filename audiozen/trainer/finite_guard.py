"""Losses and gradients that are NaN or infinite: found without waiting for the device in a step, and answered."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from audiozen.engine import is_fused
from audiozen.errors import TrainingError
from audiozen.trainer.epoch_output import fetch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import nn
    from torch.optim import Optimizer

    from audiozen.config.schema import TrainerConfig
    from audiozen.engine import Engine, Gradients

logger = logging.getLogger(__name__)

MAX_STEPS_UNCHECKED = 512
"""Without a check, so many steps are kept on the device; then one comes by itself."""


class _Update(NamedTuple):
    """What one update of the weights is judged by; it stays on the device until it is asked for."""

    describe_step: Callable[[], str]
    loss: Tensor
    norm: Tensor
    parameters: list[Tensor]
    norms: Tensor | None
    """Of the gradient of each parameter. The gradients themselves are many times larger, and are let go."""


class _Judged(NamedTuple):
    """The numbers of an update, on the host."""

    update: _Update
    loss: float
    norm: float

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.loss) and math.isfinite(self.norm)


class FiniteGuard:
    """Makes the updates of the weights, and answers those with a loss or a gradient that is not finite.

    ``on_nonfinite`` says how:

    - ``"raise"``: they are made, and the next :meth:`check` raises. So it must come before anything is saved.
    - ``"skip"``: they are dropped as if they had not been: weights, optimizer states and their step counts keep their
      bits. :meth:`check` raises after ``max_skips_in_a_row`` steps in a row. Fused optimizers drop on the device; for
      others, one number is read per update.
    - ``"ignore"``: nothing is judged.

    The loss of an update is the sum of what was passed to :meth:`add_loss` since the step began. In fp16 only the loss
    is judged, since gradients that overflow are a part of its method: the scaler leaves such updates out.

    Processes decide alike. They have equal gradients; their losses are summed before an update may be dropped, and
    where :meth:`check` raises on one, it raises the same on all. So all call it after the same steps.

    Args:
        engine: where the work runs.
        config: ``on_nonfinite``, ``max_skips_in_a_row`` and ``max_grad_norm`` are read.
        modules: what gives the parameters their names, in order.

    Attributes:
        is_judging: whether ``on_nonfinite`` says so. Else :meth:`start_step` and :meth:`add_loss` need not be called.
        num_skipped_steps: steps with an update that was dropped, up to the last :meth:`check`.
        skips_in_a_row: those of them that came directly before it.
    """

    def __init__(
        self, engine: Engine, config: TrainerConfig, modules: Mapping[str, nn.Module]
    ) -> None:
        self.engine = engine
        self.config = config
        self.modules = modules
        self.num_skipped_steps = 0
        self.skips_in_a_row = 0
        self._first_skip = ""
        self._steps: list[list[_Update]] = []
        self._zero = torch.zeros((), device=engine.device)
        self._loss = self._zero
        self._describe_step: Callable[[], str] = str
        self._has_told_of_reads = False
        self._num_judged = 0
        self.is_judging = config.on_nonfinite != "ignore"
        self._must_measure = (
            self.is_judging or config.max_grad_norm != math.inf or engine.scales_loss
        )
        self._not_measured = torch.full((), math.nan)

    # ---- in a step ---------------------------------------------------------------------

    def start_step(self, describe: Callable[[], str]) -> None:
        """Begin a step.

        Args:
            describe: says which step it is, such as ``"epoch 2, step 7 (samples 3, 8)"``; called only if an update of
                it is not finite, after up to 512 further steps.
        """
        if len(self._steps) >= MAX_STEPS_UNCHECKED:
            self.check()
        self._steps.append([])
        self._describe_step, self._loss = describe, self._zero

    def add_loss(self, loss: Tensor) -> None:
        """Take note of a loss, which has one element, before its gradients are used."""
        loss = loss.detach()
        self._loss = loss if self._loss is self._zero else self._loss + loss

    def clip_and_step(
        self, optimizers: Sequence[Optimizer], *, must_measure: bool = True
    ) -> Tensor:
        """Clip the gradients of these optimizers together, judge them, and let the optimizers step.

        May be called several times within a step.

        Args:
            optimizers: themselves.
            must_measure: whether the norm is asked for. Else it is measured only where it is needed here.

        Returns:
            The norm before clipping, on the device; NaN where it was not measured.
        """
        if not (must_measure or self._must_measure):
            if self.engine.strategy.exchanges:
                self.engine.average_strays(optimizers)
            self.engine.step(optimizers)
            return self._not_measured
        gradients = self.engine.clip_gradients(optimizers, self.config.max_grad_norm)
        drop = self._judge(gradients) if self.is_judging else None
        if drop is not None:
            self._tell_of_reads(optimizers)
        self.engine.step(optimizers, drop)
        return gradients.norm

    def _judge(self, gradients: Gradients) -> Tensor | None:
        """Take note of an update; 1 where it is to be dropped, and 0 or None where it is not."""
        skips = self.config.on_nonfinite == "skip"
        norm = self._zero if self.engine.scales_loss else gradients.norm
        loss = self.engine.group.sum(self._loss, "the loss") if skips else self._loss
        update = _Update(self._describe_step, loss, norm, gradients.parameters, gradients.norms)
        self._steps[-1].append(update)
        return is_not_finite(update) if skips else None

    def _tell_of_reads(self, optimizers: Sequence[Optimizer]) -> None:
        slow = [o for o in optimizers if not is_fused(o)]
        if slow and self.engine.device.type != "cpu" and not self._has_told_of_reads:
            self._has_told_of_reads = True
            logger.info(
                'on_nonfinite = "skip" waits for the device in each step of %s; a fused optimizer (Adam, AdamW, SGD '
                "and Adagrad have fused = true) avoids it",
                ", ".join(sorted({type(o).__name__ for o in slow})),
            )

    # ---- now and then ---------------------------------------------------------------------

    def suspects(self) -> bool:
        """Whether an update of this process since the last check may not be accepted; asks no other process.

        Where this is False on all of them, :meth:`acquit` spares these updates the check.
        """
        if self.config.on_nonfinite == "skip":
            self.check()
        self._num_judged = len(self._steps)
        return self.config.on_nonfinite == "raise" and not all(map(math.isfinite, self._numbers()))

    def acquit(self) -> None:
        """All that were looked at by :meth:`suspects` are good."""
        del self._steps[: self._num_judged]
        self._num_judged = 0

    def check(self) -> None:
        """Judge the updates since the last check; waits for the device. To be called before anything is saved.

        Raises:
            TrainingError: a number is not finite, or too many steps in a row were skipped. The text names the step,
                its samples, the loss, and the first parameter whose gradient is not finite.
        """
        if self.config.on_nonfinite == "skip":
            self._count_skips()
        elif self.config.on_nonfinite == "raise" and self._steps:
            self._refuse()
        self._steps.clear()
        self._num_judged = 0

    def _refuse(self) -> None:
        bad = next(
            ((n, self._describe(step)) for n, step in enumerate(self._judged()) if step), None
        )
        group, label = self.engine.group, "whether all losses and gradients are finite"
        if group.any(bad is not None, label):
            found = [one for one in group.all_gather(bad, label) if one]
            raise TrainingError(
                f"{min(found)[1]}; nothing was saved since. Look at these samples and at the learning rate, or set "
                'on_nonfinite to "skip"'
            )

    def _count_skips(self) -> None:
        num_skipped, in_a_row, first_skip = 0, self.skips_in_a_row, self._first_skip
        for bad in self._judged():
            if bad and not in_a_row:
                first_skip = self._describe(bad)
            in_a_row = in_a_row + 1 if bad else 0
            num_skipped += bool(bad)
            if in_a_row >= self.config.max_skips_in_a_row:
                raise TrainingError(
                    f"{in_a_row} steps in a row were skipped, and max_skips_in_a_row allows no more. The first was "
                    f"{first_skip}. Look at these samples, or lower the learning rate"
                )
        self.num_skipped_steps += num_skipped
        self.skips_in_a_row, self._first_skip = in_a_row, first_skip if in_a_row else ""

    def _numbers(self) -> list[float]:
        """Loss and norm of one update after the other, on the host."""
        return fetch([v for step in self._steps for u in step for v in (u.loss, u.norm)])

    def _judged(self) -> Iterator[_Judged | None]:
        """For each step with updates, the first that is not finite; None where all are."""
        values = iter(self._numbers())
        for step in filter(None, self._steps):
            judged = [_Judged(update, next(values), next(values)) for update in step]
            yield next((one for one in judged if not one.is_finite), None)

    def _describe(self, bad: _Judged) -> str:
        reasons = []
        if not math.isfinite(bad.loss):
            reasons.append(f"the loss is {bad.loss}")
        if not math.isfinite(bad.norm):
            where = self._where(bad.update)
            reasons.append(f"the norm of the gradient is {bad.norm}{where}")
        return f"{bad.update.describe_step()}: {' and '.join(reasons)}"

    def _where(self, update: _Update) -> str:
        """The first parameter, in the order of the model, whose gradient is not finite."""
        norms = [] if update.norms is None else update.norms.tolist()
        bad = {id(p) for p, n in zip(update.parameters, norms) if not math.isfinite(n)}
        first = next((name for name, p in self._named_parameters() if id(p) in bad), None)
        return f" (first in {first!r}, {len(bad)} of {len(norms)} parameters)" if first else ""

    def _named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        for prefix, module in self.modules.items():
            yield from module.named_parameters(prefix)

    # ---- checkpoints ---------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The counts, and what was wrong with the first of the skips in a row."""
        assert not self._steps, "check() comes before a checkpoint is taken"
        return {
            "num_skipped_steps": self.num_skipped_steps,
            "skips_in_a_row": self.skips_in_a_row,
            "first_skip": self._first_skip,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with saved counts."""
        self.num_skipped_steps = state["num_skipped_steps"]
        self.skips_in_a_row = state["skips_in_a_row"]
        self._first_skip = state["first_skip"]
        self._steps.clear()


def is_not_finite(update: _Update) -> Tensor:
    """1 where the loss or the norm is NaN or infinite, else 0; on the device."""
    return torch.nan_to_num(update.loss * 0 + update.norm * 0, nan=1.0).float().reshape(())
