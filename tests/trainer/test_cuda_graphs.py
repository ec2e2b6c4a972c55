"""Steps as CUDA graphs: on the CPU with graphs that are emulated, and on a GPU, where there is one, with real ones."""

from __future__ import annotations

import copy
import math
from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from audiozen.config.schema import TrainerConfig
from audiozen.errors import ConfigError, TrainingError
from audiozen.testing import RecordingTracker
from audiozen.tracking.console import SilentConsole
from audiozen.trainer import cuda_graphs, training_request
from audiozen.trainer.base_trainer import BaseTrainer
from audiozen.trainer.cuda_graphs import (
    MAX_GRAPHS,
    NUM_WARM_UP,
    StepGraphs,
    graph_problems,
    layout_of,
)
from tests.trainer import emulated_graphs
from tests.trainer.emulated_graphs import EmulatedGraph, emulate

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
NUM_ITEMS, BATCH_SIZE = 42, 4  # the last batch of an epoch has two items


@pytest.fixture
def graphs(monkeypatch) -> list[EmulatedGraph]:
    """Emulated ones, and those that were made."""
    return emulate(monkeypatch)


@pytest.fixture(params=DEVICES)
def device(request, monkeypatch) -> str:
    """The CPU with emulated graphs, and a GPU."""
    if request.param == "cpu":
        emulate(monkeypatch)
        monkeypatch.setattr(training_request, "graph_problems", lambda *_, **__: [])
    return request.param


def net() -> nn.Module:
    torch.manual_seed(2)
    layers = nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 2)
    return nn.Sequential(*layers)


def dataset() -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(NUM_ITEMS, 4, generator=generator)
    return TensorDataset(x, x @ torch.randn(4, 2, generator=generator))


class Regression(BaseTrainer):
    """Learns a linear map."""

    def training_step(self, batch, batch_idx):
        x, y = batch
        error = (self.model(x) - y).abs()
        return {"loss": error.square().mean(), "error": error.mean()}


def build(
    exp_dir, device, cls=Regression, *, optimizer=None, schedule=False, resume=False, **config
):
    model = net().to(device)
    make = optimizer or (lambda weights: torch.optim.AdamW(weights, lr=1e-2))
    optimizer = make(model.parameters())
    settings = {"device": device, "num_threads": 1, "log_interval": 5, "cuda_graphs": True}
    return cls(
        model,
        optimizer,
        lr_scheduler=torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.8) if schedule else None,
        config=settings | config,
        exp_dir=exp_dir,
        resume=resume,
        tracker=RecordingTracker(),
        console=SilentConsole(),
    )


def train(exp_dir, device, **how) -> tuple[torch.Tensor, list]:
    """All numbers that a training ends with, and all that it has logged."""
    trainer = build(exp_dir, device, **how)
    trainer.train(DataLoader(dataset(), batch_size=BATCH_SIZE, shuffle=True))
    weights = [*trainer.model.state_dict().values()]
    weights += getattr(trainer.averaging, "average", {}).values()
    return torch.cat(
        [w.detach().cpu().double().flatten() for w in weights]
    ), trainer.tracker.scalars


def assert_close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def assert_same(found, expected):
    assert_close(found[0], expected[0])
    assert [entry[:2] for entry in found[1]] == [entry[:2] for entry in expected[1]] != []
    values = [[value for _, _, value in numbers] for _, numbers in (found, expected)]
    assert values[0] == pytest.approx(values[1], rel=1e-4, abs=1e-6)


# ---- the same numbers as without graphs -------------------------------------------------------------

FUSED_SGD = {
    "optimizer": lambda weights: torch.optim.SGD(weights, lr=0.05, momentum=0.9, fused=True)
}
PLAIN_SGD = {"optimizer": lambda weights: torch.optim.SGD(weights, lr=0.05)}
HOW = {
    "plain": {},
    "bf16": {"precision": "bf16"},
    "clipping": {"max_grad_norm": 0.1},
    "moving average": {"ema_decay": 0.9},
    "schedule": {"schedule": True},
    "skip": {"on_nonfinite": "skip", **FUSED_SGD},
    "ignore": {"on_nonfinite": "ignore"},
    "all": {"max_grad_norm": 0.1, "ema_decay": 0.9, "schedule": True, **PLAIN_SGD},
}


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_graphs_train_to_the_numbers_of_steps_without_them(tmp_path, device, how):
    expected = train(tmp_path / "eager", device, max_steps=25, cuda_graphs=False, **how)
    found = train(tmp_path / "graphs", device, max_steps=25, **how)
    assert_same(found, expected)


def test_seeds_decide_on_dropout_in_replays(tmp_path, device):
    first, again = (train(tmp_path / name, device, max_steps=20) for name in ("first", "again"))
    other = train(tmp_path / "other", device, max_steps=20, seed=1)
    assert_same(first, again)
    assert not torch.allclose(first[0], other[0])


def test_a_run_goes_on_with_graphs_as_if_it_had_not_been_interrupted(tmp_path, device):
    expected = train(tmp_path / "whole", device, max_steps=25, cuda_graphs=False, ema_decay=0.9)
    for max_steps in (8, 17, 25):
        found = train(
            tmp_path / "parts", device, max_steps=max_steps, ema_decay=0.9, resume=max_steps > 8
        )
    assert_close(found[0], expected[0])


def test_a_run_may_take_graphs_up_and_give_them_up(tmp_path, device):
    expected = train(tmp_path / "whole", device, max_steps=20, cuda_graphs=False)
    train(tmp_path / "parts", device, max_steps=7, cuda_graphs=False)
    train(tmp_path / "parts", device, max_steps=14, resume=True)
    found = train(tmp_path / "parts", device, max_steps=20, resume=True, cuda_graphs=False)
    assert_close(found[0], expected[0])


def test_a_loss_that_is_not_finite_is_skipped_in_a_replay(tmp_path, device):
    class Spoiling(Regression):
        def training_step(self, batch, batch_idx):
            output = super().training_step(batch, batch_idx)
            return output | {"loss": output["loss"] / (batch[0][0, 0] != 99)}

    x, y = dataset().tensors
    x = x.clone()
    x[24:28, 0] = 99  # of step 7
    trainer = build(tmp_path, device, Spoiling, on_nonfinite="skip", max_steps=10, **FUSED_SGD)
    trainer.train(DataLoader(TensorDataset(x, y), batch_size=BATCH_SIZE))
    assert trainer.guard.num_skipped_steps == 1
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())


def test_a_loss_that_is_not_finite_in_a_replay_stops_the_training_and_is_named(tmp_path, device):
    x, y = dataset().tensors
    y = y.clone()
    y[24:28] = math.nan
    trainer = build(tmp_path, device, max_steps=10)
    with pytest.raises(TrainingError, match=r"epoch 1, step 7 .*the loss is nan"):
        trainer.train(DataLoader(TensorDataset(x, y), batch_size=BATCH_SIZE))


class Validated(Regression):
    """Validates, with the averaged weights."""

    def validation_step(self, batch, batch_idx):
        x, y = batch
        return {"mse": (self.model(x) - y).square().mean(-1)}


def test_a_validation_with_averaged_weights_leaves_graphs_as_they_are(
    tmp_path, device, monkeypatch
):
    captures = []
    captured = StepGraphs._captured
    monkeypatch.setattr(
        StepGraphs, "_captured", lambda *args: captures.append(args) or captured(*args)
    )
    results = []
    for cuda_graphs_are_on in (False, True):
        trainer = build(
            tmp_path / str(cuda_graphs_are_on),
            device,
            Validated,
            cuda_graphs=cuda_graphs_are_on,
            max_epochs=4,
            ema_decay=0.8,
            validation_interval={"steps": 3},
            best_metric="mse",
            num_metric_workers=0,
        )
        data = TensorDataset(*(part[:40] for part in dataset().tensors))
        trainer.train(DataLoader(data, batch_size=BATCH_SIZE), DataLoader(data, batch_size=8))
        results.append(list(trainer.tracker.values("valid/mse").values()))
    assert results[1] == pytest.approx(results[0], rel=1e-3)
    assert len(results[0]) >= 13
    assert len(captures) == 1


# ---- which steps are replayed ----------------------------------------------------------------------


def test_each_layout_has_a_graph_after_some_steps(tmp_path, device, monkeypatch):
    called, replayed = [], []
    replay = cuda_graphs._Graph.replay

    class Counting(Regression):
        def training_step(self, batch, batch_idx):
            called.append(len(batch[0]))
            return super().training_step(batch, batch_idx)

    def counted(self, batch):
        replayed.append(len(batch[0]))
        return replay(self, batch)

    monkeypatch.setattr(cuda_graphs._Graph, "replay", counted)
    trainer = build(tmp_path, device, Counting, max_epochs=5)
    trainer.train(DataLoader(dataset(), batch_size=BATCH_SIZE))
    num_full, num_short = 5 * 10, 5
    assert called.count(4) == NUM_WARM_UP + 1
    assert replayed.count(4) == num_full - NUM_WARM_UP
    assert called.count(2) == NUM_WARM_UP + 1
    assert replayed.count(2) == num_short - NUM_WARM_UP


def passes(model: nn.Module):
    return lambda batch, _: model(batch).square().mean()


def test_layouts_beyond_the_most_run_without_a_graph_and_that_is_told(graphs, caplog):
    caplog.set_level("INFO")
    model = nn.Linear(4, 2)
    step = StepGraphs(passes(model), model.parameters(), "cpu")
    for _ in range(NUM_WARM_UP + 3):
        for size in range(1, MAX_GRAPHS + 3):
            batch = torch.randn(size, 4)
            loss = step(batch, 0)
            torch.testing.assert_close(loss, model(batch).square().mean())
    assert [graph.num_replays for graph in graphs] == [3] * MAX_GRAPHS
    assert caplog.text.count(f"batches have more than {MAX_GRAPHS} layouts") == 1


def test_usable_alone(graphs):
    model, twin = net(), net()
    step = StepGraphs(passes(model), model.parameters(), "cpu")
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in (model, twin)]
    for _ in range(10):
        batch = torch.randn(BATCH_SIZE, 4)
        torch.manual_seed(3)
        loss = step(batch, 0)
        torch.manual_seed(3)
        optimizers[1].zero_grad()
        expected = twin(batch).square().mean()
        expected.backward()
        torch.testing.assert_close(loss, expected.detach())
        for optimizer in optimizers:
            optimizer.step()
    for mine, theirs in zip(model.state_dict().values(), twin.state_dict().values()):
        torch.testing.assert_close(mine, theirs)
    assert [graph.num_replays for graph in graphs] == [10 - NUM_WARM_UP]


def test_a_weight_without_gradient_in_a_layout_has_none(graphs):
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))

    def training_step(batch, _):
        return (batch * (used if len(batch) == 2 else unused[:1])).sum()

    step = StepGraphs(training_step, [used, unused], "cpu")
    for _ in range(NUM_WARM_UP + 2):
        step(torch.ones(1), 0)
        assert used.grad is None
        step(torch.ones(2), 0)
        assert unused.grad is None
        torch.testing.assert_close(used.grad, torch.ones(2))


def test_outputs_of_a_step_stay_as_they_are(graphs):
    model = nn.Linear(4, 2)
    step = StepGraphs(passes(model), model.parameters(), "cpu")
    batches = [torch.randn(BATCH_SIZE, 4) for _ in range(8)]
    losses = [step(batch, 0) for batch in batches]
    torch.testing.assert_close(losses, [model(batch).square().mean().detach() for batch in batches])


def test_weights_that_are_frozen_or_replaced_get_new_graphs_in_the_next_epoch(graphs):
    model = nn.Linear(4, 2)
    step = StepGraphs(passes(model), model.parameters(), "cpu")

    def epoch():
        step.start_epoch()
        for _ in range(NUM_WARM_UP + 2):
            step(torch.randn(BATCH_SIZE, 4), 0)

    epoch()
    epoch()
    assert len(graphs) == 1
    model.weight.requires_grad_(False)
    epoch()
    assert len(graphs) == 2
    assert model.weight.grad is None
    model.bias.data = torch.zeros(2)
    epoch()
    assert len(graphs) == 3


def test_no_graph_is_left_after_the_training(tmp_path, graphs, monkeypatch):
    monkeypatch.setattr(training_request, "graph_problems", lambda *_, **__: [])
    trainer = build(tmp_path, "cpu", max_steps=6)
    trainer.train(DataLoader(dataset(), batch_size=BATCH_SIZE))
    assert len(graphs) == 1
    assert trainer._graphs is None
    loss = trainer._autocast_training_step([torch.randn(4, 4), torch.randn(4, 2)], 0)["loss"]
    trainer.backward(loss)  # as ever


Pair = namedtuple("Pair", ["noisy", "clean"])


@dataclass
class Item:
    waveform: torch.Tensor
    name: str


def test_layout_is_what_a_graph_depends_on():
    x = torch.zeros(2, 3)
    same = [
        ([x, "a"], [x + 1, "b"]),
        ({"x": x, "n": 3}, {"x": x + 1, "n": 3}),
        (Pair(x, x), Pair(x + 1, x)),
        (Item(x, "a"), Item(x + 1, "b")),
        ((x, None), (x, None)),
    ]
    for one, other in same:
        assert layout_of(one) == layout_of(other)
        assert hash(layout_of(one)) == hash(layout_of(other))
    different = [
        (x, x[:1]),
        (x, x.double()),
        (x, torch.zeros(3, 2).T),
        ({"x": x}, {"y": x}),
        ([x, 3], [x, 4]),
        ([x], (x,)),
        (Pair(x, x), (x, x)),
        (Item(x, "a"), Item(x[0], "a")),
        ([x, None], [x, "a"]),
    ]
    for one, other in different:
        assert layout_of(one) != layout_of(other)


# ---- what a graph cannot hold ----------------------------------------------------------------------


class Reading(Regression):
    """Asks for a number in each step."""

    def training_step(self, batch, batch_idx):
        output = super().training_step(batch, batch_idx)
        output["loss"].item()
        return output


def test_a_hook_that_reads_to_the_host_is_told_where_and_what_to_do(tmp_path, device):
    trainer = build(tmp_path, device, Reading, max_steps=20)
    line = Reading.training_step.__code__.co_firstlineno + 2
    with pytest.raises(TrainingError, match="waits for the device") as caught:
        trainer.train(DataLoader(dataset(), batch_size=BATCH_SIZE))
    assert f" in {__file__ if device == 'cuda' else emulated_graphs.__file__}, line" in str(
        caught.value
    )
    assert device == "cpu" or f"line {line}, which" in str(caught.value)
    assert "no .item()" in str(caught.value)
    assert trainer.state.step == NUM_WARM_UP - 1
    assert not trainer.store.names()


def test_a_capture_that_fails_is_told_as_well(tmp_path, device):
    class ReadingLater(Reading):
        num_calls = 0

        def training_step(self, batch, batch_idx):
            self.num_calls += 1
            step = Reading if self.num_calls > NUM_WARM_UP else Regression
            return step.training_step(self, batch, batch_idx)

    trainer = build(tmp_path, device, ReadingLater, max_steps=20)
    with pytest.raises(TrainingError, match=r"a CUDA graph cannot hold .*set cuda_graphs = false"):
        trainer.train(DataLoader(dataset(), batch_size=BATCH_SIZE))
    assert trainer.state.step == NUM_WARM_UP


def test_place_of_an_error_is_that_of_the_user_and_not_of_pytorch():
    def forward():
        return nn.Linear(2, 3)(torch.ones(3))

    with pytest.raises(RuntimeError) as caught:
        forward()
    line = forward.__code__.co_firstlineno + 1
    assert cuda_graphs.place_of(caught.value) == f" in {__file__}, line {line}"
    assert cuda_graphs.place_of(RuntimeError()) == ""


def test_other_errors_of_a_hook_come_through(graphs):
    def training_step(batch, _):
        raise RuntimeError(f"not my {batch}")

    step = StepGraphs(training_step, [], "cpu")
    for _ in range(NUM_WARM_UP + 1):
        with pytest.raises(RuntimeError, match="not my batch"):
            step("batch", 0)


def test_memory_that_runs_out_in_a_capture_is_no_fault_of_the_hook(graphs):
    weight, calls = nn.Parameter(torch.ones(2)), []

    def training_step(batch, _):
        calls.append(batch)
        if len(calls) > NUM_WARM_UP:
            raise torch.OutOfMemoryError("CUDA out of memory. The stream is capturing")
        return (weight * batch).sum()

    step = StepGraphs(training_step, [weight], "cpu")
    for _ in range(NUM_WARM_UP):
        step(torch.ones(2), 0)
    with pytest.raises(torch.OutOfMemoryError, match="out of memory"):
        step(torch.ones(2), 0)


def test_numbers_of_the_host_are_refused(tmp_path, device):
    class Returning(Regression):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx) | {"lr": 0.1, "n": 3}

    trainer = build(tmp_path, device, Returning, max_steps=5)
    with pytest.raises(TrainingError, match="returned 'lr', 'n' as a number of the host"):
        trainer.train(DataLoader(dataset(), batch_size=BATCH_SIZE))


def test_logging_in_a_step_is_refused_and_after_it_is_not(tmp_path, device):
    class Logging(Regression):
        def training_epoch_end(self, training_epoch_output):
            self.log("kept", 1.0)

    class LoggingInside(Logging):
        def training_step(self, batch, batch_idx):
            self.log("lost", 1.0)
            return super().training_step(batch, batch_idx)

    trainer = build(tmp_path / "inside", device, LoggingInside, max_steps=5)
    with pytest.raises(TrainingError, match=r"logs 'lost'.*return the value"):
        trainer.train(DataLoader(dataset(), batch_size=BATCH_SIZE))
    trainer = build(tmp_path / "outside", device, Logging, max_steps=5)
    trainer.train(DataLoader(dataset(), batch_size=BATCH_SIZE))
    assert trainer.tracker.values("train_epoch/kept")


# ---- settings that do not go together --------------------------------------------------------------


def test_settings_that_do_not_go_with_graphs_are_told_at_once():
    wanted = {"precision": "fp16", "gradient_accumulation_steps": 2, "strategy": "ddp"}
    with pytest.raises(ConfigError) as caught:
        BaseTrainer(nn.Linear(1, 1), config=wanted | {"cuda_graphs": True})
    for text in (
        'precision: "fp16" does not go with cuda_graphs',
        "gradient_accumulation_steps: must be 1 with cuda_graphs",
        'strategy: "ddp" does not go with cuda_graphs',
    ):
        assert text in str(caught.value)
    TrainerConfig(**wanted)  # without graphs they do


def test_what_only_a_trainer_knows_is_told_at_once(monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CUDAGRAPHS", "1")
    config = TrainerConfig(cuda_graphs=True, compile=True)
    problems = graph_problems(config, torch.device("cpu"), 2, is_automatic=False)
    assert [problem.partition(":")[0] for problem in problems] == ["cuda_graphs"] * 4
    for problem, text in zip(problems, ["CUDA device", "there are 2", "optimizer_step", "compile"]):
        assert text in problem
    assert not graph_problems(TrainerConfig(), torch.device("cpu"), 2, is_automatic=False)
    monkeypatch.delenv("TORCHINDUCTOR_CUDAGRAPHS")
    assert not graph_problems(config, torch.device("cuda"), 1, is_automatic=True)


def test_training_without_a_gpu_is_refused_before_anything_is_done(tmp_path):
    trainer = build(tmp_path, "cpu", max_steps=5)
    with pytest.raises(ConfigError, match=r"cuda_graphs: needs a CUDA device, and .* on cpu"):
        trainer.train(DataLoader(dataset(), batch_size=BATCH_SIZE))
    assert not trainer.store.names()


# ---- on a GPU only ---------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_recurrent_model_with_dropout_trains_to_the_same(precision):
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = nn.GRU(4, 16, num_layers=2, batch_first=True)
            self.dropout, self.mask = nn.Dropout(0.2), nn.Linear(16, 4)

        def forward(self, x):
            return x * self.mask(self.dropout(self.gru(x)[0])).sigmoid()

    torch.manual_seed(0)
    model, x = Recurrent().cuda(), torch.randn(8, 50, 4, device="cuda")
    twin = copy.deepcopy(model)
    losses = []
    for one in (model, twin):

        def step(batch, _, one=one):
            with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"):
                return (one(batch) - batch).square().mean()

        optimizer = torch.optim.AdamW(one.parameters(), lr=1e-3, fused=True)
        graphs = StepGraphs(step, one.parameters(), "cuda") if one is model else None
        losses.append([])
        for number in range(20):
            torch.cuda.manual_seed(number)
            if graphs is None:
                optimizer.zero_grad()
                loss = step(x, 0)
                loss.backward()
            else:
                loss = graphs(x, 0)
            optimizer.step()
            losses[-1].append(loss.detach())
    torch.testing.assert_close(*map(torch.stack, losses), rtol=1e-4, atol=1e-6)


@pytest.mark.gpu
def test_a_compiled_model_goes_into_a_graph(tmp_path):
    expected = train(tmp_path / "eager", "cuda", max_steps=12, cuda_graphs=False)
    found = train(tmp_path / "graphs", "cuda", max_steps=12, compile=True)
    torch.testing.assert_close(found[0], expected[0], rtol=1e-3, atol=1e-3)


@pytest.mark.gpu
def test_memory_is_given_back_after_the_training(tmp_path):
    train(tmp_path / "first", "cuda", max_steps=6)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    for number in range(3):
        train(tmp_path / str(number), "cuda", max_steps=6)
    assert torch.cuda.memory_allocated() <= before + 2**20
