from __future__ import annotations

import copy
import logging
import math
import multiprocessing
import os
import weakref
from contextlib import nullcontext
from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adagrad, Adam, AdamW, RMSprop
from torch.utils._python_dispatch import TorchDispatchMode

from audiozen.config.schema import TrainerConfig
from audiozen.engine import Engine, is_fused
from audiozen.errors import TrainingError
from audiozen.trainer.finite_guard import MAX_STEPS_UNCHECKED, FiniteGuard

OPTIMIZERS = {
    "SGD": partial(SGD, lr=0.1, weight_decay=0.1),
    "fused SGD": partial(SGD, lr=0.1, weight_decay=0.1, fused=True),
    "SGD with momentum": partial(SGD, lr=0.1, momentum=0.9, dampening=0.5),
    "fused SGD with momentum": partial(SGD, lr=0.1, momentum=0.9, dampening=0.5, fused=True),
    "AdamW": AdamW,
    "fused Adam": partial(Adam, fused=True),
    "fused AdamW": partial(AdamW, fused=True),
    "fused Adagrad": partial(Adagrad, lr=0.1, fused=True),
    "RMSprop": RMSprop,
}
ADAGRAD_DROPS = is_fused(Adagrad([torch.zeros(1)], fused=True))
"""Not in PyTorch 2.9."""


class Run:
    """A model and one optimizer per part of it, with a guard, and steps that may go wrong."""

    def __init__(self, build=AdamW, **config) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1))
        self.optimizer = build(self.model.parameters())
        config = TrainerConfig(device="cpu", **config)
        self.guard = FiniteGuard(Engine(config), config, {"": self.model})
        self.step = 0

    def start(self) -> None:
        self.step += 1
        self.guard.start_step(f"epoch 1, step {self.step} (samples {self.step * 2})".format)
        self.optimizer.zero_grad()

    def make(self, *, loss=1.0, gradient=1.0) -> torch.Tensor:
        """A step whose loss and gradient are multiplied by these."""
        self.start()
        output = self.model(torch.full((2, 4), float(self.step))).square().mean()
        self.guard.add_loss(output * loss)
        self.guard.engine.backward(output)
        self.model[1].weight.grad *= gradient
        self.model[0].bias.grad *= gradient
        return self.guard.clip_and_step([self.optimizer])

    def everything(self) -> list[torch.Tensor]:
        states = self.optimizer.state_dict()["state"].values()
        numbers = [torch.as_tensor(v) for s in states for v in s.values() if v is not None]
        return [p.detach().clone() for p in self.model.parameters()] + copy.deepcopy(numbers)


def same_bits(first, second) -> bool:
    return len(first) == len(second) and all(torch.equal(a, b) for a, b in zip(first, second))


# ---- raise --------------------------------------------------------------------------------------


def test_steps_with_finite_numbers_pass():
    run = Run()
    run.make()
    run.make()
    run.guard.check()
    assert run.guard.num_skipped_steps == 0


def test_gradient_that_is_not_finite_is_told_with_step_samples_and_parameter():
    run = Run()
    run.make()
    run.make(gradient=math.inf)
    run.make()  # the next steps are made with broken weights, and are not what is told
    with pytest.raises(TrainingError) as error:
        run.guard.check()
    assert str(error.value).startswith(
        "epoch 1, step 2 (samples 4): the norm of the gradient is inf (first in '0.bias', 2 of 4 parameters); nothing "
        "was saved since. "
    )


def test_loss_that_is_not_finite_is_told_though_the_gradient_is():
    run = Run()
    run.make(loss=math.nan)
    with pytest.raises(TrainingError, match=r"step 1 \(samples 2\): the loss is nan; nothing"):
        run.guard.check()


def test_loss_and_gradient_are_told_together():
    run = Run()
    run.make(loss=math.inf, gradient=math.nan)
    text = r"the loss is inf and the norm of the gradient is nan \(first in '0.bias', 2 of 4"
    with pytest.raises(TrainingError, match=text):
        run.guard.check()


def test_order_of_the_parameters_is_that_of_the_models_and_not_of_the_optimizer():
    run = Run(lambda parameters: SGD(list(parameters)[::-1]))
    run.guard.modules = {"generator": run.model[0], "critic": run.model[1]}
    run.make(gradient=math.nan)
    with pytest.raises(TrainingError, match=r"first in 'generator\.bias', 2 of 4"):
        run.guard.check()


def test_gradient_of_a_parameter_that_no_model_has_is_told_without_a_name():
    run = Run()
    run.guard.modules = {}
    run.make(gradient=math.nan)
    with pytest.raises(TrainingError, match="the norm of the gradient is nan; nothing was saved"):
        run.guard.check()


def test_bad_step_is_told_by_each_check():
    run = Run()
    run.make(gradient=math.nan)
    for _ in range(2):
        with pytest.raises(TrainingError, match="step 1 "):
            run.guard.check()


def test_one_bad_loss_among_those_of_a_step_is_found():
    run = Run()
    run.start()
    for factor in (1.0, math.nan, 1.0):
        loss = run.model(torch.ones(2, 4)).mean()
        run.guard.add_loss(loss * factor)
        run.guard.engine.backward(loss)
    run.guard.clip_and_step([run.optimizer])
    with pytest.raises(TrainingError, match="the loss is nan"):
        run.guard.check()


class Remember(torch.autograd.Function):
    """The identity, whose node in the graph holds on to a thing."""

    @staticmethod
    def forward(ctx, value, thing):
        ctx.thing = thing
        return value.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


def test_graph_of_a_loss_is_not_kept():
    run = Run()
    run.start()
    thing = nn.Identity()
    loss = Remember.apply(run.model(torch.ones(2, 4)).mean(), thing)
    kept = weakref.ref(thing)
    del thing
    assert kept() is not None
    run.guard.add_loss(loss)
    del loss
    assert kept() is None


def test_loss_is_forgotten_in_the_next_step():
    run = Run(on_nonfinite="skip")
    run.make(loss=math.nan)
    run.make()
    run.guard.check()
    assert run.guard.num_skipped_steps == 1
    assert run.guard.skips_in_a_row == 0


def test_without_a_log_point_the_check_comes_by_itself():
    run = Run()
    run.make(gradient=math.nan)
    for _ in range(MAX_STEPS_UNCHECKED - 1):
        run.start()
    with pytest.raises(TrainingError, match="step 1 "):
        run.start()


def test_fp16_gradients_that_overflow_are_left_to_the_scaler():
    run = Run(precision="fp16")
    before = run.everything()
    run.make(gradient=math.inf)
    run.guard.check()
    assert same_bits(before, run.everything())
    run.make(loss=math.nan)
    with pytest.raises(TrainingError, match="the loss is nan;"):
        run.guard.check()


def test_nothing_is_judged_if_that_is_not_wanted():
    run = Run(on_nonfinite="ignore")
    run.make(gradient=math.nan)
    run.guard.check()
    assert run.model[1].weight.isnan().all()


# ---- skip ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad", [{"gradient": math.nan}, {"gradient": -math.inf}, {"loss": math.nan}]
)
@pytest.mark.parametrize("max_grad_norm", [math.inf, 1.0])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_dropped_update_is_as_if_it_had_not_been(name, bad, max_grad_norm):
    run = Run(OPTIMIZERS[name], on_nonfinite="skip", max_grad_norm=max_grad_norm)
    run.make()
    before = run.everything()
    run.make(**bad)
    assert same_bits(before, run.everything())
    run.make()
    assert not same_bits(before, run.everything())
    run.guard.check()
    assert (run.guard.num_skipped_steps, run.guard.skips_in_a_row) == (1, 0)


@pytest.mark.parametrize("bad", [{"gradient": math.inf}, {"loss": math.nan}])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_run_whose_first_update_is_dropped_goes_on_as_one_without_it(name, precision, bad):
    def finished(first_step):
        run = Run(OPTIMIZERS[name], on_nonfinite="skip", precision=precision)
        run.step = 1 - first_step
        if first_step:
            litter = [torch.full((size,), 7.0) for size in (1, 4, 16) for _ in range(50)]
            del litter  # memory that is given out uninitialised holds this
            run.make(**bad)
        run.make()
        run.make()
        return run.everything()

    assert same_bits(finished(first_step=True), finished(first_step=False))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_updates_that_are_finite_are_made_as_without_a_guard(name):
    runs = {
        policy: Run(OPTIMIZERS[name], on_nonfinite=policy) for policy in ("ignore", "raise", "skip")
    }
    for run in runs.values():
        for _ in range(3):
            run.make()
    expected = runs["ignore"].everything()
    assert all(same_bits(expected, run.everything()) for run in runs.values())


def test_run_gives_up_after_skips_in_a_row_and_tells_the_first():
    run = Run(on_nonfinite="skip", max_skips_in_a_row=3)
    run.make()
    for _ in range(2):
        run.make(gradient=math.nan)
        run.guard.check()
    run.make()
    run.make(loss=math.nan)
    run.guard.check()
    assert (run.guard.num_skipped_steps, run.guard.skips_in_a_row) == (3, 1)
    run.make(gradient=math.nan)
    run.make(gradient=math.nan)
    for _ in range(2):
        with pytest.raises(TrainingError) as error:
            run.guard.check()
        assert str(error.value).startswith(
            "3 steps in a row were skipped, and max_skips_in_a_row allows no more. The first was epoch 1, step 5 "
            "(samples 10): the loss is nan. "
        )


def test_row_of_skips_goes_on_after_a_checkpoint():
    run = Run(on_nonfinite="skip", max_skips_in_a_row=3)
    for _ in range(2):
        run.make(gradient=math.nan)
    run.guard.check()
    state = run.guard.state_dict()
    resumed = Run(on_nonfinite="skip", max_skips_in_a_row=3)
    resumed.guard.load_state_dict(state)
    assert resumed.guard.state_dict() == state
    resumed.step = 2
    resumed.make(gradient=math.nan)
    with pytest.raises(TrainingError, match=r"3 steps in a row .* The first was epoch 1, step 1 "):
        resumed.guard.check()


def test_checkpoint_is_not_taken_before_the_check():
    run = Run()
    run.make()
    with pytest.raises(AssertionError, match="check"):
        run.guard.state_dict()


def test_loss_with_one_element_in_a_list_is_as_good_as_a_scalar():
    run = Run(OPTIMIZERS["fused Adam"], on_nonfinite="skip")
    run.make(loss=torch.ones(1))
    before = run.everything()
    run.make(loss=torch.full((1,), math.nan))
    run.guard.check()
    assert same_bits(before, run.everything())


def test_step_is_skipped_if_any_of_its_updates_is_dropped():
    run = Run(on_nonfinite="skip", max_skips_in_a_row=2)
    first, second = (SGD(part.parameters(), lr=0.1) for part in run.model)
    for _ in range(2):
        run.start()
        run.guard.engine.backward(run.model(torch.ones(2, 4)).mean())
        run.model[0].bias.grad *= math.nan
        before = run.model[1].bias.clone()
        run.guard.clip_and_step([first])
        run.guard.clip_and_step([second])
        assert not torch.equal(before, run.model[1].bias)  # this one is finite
    assert run.model[0].bias.isfinite().all()
    with pytest.raises(
        TrainingError, match=r"The first was epoch 1, step 1 .*'0.bias', 1 of 2 par"
    ):
        run.guard.check()


def test_steps_without_an_update_do_not_end_a_row():
    run = Run(on_nonfinite="skip")
    run.make(gradient=math.nan)
    run.start()
    run.make(gradient=math.nan)
    run.guard.check()
    assert run.guard.skips_in_a_row == 2


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_schedule_goes_on_over_a_first_update_that_is_dropped(name):
    run = Run(OPTIMIZERS[name], on_nonfinite="skip")
    schedule = torch.optim.lr_scheduler.ConstantLR(run.optimizer)
    run.make(gradient=math.nan)
    schedule.step()


# ---- what it costs -----------------------------------------------------------------------------------


class CountReads(TorchDispatchMode):
    """Counts transfers of numbers to the host."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **kwargs or {})


@pytest.mark.parametrize(
    ("policy", "name", "num_reads"),
    [
        ("raise", "SGD with momentum", 0),
        ("skip", "fused SGD", 0),
        ("skip", "fused SGD with momentum", 0),
        ("skip", "fused Adam", 0),
        ("skip", "fused AdamW", 0),
        ("skip", "fused Adagrad", 0 if ADAGRAD_DROPS else 1),
        ("skip", "SGD with momentum", 1),
        ("ignore", "SGD with momentum", 0),
    ],
)
def test_number_of_transfers_to_the_host_in_a_step(policy, name, num_reads):
    run = Run(OPTIMIZERS[name], on_nonfinite=policy, max_grad_norm=1.0)
    run.make()
    with CountReads() as reads:
        run.make()
        run.make(gradient=math.nan)
        assert reads.count == 2 * num_reads
    with pytest.raises(TrainingError) if policy == "raise" else nullcontext():
        run.guard.check()


def test_log_tells_once_which_optimizers_are_waited_for(caplog):
    run = Run(on_nonfinite="skip")
    run.guard.engine.device = torch.device("cuda")
    with caplog.at_level(logging.INFO):
        run.make()
        run.make()
    (record,) = caplog.records
    assert "waits for the device in each step of AdamW; a fused optimizer" in record.message


@pytest.mark.parametrize(("device", "name"), [("cpu", "AdamW"), ("cuda", "fused AdamW")])
def test_log_is_silent_where_nothing_is_waited_for(device, name, caplog):
    run = Run(OPTIMIZERS[name], on_nonfinite="skip")
    run.guard.engine.device = torch.device(device)
    with caplog.at_level(logging.INFO):
        run.make()
    assert not caplog.records


@pytest.mark.parametrize("policy", ["raise", "skip"])
def test_gradients_of_steps_that_were_made_are_let_go(policy):
    run = Run(on_nonfinite=policy)
    run.make()
    gradient = weakref.ref(run.model[0].weight.grad)
    run.make()
    assert gradient() is None


def test_norm_is_measured_where_it_is_asked_for_or_needed_here():
    for policy, is_needed in [("ignore", False), ("raise", True)]:
        run = Run(on_nonfinite=policy)
        run.make()
        norm = run.guard.clip_and_step([run.optimizer], must_measure=False)
        assert math.isfinite(norm) == is_needed
        assert math.isfinite(run.guard.clip_and_step([run.optimizer], must_measure=True))
    clipping = Run(on_nonfinite="ignore", max_grad_norm=1e-3)
    clipping.make()
    clipping.model[0].weight.grad.fill_(1.0)
    assert clipping.guard.clip_and_step([clipping.optimizer], must_measure=False) > 1
    assert clipping.model[0].weight.grad.norm() < 1e-3


# ---- several processes ----------------------------------------------------------------------------------


def _two_processes(rank, store, policy, outcomes):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=2
    )
    os.environ.update(RANK=str(rank), WORLD_SIZE="2")
    loss = torch.tensor(rank + 1.0)
    run = Run(OPTIMIZERS["fused AdamW"], on_nonfinite=policy, max_skips_in_a_row=1)
    group = run.guard.engine.group
    assert group.world_size == 2
    assert group.sum(loss, "the loss") == 3
    assert loss == rank + 1  # epoch outputs and logs have it, too
    run.make()
    run.guard.check()
    before = run.everything()
    run.make(loss=math.nan if rank == 1 else 1.0)
    run.make(loss=math.nan if rank == 0 else 1.0)
    try:
        run.guard.check()
    except TrainingError as error:
        outcomes.put((str(error), same_bits(before, run.everything())))
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("policy", ["raise", "skip"])
def test_processes_decide_alike_about_the_loss_of_one(policy, tmp_path):
    fork = multiprocessing.get_context("fork")
    outcomes = fork.Queue()
    processes = [
        fork.Process(target=_two_processes, args=(rank, tmp_path / "store", policy, outcomes))
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    first, second = (outcomes.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    assert first == second
    assert "step 2 (samples 4): the loss is nan" in first[0]
    assert first[1] == (policy == "skip")
