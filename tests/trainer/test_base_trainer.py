"""The loops of BaseTrainer, on real models, data and files."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import math
import os
import signal
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.data import DataLoader, Dataset, TensorDataset

from audiozen.config.schema import AcousticsConfig
from audiozen.errors import (
    AudioError,
    CheckpointError,
    ConfigError,
    Preempted,
    RequestError,
    TrainingError,
)
from audiozen.testing import NoisyTones, RecordingTracker, TinyEnhancer
from audiozen.tracking.console import SilentConsole
from audiozen.trainer.base_trainer import BaseTrainer
from tests.trainer.regression import Regression


def data(num_items: int = 20) -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(num_items, 4, generator=generator)
    return TensorDataset(x, x @ torch.randn(4, 2, generator=generator))


def model(dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 2))


def build(
    exp_dir: Path,
    cls=Regression,
    *,
    net=None,
    optimizer=None,
    scheduler=None,
    resume=False,
    **config,
):
    net = net or model()
    optimizer = optimizer(net) if optimizer else torch.optim.SGD(net.parameters(), lr=0.1)
    settings = {"best_metric": "mse", "higher_is_better": False, "num_threads": 1}
    return cls(
        net,
        optimizer,
        lr_scheduler=scheduler(optimizer) if scheduler else None,
        config=settings | config,
        exp_dir=exp_dir,
        resume=resume,
        tracker=RecordingTracker(),
        console=SilentConsole(),
    )


def loader(num_items: int = 20, batch_size: int = 4, *, shuffle: bool = True) -> DataLoader:
    return DataLoader(data(num_items), batch_size=batch_size, shuffle=shuffle)


def weights_hash(trainer: BaseTrainer, which: str = "latest") -> str:
    path = trainer.checkpoints_dir / which / "model.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ---- the order of one step ---------------------------------------------------------------


def test_clipped_sgd_step_at_lr_1_moves_the_weights_by_the_clip_norm(tmp_path):
    torch.manual_seed(0)
    net = nn.Linear(4, 2)
    before = [p.detach().clone() for p in net.parameters()]
    trainer = build(
        tmp_path,
        net=net,
        optimizer=lambda m: torch.optim.SGD(m.parameters(), lr=1.0),
        max_steps=1,
        max_grad_norm=0.125,
    )
    trainer.train(loader())
    moved = torch.cat([(p - q).flatten() for p, q in zip(net.parameters(), before)])
    assert float(trainer.grad_norm) > 1
    assert moved.norm().item() == pytest.approx(0.125, rel=1e-5)


def test_clipping_in_fp16_is_of_the_gradient_and_not_of_its_scaled_form(tmp_path):
    weights = []

    class Watching(Regression):
        def training_step(self, batch, batch_idx):
            weights.append(torch.cat([p.detach().flatten() for p in self.model.parameters()]))
            return super().training_step(batch, batch_idx)

    trainer = build(
        tmp_path,
        Watching,
        optimizer=lambda m: torch.optim.SGD(m.parameters(), lr=1.0),
        max_steps=6,
        max_grad_norm=0.125,
        precision="fp16",
    )
    trainer.train(loader())
    moved = [(b - a).norm().item() for a, b in itertools.pairwise(weights)]
    # The first scale may be too large for fp16: then it is lowered, and the weights stay.
    assert moved[-1] == pytest.approx(0.125, rel=1e-5)
    assert all(m == 0 or m == pytest.approx(0.125, rel=1e-5) for m in moved)


def test_without_clipping_the_norm_is_measured_and_logged(tmp_path):
    trainer = build(tmp_path, max_steps=2, log_interval=1)
    trainer.train(loader())
    norms = trainer.tracker.values("train/grad_norm")
    assert list(norms) == [1, 2]
    assert all(norm > 0 for norm in norms.values())


def test_trained_weights_equal_those_of_a_plain_loop(tmp_path):
    trainer = build(tmp_path, max_epochs=3, max_grad_norm=0.5)
    trainer.train(loader(shuffle=False))

    plain = model()
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
    for _ in range(3):
        for x, y in loader(shuffle=False):
            optimizer.zero_grad()
            (plain(x) - y).square().mean().backward()
            nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
            optimizer.step()
    for ours, theirs in zip(trainer.model.parameters(), plain.parameters()):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("num_items", [24, 20, 18, 17])
def test_k_micro_batches_equal_one_batch_k_times_larger(tmp_path, num_items):
    small = build(tmp_path / "small", max_epochs=2, gradient_accumulation_steps=3)
    small.train(loader(num_items, batch_size=2))
    large = build(tmp_path / "large", max_epochs=2)
    large.train(loader(num_items, batch_size=6))
    assert small.state.step == large.state.step == 2 * math.ceil(num_items / 6)
    for a, b in zip(small.model.parameters(), large.model.parameters()):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_schedule_by_step_sees_each_learning_rate_once(tmp_path):
    def halving(optimizer):
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: 0.5**n)

    trainer = build(
        tmp_path, scheduler=halving, max_steps=4, log_interval=1, gradient_accumulation_steps=2
    )
    trainer.train(loader())
    rates = list(trainer.tracker.values("train/lr").values())
    assert rates == pytest.approx([0.1, 0.05, 0.025, 0.0125])


def test_schedule_by_epoch_advances_after_each_epoch(tmp_path):
    def halving(optimizer):
        return torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)

    trainer = build(
        tmp_path, scheduler=halving, max_epochs=3, lr_scheduler_interval="epoch", log_interval=1
    )
    trainer.train(loader(8, batch_size=4))
    rates = list(trainer.tracker.values("train/lr").values())
    assert rates == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025, 0.025])


class Scores(Regression):
    """Returns given scores, one per validation."""

    scores: list[float]

    def validation_epoch_end(self, validation_epoch_output):
        return self.scores.pop(0)


def scored(exp_dir: Path, scores: list[float], **kwargs):
    trainer = build(exp_dir, Scores, **kwargs)
    trainer.scores = list(scores)
    return trainer


def test_plateau_schedule_follows_the_score(tmp_path):
    def plateau(optimizer):
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)

    trainer = scored(tmp_path, [3.0, 2.0, 2.5, 2.6], scheduler=plateau, max_epochs=4)
    trainer.train(loader(), loader(4))
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(0.025)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_trains_nearly_as_fp32(tmp_path, precision):
    seen = []

    class Watching(Regression):
        def training_step(self, batch, batch_idx):
            x, y = batch
            prediction = self.model(x)
            seen.append(prediction.dtype)
            return (prediction.float() - y).square().mean()

    trainer = build(tmp_path / "low", Watching, precision=precision, max_steps=20)
    trainer.train(loader())
    full = build(tmp_path / "full", max_steps=20)
    full.train(loader())
    assert set(seen) == {{"bf16": torch.bfloat16, "fp16": torch.float16}[precision]}
    for a, b in zip(trainer.model.parameters(), full.model.parameters()):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=0.1, atol=0.05)


def test_compiled_model_trains_as_the_bare_one(tmp_path):
    bare = build(tmp_path / "bare", max_steps=3)
    bare.train(loader(shuffle=False))
    # The eager backend captures the graph without a C++ compiler, which a test machine may lack.
    with pytest.MonkeyPatch.context() as patch:
        compile_ = torch.compile
        patch.setattr(torch, "compile", lambda module: compile_(module, backend="eager"))
        compiled = build(tmp_path / "compiled", max_steps=3, compile=True)
        compiled.train(loader(shuffle=False))
    assert weights_hash(compiled) == weights_hash(bare)
    assert not hasattr(compiled.model, "_orig_mod")


def test_logged_losses_are_means_over_the_micro_batches_of_a_step(tmp_path):
    class Counting(Regression):
        def training_step(self, batch, batch_idx):
            self.log("twice", 2.0 * batch_idx)
            return {"loss": super().training_step(batch, batch_idx), "number": batch_idx}

    trainer = build(tmp_path, Counting, max_epochs=1, gradient_accumulation_steps=2, log_interval=2)
    trainer.train(loader(24))  # micro-batches 0 1 | 2 3 | 4 5
    assert trainer.tracker.values("train/number") == {2: 2.5}
    assert trainer.tracker.values("train/twice") == {2: 6.0}


# ---- where training ends --------------------------------------------------------------------


def test_max_steps_ends_after_exactly_that_many_updates(tmp_path):
    trainer = build(tmp_path, max_steps=7)
    trainer.train(loader())  # 5 steps an epoch
    assert (trainer.state.step, trainer.state.epoch) == (7, 2)
    assert trainer.store.names()[-1] == "epoch_0002_step_00000007"


def test_training_epoch_end_gets_one_float_per_micro_batch(tmp_path):
    outputs = []

    class Listening(Regression):
        def training_step(self, batch, batch_idx):
            return {"loss": super().training_step(batch, batch_idx), "batch_idx": batch_idx}

        def training_epoch_end(self, training_epoch_output):
            outputs.append(list(training_epoch_output))

    build(tmp_path, Listening, max_epochs=2, gradient_accumulation_steps=2).train(loader())
    assert [[entry["batch_idx"] for entry in epoch] for epoch in outputs] == [[0, 1, 2, 3, 4]] * 2
    assert all(isinstance(entry["loss"], float) for epoch in outputs for entry in epoch)


def test_patience_stops_after_so_many_validations_without_a_better_score(tmp_path):
    trainer = scored(tmp_path, [3.0, 2.0, 2.5, 2.5, 2.5], max_epochs=10, patience=2)
    trainer.train(loader(), loader(4))
    assert trainer.state.epoch == 4
    assert trainer.state.best_checkpoint == "epoch_0002"
    assert (trainer.checkpoints_dir / "best").resolve().name == "epoch_0002"


def test_patience_that_runs_out_inside_an_epoch_stops_there_and_validates_once(tmp_path):
    trainer = scored(
        tmp_path, [2.0, 3.0, 3.0], max_epochs=10, patience=2, validation_interval={"steps": 1}
    )
    trainer.train(loader(), loader(4))
    assert (trainer.state.step, trainer.scores) == (3, [])
    assert trainer.store.names()[-1] == "epoch_0001_step_00000003"
    again = scored(tmp_path, [], max_epochs=10, patience=2, resume=True)
    again.train(loader(), loader(4))
    assert again.state.step == 3


def test_resuming_a_finished_run_does_nothing(tmp_path):
    build(tmp_path, max_epochs=2).train(loader())
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.safetensors")}
    again = build(tmp_path, max_epochs=2, resume=True)
    again.train(loader())
    assert again.state.step == 10
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.safetensors")} == before


# ---- validation and the best checkpoint ------------------------------------------------------------


def test_validation_by_steps_and_by_epochs(tmp_path):
    steps = []

    class Watching(Regression):
        def validation_epoch_end(self, validation_epoch_output):
            steps.append(self.state.step)
            return 0.0

    trainer = build(tmp_path, Watching, max_epochs=2, validation_interval={"steps": 3, "epochs": 1})
    trainer.train(loader(), loader(4))  # 5 steps an epoch
    assert steps == [3, 5, 6, 9, 10]


def test_validation_hooks_see_eval_mode_no_gradients_and_the_bare_model(tmp_path, monkeypatch):
    net, seen = model(), []

    class Watching(Regression):
        def look(self, hook):
            seen.append((hook, self.model is net, self.model.training, torch.is_grad_enabled()))

        def training_step(self, batch, batch_idx):
            self.look("train")
            return super().training_step(batch, batch_idx)

        def validation_step(self, batch, batch_idx):
            self.look("valid")
            return super().validation_step(batch, batch_idx)

    monkeypatch.setattr(torch, "compile", nn.Sequential)  # it wraps the model
    trainer = build(tmp_path, Watching, net=net, max_epochs=2, compile=True)
    trainer.train(loader(4), loader(4))
    assert seen == [("train", False, True, True), ("valid", True, False, False)] * 2
    assert net.training


def test_frozen_part_in_eval_mode_stays_so_after_a_validation(tmp_path):
    trainer = build(tmp_path, max_steps=1)
    trainer.model[2].eval()
    trainer.model[0].train()
    trainer.validate(loader(4))
    assert not trainer.model[2].training
    assert trainer.model[0].training


@pytest.mark.parametrize(
    ("higher_is_better", "scores", "best"),
    [(True, [1.0, 3.0, 2.0], "epoch_0002"), (False, [2.0, 3.0, 1.0], "epoch_0003")],
)
def test_best_follows_the_direction(tmp_path, higher_is_better, scores, best):
    trainer = scored(tmp_path, scores, max_epochs=3, higher_is_better=higher_is_better)
    trainer.train(loader(), loader(4))
    assert (trainer.checkpoints_dir / "best").resolve().name == best


def test_plateau_schedule_of_the_wrong_direction_is_refused(tmp_path):
    def plateau(optimizer):
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="min")

    trainer = build(tmp_path, scheduler=plateau, higher_is_better=True)
    with pytest.raises(ConfigError, match="lr_scheduler: mode 'min' contradicts higher_is_better"):
        trainer.train(loader(), loader(4))


def test_nan_score_never_becomes_best_and_is_told(tmp_path, caplog):
    trainer = scored(tmp_path, [math.nan, 5.0, math.nan], max_epochs=3)
    trainer.train(loader(), loader(4))
    assert trainer.state.best_score == 5.0
    assert (trainer.checkpoints_dir / "best").resolve().name == "epoch_0002"
    assert "the score is NaN" in caplog.text


def test_best_is_never_pruned(tmp_path):
    trainer = scored(tmp_path, [1.0, 2.0, 3.0, 4.0, 5.0], max_epochs=5, max_num_checkpoints=2)
    trainer.train(loader(), loader(4))
    assert trainer.store.names() == ["epoch_0001", "epoch_0004", "epoch_0005"]


def test_best_follows_latest_where_nothing_is_validated(tmp_path):
    trainer = build(tmp_path, max_epochs=3)
    trainer.train(loader())
    assert (trainer.checkpoints_dir / "best").resolve().name == "epoch_0003"


def test_two_dataloaders_of_different_lengths_come_in_dataset_order(tmp_path):
    received = []

    class Watching(BaseTrainer):
        def validation_step(self, batch, batch_idx, dataloader_idx):
            return {"place": (dataloader_idx, batch_idx), "first": batch[0][0, 0].item()}

        def validation_epoch_end(self, validation_epoch_output):
            received.extend(validation_epoch_output)
            return 1.5

    first, second = loader(10, shuffle=False), loader(3, batch_size=1, shuffle=False)
    score = Watching(model(), exp_dir=tmp_path, console=SilentConsole()).validate([first, second])
    assert score == 1.5
    assert [entry["place"] for entry in received[0]] == [(0, 0), (0, 1), (0, 2)]
    assert [entry["place"] for entry in received[1]] == [(1, 0), (1, 1), (1, 2)]
    assert [entry["first"] for entry in received[1]] == [x[0].item() for x, _ in data(3)]


def test_default_epoch_end_writes_tables_and_returns_the_mean_over_all_signals(tmp_path):
    trainer = build(tmp_path, max_epochs=1)
    score = trainer.test([loader(6), loader(3)], ckpt_path=None)
    rows = []
    for index in range(2):
        with (tmp_path / "metrics" / f"test_{index}.csv").open() as file:
            rows.append([float(row["mse"]) for row in csv.DictReader(file)])
    assert [len(table) for table in rows] == [6, 3]
    assert score == pytest.approx(sum(map(sum, rows)) / 9)
    assert "1 (3 signals)" in (tmp_path / "metrics" / "test.txt").read_text()
    logged = trainer.tracker.values("test/1/mse")
    assert list(logged.values()) == pytest.approx([sum(rows[1]) / 3])


def test_score_that_is_no_number_is_refused(tmp_path):
    class Silent(Regression):
        def validation_epoch_end(self, validation_epoch_output):
            pass

    with pytest.raises(TrainingError, match="validation_epoch_end must return the score"):
        build(tmp_path, Silent).validate(loader(4))


def test_best_metric_that_no_step_returns_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(TrainingError, match=r"best_metric is 'pesq', but .* these scores: mse"):
        build(tmp_path, best_metric="pesq").validate(loader(4))


def test_evaluation_leaves_optimizer_generators_and_position_as_they_were(tmp_path):
    def momenta() -> list[list[float]]:
        states = trainer.optimizer.state.values()
        return [state["momentum_buffer"].tolist() for state in states]

    trainer = scored(
        tmp_path,
        [1.0, 2.0, 3.0, 4.0],
        optimizer=lambda m: torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9),
        max_epochs=2,
    )
    trainer.train(loader(), loader(4))
    before = json.dumps(trainer.state.state_dict()), momenta(), torch.get_rng_state()
    trainer.test(loader(4), ckpt_path="best")  # not the last one
    trainer.validate(loader(4))
    trainer.predict([torch.zeros(1, 4)], ckpt_path=None)
    assert json.dumps(trainer.state.state_dict()) == before[0]
    assert momenta() == before[1] != []
    assert torch.equal(torch.get_rng_state(), before[2])


def test_test_loads_the_best_weights(tmp_path):
    trainer = scored(tmp_path, [1.0, 2.0, 0.0], max_epochs=2)
    trainer.train(loader(), loader(4))
    last = trainer.model[0].weight.detach().clone()
    trainer.test(loader(4), ckpt_path="best")
    assert not torch.equal(trainer.model[0].weight, last)
    trainer.load_checkpoint("epoch_0002")
    assert torch.equal(trainer.model[0].weight, last)


def test_predictions_are_handed_out_one_by_one(tmp_path):
    trainer = build(tmp_path)
    outputs = list(trainer.predictions([[torch.zeros(4)], torch.ones(2, 4)], ckpt_path=None))
    assert [(o.dataloader_idx, o.batch_idx) for o in outputs] == [(0, 0), (1, 0), (1, 1)]


# ---- averaged weights ----------------------------------------------------------------------------


def test_averaged_weights_are_evaluated_and_published_and_training_is_not_disturbed(tmp_path):
    plain = build(tmp_path / "plain", max_epochs=2)
    plain.train(loader(), loader(4))
    averaged = build(tmp_path / "averaged", max_epochs=2, ema_decay=0.9)
    averaged.train(loader(), loader(4))
    for a, b in zip(averaged.model.parameters(), plain.model.parameters()):
        assert torch.equal(a, b)
    assert weights_hash(averaged) != weights_hash(plain)
    scored_in_training = averaged.state.best_score
    fresh = build(tmp_path / "averaged", ema_decay=0.9)
    assert fresh.validate(loader(4), ckpt_path="best") == pytest.approx(scored_in_training)


def test_published_weights_are_the_average_over_all_steps(tmp_path):
    weights = []

    class Watching(Regression):
        def training_step(self, batch, batch_idx):
            weights.append(self.model[0].weight.detach().clone())
            return super().training_step(batch, batch_idx)

    trainer = build(tmp_path, Watching, max_epochs=2, ema_decay=0.5)
    trainer.train(loader())
    weights.append(trainer.model[0].weight.detach().clone())
    average = weights[0]
    for n, after in enumerate(weights[1:]):
        decay = min(0.5, (1 + n) / (10 + n))
        average = decay * average + (1 - decay) * after
    published = trainer.store.load_models(trainer.store.find("latest"))[""]["0.weight"]
    torch.testing.assert_close(published, average)


# ---- resume ---------------------------------------------------------------------------------------


class Augmented(Dataset):
    """Items with noise drawn from PyTorch's global generator."""

    def __init__(self, num_items: int = 20) -> None:
        self.data = data(num_items)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int):
        x, y = self.data[index]
        return x + 0.1 * torch.randn(4), y


def resumable(exp_dir: Path, *, workers: int = 0, resume: bool = False, **config):
    trainer = build(
        exp_dir,
        net=model(dropout=0.3),
        optimizer=lambda m: torch.optim.Adam(m.parameters(), lr=0.01),
        scheduler=lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda n: 0.97**n),
        resume=resume,
        **config,
    )
    trainer.train(
        DataLoader(Augmented(), batch_size=4, shuffle=True, num_workers=workers), loader(6)
    )
    return trainer


@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_resumed_run_equals_uninterrupted_run(tmp_path, ema_decay):
    whole = resumable(tmp_path / "whole", max_epochs=4, ema_decay=ema_decay)
    resumable(tmp_path / "parts", max_epochs=2, ema_decay=ema_decay)
    parts = resumable(tmp_path / "parts", max_epochs=4, ema_decay=ema_decay, resume=True)
    assert weights_hash(parts) == weights_hash(whole)
    assert weights_hash(parts, "best") == weights_hash(whole, "best")
    assert parts.state == whole.state


@pytest.mark.parametrize("stop_at", [1, 4, 5, 8])
def test_run_resumed_inside_an_epoch_equals_uninterrupted_run(tmp_path, stop_at):
    whole = resumable(tmp_path / "whole", max_steps=13, gradient_accumulation_steps=2)
    resumable(tmp_path / "parts", max_steps=stop_at, gradient_accumulation_steps=2)
    parts = resumable(tmp_path / "parts", max_steps=13, gradient_accumulation_steps=2, resume=True)
    assert weights_hash(parts) == weights_hash(whole)


def test_log_of_a_resumed_run_equals_that_of_an_uninterrupted_one(tmp_path):
    def rows(exp_dir: Path) -> list[tuple[int, str, float]]:
        lines = (exp_dir / "metrics" / "metrics.jsonl").read_text().splitlines()
        entries = [json.loads(line) for line in lines]
        return sorted(
            (entry["step"], name, value)
            for entry in entries
            for name, value in entry.items()
            if "/" in name
        )

    def run(exp_dir: Path, *, stops: bool = False, resume: bool = False) -> None:
        class Stopping(Regression):
            def training_step(self, batch, batch_idx):
                if stops and self.state.step == 8:
                    raise KeyError("power")
                return super().training_step(batch, batch_idx)

        net = model()
        trainer = Stopping(
            net,
            torch.optim.SGD(net.parameters(), lr=0.1),
            config={"max_epochs": 3, "higher_is_better": False, "log_interval": 2},
            exp_dir=exp_dir,
            resume=resume,
            console=SilentConsole(),
        )
        trainer.train(loader(), loader(4))

    run(tmp_path / "whole")
    with pytest.raises(KeyError):
        run(tmp_path / "parts", stops=True)
    assert max(step for step, _, _ in rows(tmp_path / "parts")) == 8  # beyond the checkpoint
    run(tmp_path / "parts", resume=True)
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")


def test_number_of_workers_does_not_change_the_weights(tmp_path):
    hashes = {
        weights_hash(resumable(tmp_path / str(workers), workers=workers, max_epochs=2))
        for workers in (0, 2)
    }
    assert len(hashes) == 1


def test_interrupted_validation_is_done_again(tmp_path):
    class Failing(Scores):
        def validation_epoch_end(self, validation_epoch_output):
            if self.state.epoch == 2 and not self.resume:
                raise KeyError("the disk of the metric")
            return super().validation_epoch_end(validation_epoch_output)

    first = build(tmp_path, Failing, max_epochs=3)
    first.scores = [3.0]
    with pytest.raises(KeyError):
        first.train(loader(), loader(4))
    second = build(tmp_path, Failing, max_epochs=3, resume=True)
    second.scores = [1.0, 2.0]
    second.train(loader(), loader(4))
    assert second.state.best_checkpoint == "epoch_0002"
    assert second.scores == []


def test_plateau_schedule_survives_a_resume(tmp_path):
    def plateau(optimizer):
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)

    scores = [1.0, 2.0, 3.0, 4.0]
    whole = scored(tmp_path / "whole", scores, scheduler=plateau, max_epochs=4)
    whole.train(loader(), loader(4))
    scored(tmp_path / "parts", scores[:2], scheduler=plateau, max_epochs=2).train(
        loader(), loader(4)
    )
    parts = scored(tmp_path / "parts", scores[2:], scheduler=plateau, max_epochs=4, resume=True)
    parts.train(loader(), loader(4))
    assert weights_hash(parts) == weights_hash(whole)


def test_checkpoints_are_not_started_over(tmp_path):
    build(tmp_path, max_steps=1).train(loader())
    with pytest.raises(RequestError, match="has checkpoints already"):
        build(tmp_path, max_steps=1).train(loader())


def test_resume_without_a_checkpoint_starts_from_the_beginning(tmp_path):
    trainer = build(tmp_path, max_steps=1, resume=True)
    trainer.train(loader())
    assert trainer.state.step == 1


def test_checkpoint_of_another_model_is_refused(tmp_path):
    build(tmp_path, max_steps=1).train(loader())
    other = build(tmp_path, net=nn.Linear(4, 3))
    text = r"00000001 does not fit:\n  weight: expected \(3, 4\), not found"
    with pytest.raises(CheckpointError, match=text):
        other.load_checkpoint("latest")


def test_registered_things_ride_along(tmp_path):
    class Counter:
        value = 0

        def state_dict(self):
            return {"value": self.value}

        def load_state_dict(self, state):
            self.value = state["value"]

    first = build(tmp_path, max_steps=1)
    counter = Counter()
    counter.value = 7
    first.register("counter", counter)
    first.train(loader())
    second = build(tmp_path, max_steps=2, resume=True)
    restored = Counter()
    second.register("counter", restored)
    second.train(loader())
    assert restored.value == 7
    with pytest.raises(RequestError, match="registered already"):
        second.register("counter", Counter())


# ---- signals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signal_saves_at_the_next_step_and_the_rest_is_the_same(tmp_path, number):
    class Interrupted(Regression):
        def training_step(self, batch, batch_idx):
            if self.state.step == 7 and not self.resume:
                os.kill(os.getpid(), number)
            return super().training_step(batch, batch_idx)

    with pytest.raises(Preempted, match="epoch 2, step 8"):
        build(tmp_path / "parts", Interrupted, max_epochs=3).train(loader(), loader(4))
    parts = build(tmp_path / "parts", Interrupted, max_epochs=3, resume=True)
    parts.train(loader(), loader(4))
    whole = build(tmp_path / "whole", max_epochs=3)
    whole.train(loader(), loader(4))
    assert weights_hash(parts) == weights_hash(whole)


def test_handlers_are_put_back(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    build(tmp_path, max_steps=1).train(loader())
    assert signal.getsignal(signal.SIGTERM) is before


# ---- what hooks must not do -----------------------------------------------------------------------


def failing_at(step: int, value: float):
    class Failing(Regression):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return loss * value if self.state.step == step else loss

    return Failing


def test_loss_that_is_not_finite_ends_the_run_before_it_is_saved(tmp_path):
    trainer = build(tmp_path, failing_at(7, math.nan), max_epochs=3)
    with pytest.raises(
        TrainingError, match=r"epoch 2, step 8 \(samples 1, 10, 16, 19\): the loss is nan"
    ):
        trainer.train(loader())
    assert trainer.store.names() == ["epoch_0001"]


def test_steps_with_a_gradient_that_is_not_finite_can_be_skipped(tmp_path):
    trainer = build(tmp_path, failing_at(7, math.inf), max_epochs=3, on_nonfinite="skip")
    trainer.train(loader())
    assert trainer.guard.num_skipped_steps == 1
    assert trainer.tracker.values("train/num_skipped_steps")[10] == 1
    assert all(p.isfinite().all() for p in trainer.model.parameters())


def test_run_gives_up_after_so_many_skipped_steps_in_a_row(tmp_path):
    class Failing(Regression):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx) * (
                math.inf if self.state.step > 5 else 1
            )

    trainer = build(tmp_path, Failing, max_epochs=9, on_nonfinite="skip", max_skips_in_a_row=7)
    with pytest.raises(TrainingError, match=r"7 steps in a row were skipped.* epoch 2, step 7 "):
        trainer.train(loader())
    assert all(p.isfinite().all() for p in trainer.model.parameters())


class PartlyBroken(Dataset):
    """Two of its samples cannot be loaded."""

    def __init__(self):
        self.good = data(20)

    def __len__(self):
        return 20

    def __getitem__(self, index):
        if index in (3, 11):
            raise AudioError(f"speech_{index}.wav is truncated")
        return self.good[index]


def broken_loader(num_workers: int = 0) -> DataLoader:
    return DataLoader(PartlyBroken(), batch_size=4, shuffle=True, num_workers=num_workers)


def test_bad_samples_end_the_run_by_name_or_are_replaced_and_listed(tmp_path):
    with pytest.raises(AudioError, match=r"speech_\d+.wav is truncated"):
        build(tmp_path / "raise", max_epochs=1).train(broken_loader())
    whole = build(tmp_path / "whole", max_epochs=2, on_bad_sample="skip")
    whole.train(broken_loader(2))
    listed = (tmp_path / "whole" / "bad_samples.csv").read_text()
    assert listed.splitlines() == [
        "epoch,index,reason",
        *(f"{e},{i},speech_{i}.wav is truncated" for e in (1, 2) for i in (3, 11)),
    ]
    build(tmp_path / "run", max_steps=4, on_bad_sample="skip").train(broken_loader())
    resumed = build(tmp_path / "run", max_epochs=2, on_bad_sample="skip", resume=True)
    resumed.train(broken_loader())
    assert (tmp_path / "run" / "bad_samples.csv").read_text() == listed
    assert weights_hash(resumed) == weights_hash(whole)


class Suicidal(Dataset):
    """Its worker is killed at one sample."""

    def __len__(self):
        return 20

    def __getitem__(self, index):
        if index == 15:
            os.kill(os.getpid(), signal.SIGKILL)
        return data(20)[index]


def test_killed_worker_is_told_and_costs_no_checkpoint(tmp_path):
    trainer = build(tmp_path, max_epochs=1, save_interval={"steps": 1})
    order = DataLoader(Suicidal(), batch_size=2, num_workers=2, prefetch_factor=1)
    with pytest.raises(TrainingError, match=r"a data-loader worker .*--resume"):
        trainer.train(order)
    names = trainer.store.names()
    assert names
    for name in names:
        assert trainer.store.verify(trainer.store.find(name)) == []


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (None, "it returned NoneType"),
        ({"lost": torch.zeros(())}, r"it returned a dict with \['lost'\]"),
        (torch.zeros(3), r"a tensor of shape \(3,\) as 'loss'"),
        ({"loss": torch.zeros(()), "mask": torch.zeros(2, 2)}, r"shape \(2, 2\) as 'mask'"),
        ({"loss": 1.0}, "must be a tensor to be minimised"),
    ],
)
def test_training_step_that_returns_something_else_is_refused(tmp_path, output, text):
    class Wrong(BaseTrainer):
        def training_step(self, batch, batch_idx):
            return output

    with pytest.raises(TrainingError, match=text):
        build(tmp_path, Wrong, max_steps=1).train(loader())


def test_everything_that_is_missing_for_training_is_told_before_it_starts(tmp_path):
    class Manual(BaseTrainer):
        automatic_optimization = False

    trainer = Manual(model(), config={"gradient_accumulation_steps": 2}, exp_dir=tmp_path)
    with pytest.raises(ConfigError) as error:
        trainer.train(loader(), loader())
    assert [problem.split(":")[0] for problem in error.value.problems] == [
        "training_step",
        "validation_step",
        "optimizer",
        "gradient_accumulation_steps",
    ]
    assert not list(tmp_path.iterdir())


def test_name_of_an_earlier_trainer_is_told_with_its_new_one(tmp_path):
    trainer = BaseTrainer(model(), exp_dir=tmp_path)
    with pytest.raises(AttributeError, match=r"no attribute 'sr': now self.sample_rate$"):
        _ = trainer.sr
    with pytest.raises(AttributeError, match=r"no attribute 'unheard_of'$"):
        _ = trainer.unheard_of


def test_unknown_setting_is_refused_with_a_suggestion(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'max_epochs'"):
        BaseTrainer(model(), config={"max_epoch": 3}, exp_dir=tmp_path)


def test_empty_train_dataloader_is_refused(tmp_path):
    with pytest.raises(RequestError, match="no batch: the training dataset has 0 samples"):
        build(tmp_path).train([])


# ---- two networks ---------------------------------------------------------------------------------


class Adversarial(BaseTrainer):
    """A generator and a discriminator, optimised by hand."""

    automatic_optimization = False

    def training_step(self, batch, batch_idx):
        x, y = batch
        fake = self.model["generator"](x)
        judge = self.model["discriminator"]
        d_loss = (judge(y) - 1).square().mean() + judge(fake.detach()).square().mean()
        self.backward(d_loss)
        self.optimizer_step("discriminator")
        g_loss = (judge(fake) - 1).square().mean()
        self.backward(g_loss)
        self.optimizer_step(self.optimizer["generator"])
        return {"loss": g_loss, "d_loss": d_loss}


def adversarial(
    exp_dir: Path, kind: type[Adversarial] = Adversarial, *, resume: bool = False, **config
) -> Adversarial:
    torch.manual_seed(0)
    nets = {"generator": nn.Linear(4, 2), "discriminator": nn.Linear(2, 1)}
    optimizers = {name: torch.optim.Adam(net.parameters(), lr=0.01) for name, net in nets.items()}
    return kind(
        nets, optimizers, config=config, exp_dir=exp_dir, resume=resume, console=SilentConsole()
    )


def test_step_by_hand_is_refused_where_the_trainer_steps(tmp_path):
    class Automatic(Adversarial):
        automatic_optimization = True

    trainer = adversarial(tmp_path, Automatic, max_epochs=1)
    with pytest.raises(TrainingError, match=r"set automatic_optimization = False in the class"):
        trainer.train(loader())


def test_optimizer_that_is_not_there_is_told_with_those_that_are(tmp_path):
    trainer = adversarial(tmp_path)
    with pytest.raises(RequestError, match=r"no optimizer 'critic'; there are: generator, discr"):
        trainer.optimizer_step("critic")


def test_epoch_without_a_step_by_hand_is_told(tmp_path, caplog):
    class Idle(Adversarial):
        def training_step(self, batch, batch_idx):
            return self.model["generator"](batch[0]).square().mean()

    for kind, is_told in ((Adversarial, False), (Idle, True)):
        caplog.clear()
        trainer = adversarial(tmp_path / kind.__name__, kind, max_epochs=1)
        trainer.train(loader())
        assert ("optimizer_step in epoch 1: nothing is trained" in caplog.text) == is_told


def test_several_models_ask_for_a_predict_step(tmp_path):
    trainer = adversarial(tmp_path)
    with pytest.raises(TrainingError, match=r"\(generator, discriminator\): write a predict_step"):
        trainer.predict([torch.zeros(2, 4)], ckpt_path=None)


def test_manual_optimisation_equals_a_plain_loop(tmp_path):
    trainer = adversarial(tmp_path, max_epochs=2)
    trainer.train(loader(shuffle=False))

    plain = adversarial(tmp_path / "unused")
    generator, judge = plain.model["generator"], plain.model["discriminator"]
    for _ in range(2):
        for x, y in loader(shuffle=False):
            fake = generator(x)
            plain.optimizer["discriminator"].zero_grad()
            loss = (judge(y) - 1).square().mean() + judge(fake.detach()).square().mean()
            loss.backward()
            plain.optimizer["discriminator"].step()
            plain.optimizer["generator"].zero_grad()
            (judge(fake) - 1).square().mean().backward()
            plain.optimizer["generator"].step()
    for name in ("generator", "discriminator"):
        for a, b in zip(trainer.model[name].parameters(), plain.model[name].parameters()):
            assert torch.equal(a, b)


def test_named_models_resume_exactly_and_have_a_file_each(tmp_path):
    whole = adversarial(tmp_path / "whole", max_epochs=3)
    whole.train(loader())
    adversarial(tmp_path / "parts", max_epochs=1).train(loader())
    parts = adversarial(tmp_path / "parts", max_epochs=3, resume=True)
    parts.train(loader())
    for name in ("generator", "discriminator"):
        files = [
            (t.checkpoints_dir / "latest" / f"model.{name}.safetensors").read_bytes()
            for t in (whole, parts)
        ]
        assert files[0] == files[1]


# ---- sound, and the folder that a run leaves behind -------------------------------------------------


class Denoiser(BaseTrainer):
    """Enhances waveforms."""

    def training_step(self, batch, batch_idx):
        noisy, clean = batch
        return (self.model(noisy) - clean).square().mean()

    def validation_step(self, batch, batch_idx):
        noisy, clean = batch
        enhanced = self.model(noisy)
        self.log_audio(f"enhanced/{batch_idx}", enhanced[0], 16_000)
        return {"mse": (enhanced - clean).square().mean(-1)}


def test_a_run_leaves_its_folder_behind(tmp_path):
    torch.manual_seed(0)
    net = TinyEnhancer()
    trainer = Denoiser(
        net,
        torch.optim.Adam(net.parameters(), lr=0.01),
        config={"max_epochs": 2, "higher_is_better": False, "num_audio_samples": 2},
        exp_dir=tmp_path,
        console=SilentConsole(),
    )
    trainer.train(DataLoader(NoisyTones(8), batch_size=2), DataLoader(NoisyTones(4)))
    assert (tmp_path / "checkpoints" / "best" / "model.safetensors").is_file()
    assert list((tmp_path / "tb").glob("events.*"))
    lines = (tmp_path / "metrics" / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert {"train_epoch/loss", "valid/mse"} <= {key for row in rows for key in row}
    assert not list(tmp_path.rglob("*.pkl")) + list(tmp_path.rglob("*.pt"))


def test_sounds_of_the_first_batches_only(tmp_path):
    tracker = RecordingTracker()
    trainer = Denoiser(
        TinyEnhancer(),
        config={"num_audio_samples": 2},
        exp_dir=tmp_path,
        tracker=tracker,
        console=SilentConsole(),
    )
    trainer.validate(DataLoader(NoisyTones(5)))
    assert [name for name, _ in tracker.audio] == ["valid/enhanced/0", "valid/enhanced/1"]


@pytest.mark.gpu
def test_trains_on_a_gpu(tmp_path):
    trainer = build(tmp_path, max_epochs=2, device="cuda", precision="bf16")
    trainer.train(loader(), loader(4))
    assert next(trainer.model.parameters()).is_cuda


# ---- acoustics -------------------------------------------------------------------------------------


def test_acoustics_become_attributes(tmp_path):
    acoustics = AcousticsConfig(sample_rate=8000, n_fft=256, hop_length=64, win_length=256)
    trainer = BaseTrainer(TinyEnhancer(), exp_dir=tmp_path, acoustics=acoustics)
    waveform = torch.randn(2, 1000)
    spec = trainer.stft(waveform)
    assert (trainer.sample_rate, spec.shape[1]) == (8000, 129)
    torch.testing.assert_close(trainer.istft(spec, length=1000), waveform)


def test_acoustics_that_were_not_given_are_asked_for(tmp_path):
    trainer = BaseTrainer(TinyEnhancer(), exp_dir=tmp_path)
    with pytest.raises(AttributeError, match=r"'sample_rate'; state \[acoustics\]"):
        _ = trainer.sample_rate


# ---- what a step costs ---------------------------------------------------------------------------


class Drawn(Dataset):
    """Notes which samples were asked for."""

    def __init__(self, num_samples):
        self.num_samples, self.asked_for = num_samples, []

    def __len__(self):
        return self.num_samples

    def __getitem__(self, index):
        self.asked_for.append(index)
        return torch.full((4,), float(index)), torch.zeros(2)


def test_no_sample_is_loaded_before_its_turn_nor_beyond_the_last_step(tmp_path):
    samples, seen = Drawn(100), []

    class Watching(Regression):
        def start_epoch(self):
            super().start_epoch()
            samples.asked_for.clear()  # what the run looked at, to know its data again

        def training_step(self, batch, batch_idx):
            seen.append(len(samples.asked_for))
            return super().training_step(batch, batch_idx)

    build(tmp_path, Watching, max_steps=3).train(DataLoader(samples, batch_size=2))
    assert seen == [2, 4, 6]
    assert len(samples.asked_for) == 6


class HostReads(TorchFunctionMode):
    """Notes what brings numbers of a tensor to the host, wherever in Python it is asked for."""

    KINDS = ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "__index__")

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if getattr(function, "__name__", "") in self.KINDS:
            self.found.append(function.__name__)
        return function(*args, **(kwargs or {}))


class ReadingRegression(Regression):
    """One of its steps looks at the loss."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        if self.state.step == 7:
            loss.item()
        return loss


@pytest.mark.parametrize(("cls", "expected"), [(Regression, set()), (ReadingRegression, {"item"})])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"max_grad_norm": 0.1},
        {"ema_decay": 0.9, "gradient_accumulation_steps": 2},
        {"on_nonfinite": "ignore"},
    ],
)
def test_nothing_is_read_to_the_host_in_a_step(tmp_path, cls, expected, settings):
    reads, found_by_step = HostReads(), {}

    class Watched(cls):
        def update(self, micro_batches):
            reads.found.clear()
            with reads:
                super().update(micro_batches)
            found_by_step[self.state.step] = list(reads.found)

        def after_step(self):
            reads.found.clear()
            with reads:
                super().after_step()
            found_by_step[self.state.step] += reads.found

    trainer = build(tmp_path, Watched, max_steps=20, log_interval=10, **settings)
    trainer.train(loader())
    quiet = {step: found for step, found in found_by_step.items() if step not in (10, 20)}
    assert set(itertools.chain(*quiet.values())) == expected
    assert found_by_step[10]  # the step that is logged


@pytest.mark.parametrize("accumulation", [1, 2])
def test_micro_batches_are_numbered_through_the_epoch_also_after_a_resume(tmp_path, accumulation):
    class Numbering(Regression):
        def training_step(self, batch, batch_idx):
            numbers.append(batch_idx)
            return super().training_step(batch, batch_idx)

    settings = {"gradient_accumulation_steps": accumulation}
    numbers = []
    build(tmp_path, Numbering, max_steps=2, **settings).train(loader())
    build(tmp_path, Numbering, max_epochs=2, resume=True, **settings).train(loader())
    assert numbers == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]
