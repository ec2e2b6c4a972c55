"""The trace that training with a profiler leaves behind."""

from __future__ import annotations

import gzip
import json

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from audiozen.testing import RecordingTracker
from audiozen.tracking.console import SilentConsole
from audiozen.trainer import profiling
from audiozen.trainer.base_trainer import BaseTrainer
from audiozen.trainer.profiling import profiled
from tests.trainer.regression import Regression

NUM_BEFORE = profiling.NUM_SKIPPED + profiling.NUM_WARM_UP


def build(exp_dir, **config) -> BaseTrainer:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2))
    return Regression(
        model,
        torch.optim.Adam(model.parameters()),
        config={
            "max_epochs": 2,
            "num_threads": 1,
            "ema_decay": 0.9,
            "max_grad_norm": 1.0,
            **config,
        },
        exp_dir=exp_dir,
        tracker=RecordingTracker(),
        console=SilentConsole(),
    )


def data(num_batches: int) -> DataLoader:
    generator = torch.Generator().manual_seed(1)
    x, y = (torch.randn(4 * num_batches, n, generator=generator) for n in (4, 2))
    return DataLoader(TensorDataset(x, y), batch_size=4, shuffle=True)


def ranges(trace: dict) -> list[dict]:
    return [event for event in trace["traceEvents"] if event.get("cat") == "user_annotation"]


def train(tmp_path, num_batches: int, **config):
    trainer = build(tmp_path / "run", **config)
    with profiled(trainer) as recording:
        trainer.train(data(num_batches), data(2))
    return trainer, recording


def test_trace_has_the_parts_in_the_steps_with_begin_and_duration(tmp_path):
    trainer, recording = train(tmp_path, 20)
    assert recording.trace == trainer.folder.profile / "trace.json"
    events = ranges(json.loads(recording.trace.read_text()))
    steps = [event for event in events if event["name"] == "step"]
    assert len(steps) == profiling.NUM_RECORDED
    for part in ("data", "copy", "forward", "backward", "optimizer"):
        inside = [event for event in events if event["name"] == part]
        assert len(inside) >= len(steps), part
        assert all(event["dur"] >= 0 for event in inside)
        for step in steps:
            begin, end = step["ts"], step["ts"] + step["dur"]
            assert any(begin <= e["ts"] and e["ts"] + e["dur"] <= end for e in inside), part
    assert recording.told().startswith(
        f"profile: open {recording.trace} in https://ui.perfetto.dev"
    )


def test_operators_are_listed_by_the_time_that_they_take_themselves(tmp_path):
    trainer, _ = train(tmp_path, 20)
    text = (trainer.folder.profile / "operators.txt").read_text()
    assert "aten::addmm" in text
    assert "Self CPU" in text


def test_result_is_the_same_bit_for_bit(tmp_path):
    trainer, _ = train(tmp_path, 20)
    plain = build(tmp_path / "plain")
    plain.train(data(20), data(2))
    for name in ("model.safetensors", "training_state.safetensors"):
        files = [t.checkpoints_dir / "latest" / name for t in (trainer, plain)]
        assert files[0].read_bytes() == files[1].read_bytes(), name
    assert trainer.tracker.scalars == plain.tracker.scalars


def test_trainer_is_let_alone_when_the_recording_is_over(tmp_path):
    methods = []

    class Looking(RecordingTracker):
        def log_scalars(self, scalars, *, step, epoch):
            methods.append((step, "_forward" in vars(trainer)))

    trainer = build(tmp_path, log_interval=1, max_epochs=1)
    trainer.session.tracker = Looking()
    with profiled(trainer):
        trainer.train(data(20))
    last = NUM_BEFORE + profiling.NUM_RECORDED
    assert dict(methods) == {step: step <= last for step in range(1, 21)}
    assert not {"_forward", "backward", "updates", "after_epoch"} & set(vars(trainer))


def test_epoch_that_ends_early_has_what_there_was(tmp_path):
    trainer, recording = train(tmp_path, NUM_BEFORE + 3)
    names = [event["name"] for event in ranges(json.loads(recording.trace.read_text()))]
    assert names.count("forward") == 3
    assert "_forward" not in vars(trainer)


def test_epoch_that_is_too_short_has_no_trace_and_says_so(tmp_path):
    trainer, recording = train(tmp_path, 2)
    assert recording.trace is None
    assert not trainer.folder.profile.exists()
    assert "no profile" in recording.told()


def test_large_trace_is_compressed(tmp_path, monkeypatch):
    monkeypatch.setattr(profiling, "MAX_PLAIN_BYTES", 100)
    trainer, recording = train(tmp_path, 20)
    assert recording.trace == trainer.folder.profile / "trace.json.gz"
    assert not (trainer.folder.profile / "trace.json").exists()
    assert ranges(json.loads(gzip.decompress(recording.trace.read_bytes())))


def test_disk_that_refuses_ends_no_training(tmp_path, caplog):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "profile").touch()
    trainer, recording = train(tmp_path, 20)
    assert trainer.is_finished()
    assert recording.trace is None
    assert "the profile could not be written" in caplog.text


def test_error_in_a_step_is_let_through(tmp_path):
    trainer = build(tmp_path)
    with pytest.raises(RuntimeError, match="mat1 and mat2"), profiled(trainer):
        trainer.train([(torch.zeros(2, 3), torch.zeros(2, 2))])
    assert "_forward" not in vars(trainer)


def test_other_processes_record_nothing(tmp_path):
    trainer = build(tmp_path)
    trainer.is_main_process = False
    with profiled(trainer) as recording:
        assert "_forward" not in vars(trainer)
    assert recording is None
