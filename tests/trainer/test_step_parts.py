"""Steps whose parts take what the test says, by a clock that goes on only where something is done."""

from __future__ import annotations

import math
import re
import time
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from audiozen.errors import AudioZENError
from audiozen.testing import RecordingTracker
from audiozen.tracking.console import SilentConsole
from audiozen.trainer import step_parts
from audiozen.trainer.base_trainer import BaseTrainer
from audiozen.trainer.step_parts import Stopwatch, marked, measure_steps, replaced


class Clock:
    """Seconds since the test began."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(step_parts, "time", SimpleNamespace(perf_counter=clock))
    return clock


class SlowData(Dataset[torch.Tensor]):
    """An item takes a second."""

    def __init__(self, clock: Clock, num_items: int = 40) -> None:
        self.clock, self.num_items = clock, num_items

    def __len__(self) -> int:
        return self.num_items

    def __getitem__(self, index: int) -> torch.Tensor:
        self.clock.now += 1
        return torch.full((4,), index / 100)


class SlowTrainer(BaseTrainer):
    """forward 2 s, backward 3 s, optimizer 5 s, logging 7 s."""

    clock: Clock

    def training_step(self, batch, batch_idx):
        self.clock.now += 2
        return self.model(batch).square().mean()

    def backward(self, loss):
        self.clock.now += 3
        super().backward(loss)

    def after_step(self):
        self.clock.now += 7
        super().after_step()


class SlowSGD(torch.optim.SGD):
    clock: Clock

    def step(self, closure=None):
        self.clock.now += 5
        return super().step(closure)


def build(clock: Clock, tmp_path, cls=SlowTrainer, **config) -> BaseTrainer:
    torch.manual_seed(0)
    model = nn.Linear(4, 4)
    optimizer = SlowSGD(model.parameters(), lr=0.1)
    trainer = cls(
        model,
        optimizer,
        config={"max_steps": 1, "num_threads": 1, **config},
        exp_dir=tmp_path,
        tracker=RecordingTracker(),
        console=SilentConsole(),
    )
    trainer.clock = optimizer.clock = clock
    return trainer


def data(clock: Clock, num_items: int = 40, **options) -> DataLoader:
    return DataLoader(SlowData(clock, num_items), batch_size=4, **options)


def test_parts_are_what_they_take(clock, tmp_path):
    measured = measure_steps(build(clock, tmp_path), data(clock), num_steps=5, max_seconds=math.inf)
    assert measured.num_steps == 5
    parts = measured.seconds_per_step
    assert parts == {
        "data": 4, "copy": 0, "forward": 2, "backward": 3, "optimizer": 5, "other": 7
    }  # fmt: skip
    assert measured.seconds == {part: 5 * seconds for part, seconds in parts.items()}


def test_step_of_several_micro_batches_is_one_step(clock, tmp_path):
    trainer = build(clock, tmp_path, gradient_accumulation_steps=2)
    measured = measure_steps(trainer, data(clock), num_steps=2, max_seconds=math.inf)
    assert measured.num_steps == 2
    parts = measured.seconds_per_step
    assert [parts[part] for part in ("data", "forward", "backward", "optimizer")] == [8, 4, 6, 5]


def test_parts_in_a_hook_that_calls_them_itself_are_not_counted_twice(clock, tmp_path):
    class ByHand(SlowTrainer):
        automatic_optimization = False

        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            self.backward(loss)
            self.optimizer_step(self.optimizer)
            return loss

    measured = measure_steps(
        build(clock, tmp_path, ByHand), data(clock), num_steps=2, max_seconds=math.inf
    )
    parts = measured.seconds_per_step
    assert [parts[part] for part in ("forward", "backward", "optimizer")] == [2, 3, 5]


def test_loading_by_workers_is_waiting(clock, tmp_path):
    dataloader = data(clock, num_workers=1)
    measured = measure_steps(build(clock, tmp_path), dataloader, num_steps=2, max_seconds=math.inf)
    assert "data" not in measured.seconds
    assert measured.seconds["waiting"] == 0  # their clock is not this one
    assert measured.num_steps == 2


def test_steps_that_pay_for_set_up_do_not_count(clock, tmp_path):
    class FirstIsSlow(SlowTrainer):
        def training_step(self, batch, batch_idx):
            self.clock.now += 1000 if self.state.step < 2 else 0
            return super().training_step(batch, batch_idx)

    trainer = build(clock, tmp_path, FirstIsSlow)
    measured = measure_steps(trainer, data(clock), max_seconds=math.inf)
    assert measured.seconds_per_step["forward"] == 2
    assert measured.num_steps == 10 - 2  # the epoch ends
    assert trainer.store.names() == []


def test_averaged_weights_belong_to_the_optimizer(clock, tmp_path):
    trainer = build(clock, tmp_path, ema_decay=0.9)

    def update() -> None:
        clock.now += 11

    trainer.averaging.update = update
    measured = measure_steps(trainer, data(clock), num_steps=2, max_seconds=math.inf)
    assert measured.seconds_per_step["optimizer"] == 5 + 11
    assert trainer.averaging.update is update


def test_after_the_time_is_over_one_step_is_measured(clock, tmp_path):
    trainer = build(clock, tmp_path)
    measured = measure_steps(trainer, data(clock), max_seconds=0.0)
    assert measured.num_steps == 1
    assert trainer.state.step == 2
    assert sum(measured.seconds.values()) == 4 + 2 + 3 + 5 + 7


def test_epoch_that_is_too_short_gives_nothing(clock, tmp_path):
    measured = measure_steps(build(clock, tmp_path), data(clock, num_items=8))
    assert measured == (0, {})


def test_nothing_is_saved_and_the_trainer_is_as_it_was(clock, tmp_path):
    trainer = build(clock, tmp_path, save_interval={"steps": 1})
    objects = trainer, trainer.engine, trainer.averaging
    before = [set(vars(thing)) for thing in objects]
    end = trainer.end
    measure_steps(trainer, data(clock), num_steps=3, max_seconds=math.inf)
    assert [set(vars(thing)) for thing in objects] == before
    assert trainer.end is end
    assert trainer.store.names() == []
    assert trainer.state.step == 5


def test_trainer_that_has_finished_can_be_measured(clock, tmp_path):
    trainer = build(clock, tmp_path)
    trainer.train([torch.zeros(2, 4)])
    assert trainer.is_finished()
    assert measure_steps(trainer, data(clock), max_seconds=math.inf).num_steps == 8
    assert trainer.is_finished()


def test_error_in_a_step_is_let_through_and_leaves_nothing(clock, tmp_path):
    class Failing(SlowTrainer):
        def training_step(self, batch, batch_idx):
            raise AudioZENError("broken")

    trainer = build(clock, tmp_path, Failing)
    before = set(vars(trainer))
    with pytest.raises(AudioZENError, match="broken"):
        measure_steps(trainer, data(clock))
    assert set(vars(trainer)) == before


def test_marks_are_nested_in_steps(clock, tmp_path):
    events = []

    class Range:
        def __init__(self, name: str) -> None:
            self.name = name

        def __enter__(self) -> None:
            events.append(f"<{self.name}>")

        def __exit__(self, *_: object) -> None:
            events.append(f"</{self.name}>")

    trainer = build(clock, tmp_path)
    with marked(trainer, Range):
        trainer.train([torch.zeros(2, 4)])
    text = re.sub(r"(<(\w+)></\2>)\1+", r"\1", "".join(events))  # once where several follow
    names = ("data", "optimizer", "forward", "backward", "optimizer")
    parts = "".join(f"<{name}></{name}>" for name in names)
    parts = parts.replace("<forward>", "<forward><copy></copy>")
    assert text == f"<step>{parts}</step><step></step>"  # in the last one, the epoch ends


def test_stopwatch_waits_for_the_device_at_each_border(clock):
    waits = []
    watch = Stopwatch(lambda: waits.append(clock.now))
    with watch.part("a"):
        clock.now += 1
        with watch.part("b"):
            clock.now += 2
        clock.now += 4
    clock.now += 8
    assert watch.read() == {"a": 5, "b": 2}
    assert waits == [0, 1, 3, 7, 15]


def test_stopwatch_forgets(clock):
    watch = Stopwatch()
    with watch.part("a"):
        clock.now += 1
        watch.restart()
        clock.now += 2
    assert watch.read() == {"a": 2}


def test_attribute_is_replaced_for_the_time_of_the_context():
    class Thing:
        def name(self) -> str:
            return "method"

    thing = Thing()
    with replaced(thing, "name", lambda name: lambda: f"not the {name()}"):
        assert thing.name() == "not the method"
    assert "name" not in vars(thing)
    thing.name = lambda: "own"  # type: ignore[method-assign]
    with replaced(thing, "name", lambda _: time.time):
        pass
    assert thing.name() == "own"
