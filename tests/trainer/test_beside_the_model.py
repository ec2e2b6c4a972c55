"""Metrics that are computed beside the model, sound that a test saves, and the status of a run; through the trainer."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from audiozen.data.audio import read_audio
from audiozen.errors import AudioZENError, Preempted
from audiozen.metrics import Scorer
from audiozen.tables.files import read_csv
from audiozen.testing import NoisyTones, TinyEnhancer
from audiozen.tracking.console import SilentConsole
from audiozen.trainer.base_trainer import BaseTrainer

SAMPLE_RATE = 16000


class Trainer(BaseTrainer):
    """Validates with metrics in worker processes."""

    def training_step(self, batch, batch_idx):
        noisy, clean = batch
        return (self.model(noisy) - clean).square().mean()

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        noisy, clean = batch
        enhanced = self.model(noisy)
        ids = [f"{batch_idx}_{number}" for number in range(len(noisy))]
        self.save_audio(ids, sample_rate=SAMPLE_RATE, noisy=noisy, enhanced=enhanced)
        scorer = Scorer(["si_sdr", "stoi"], SAMPLE_RATE)
        return {"id": ids, "scores": scorer.submit(self.metric_pool, enhanced, clean)}


class Direct(Trainer):
    """The same, in turn."""

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        noisy, clean = batch
        scores = Scorer(["si_sdr", "stoi"], SAMPLE_RATE)(self.model(noisy), clean)
        return {"id": [f"{batch_idx}_{number}" for number in range(len(noisy))], **scores}


def build(exp_dir: Path, cls: type[BaseTrainer] = Trainer, **config: object) -> BaseTrainer:
    torch.manual_seed(0)
    model = TinyEnhancer()
    settings = {"max_steps": 4, "num_threads": 1, "best_metric": "si_sdr"}
    return cls(
        model,
        torch.optim.Adam(model.parameters(), lr=1e-3),
        config=settings | config,
        exp_dir=exp_dir,
        console=SilentConsole(),
    )


def signals(num: int = 5) -> DataLoader:
    return DataLoader(NoisyTones(num, num_samples=8000), batch_size=2)


def test_table_is_the_same_bytes_for_any_number_of_workers_and_without(tmp_path):
    tables = []
    for number, (cls, workers) in enumerate(
        [(Direct, 0), (Trainer, 0), (Trainer, 1), (Trainer, 2)]
    ):
        trainer = build(tmp_path / str(number), cls, num_metric_workers=workers)
        trainer.validate([signals(), signals(3)])
        tables.append([path.read_bytes() for path in sorted(trainer.metrics_dir.glob("*.csv"))])
    assert len(tables[0]) == 2
    assert all(table == tables[0] for table in tables)


def test_crash_of_a_worker_costs_one_value_and_not_the_run(tmp_path, monkeypatch):
    module = sys.modules["audiozen.metrics.stoi"]
    original = module.resample

    def abort_at_the_third(signal, *rates):
        if abs(signal - third).max() < 1e-7:
            faulthandler.disable()  # which pytest switches on
            os.abort()
        return original(signal, *rates)

    third = NoisyTones(5, num_samples=8000)[2][1].double().numpy()
    monkeypatch.setattr(module, "resample", abort_at_the_third)  # forked workers have it, too
    trainer = build(tmp_path, num_metric_workers=2)
    trainer.test(signals(), ckpt_path=None)
    records = list(read_csv(trainer.folder.table("test")))
    assert [record["stoi__error"] or "" for record in records] == ["", "", "crashed", "", ""]
    assert all(isinstance(record["si_sdr"], float) for record in records)
    assert "crashed (1)" in (tmp_path / "metrics" / "test.txt").read_text()


def children() -> set[int]:
    """Processes that this one has started, whatever they were started by."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            if int(stat.read_text().rsplit(")", 1)[1].split()[1]) == os.getpid():
                found.add(int(stat.parent.name))
    return found


class Counting(Trainer):
    """Counts its processes while it validates."""

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        outputs = super().validation_step(batch, batch_idx)
        self.during = children()
        return outputs


def test_evaluation_leaves_no_process_behind(tmp_path):
    before = children()
    trainer = build(tmp_path, Counting, num_metric_workers=2)
    trainer.train(DataLoader(NoisyTones(4), batch_size=2), signals())
    assert len(trainer.during - before) == 1  # the one that looks after the others
    assert children() <= before


class Slow(Trainer):
    """Takes four seconds for the metric of each batch, if nobody stops it."""

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        if batch_idx == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return {"si_sdr": self.metric_pool.submit(time.sleep, 1 if batch_idx == 0 else 4)}


def test_signal_ends_an_evaluation_whose_metrics_are_not_there_yet(tmp_path):
    trainer = build(tmp_path, Slow, num_metric_workers=1)
    start = time.monotonic()
    with pytest.raises(Preempted):
        trainer.train(DataLoader(NoisyTones(4), batch_size=2), signals(12))
    assert time.monotonic() - start < 18  # not the 21 seconds that all of them would take
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "stopped"


# ---- sound ----------------------------------------------------------------------------------------


def test_sound_is_saved_by_test_and_not_by_validate(tmp_path):
    trainer = build(tmp_path)
    trainer.validate(signals())
    assert not (tmp_path / "enhanced").exists()
    trainer.test([signals(), signals(2)], ckpt_path=None)
    names = ["0_0.wav", "0_1.wav", "1_0.wav", "1_1.wav", "2_0.wav"]
    assert sorted(path.name for path in (tmp_path / "enhanced" / "0").iterdir()) == names
    noisy = NoisyTones(5, num_samples=8000)[2][0]
    saved = read_audio(tmp_path / "sounds" / "noisy" / "0" / "1_0.wav")
    assert torch.allclose(saved, noisy, atol=2**-15)


def test_sound_is_not_saved_where_that_is_not_wanted(tmp_path):
    build(tmp_path, save_audio=False).test(signals(), ckpt_path=None)
    assert not (tmp_path / "enhanced").exists()
    assert not (tmp_path / "sounds").exists()


# ---- status ---------------------------------------------------------------------------------------


class Failing(Trainer):
    """Fails in training."""

    def training_step(self, batch, batch_idx):
        raise AudioZENError("no luck")


@pytest.mark.parametrize(("cls", "state"), [(Trainer, "done"), (Failing, "failed")])
def test_status_says_how_the_training_ended(tmp_path, cls, state):
    trainer = build(tmp_path, cls)
    with contextlib.suppress(AudioZENError):
        trainer.train(DataLoader(NoisyTones(4), batch_size=2), signals())
    status = json.loads((tmp_path / "status.json").read_text())
    assert status["state"] == state
    assert status["message"] == ("" if state == "done" else "AudioZENError: no luck")


# ---- validation and test --------------------------------------------------------------------------


@pytest.mark.parametrize(("num_test", "num_shared"), [(3, 3), (7, 5)])
def test_signals_that_chose_the_checkpoint_are_told_when_they_test_it(
    tmp_path, caplog, num_test, num_shared
):
    trainer = build(tmp_path)
    trainer.train(DataLoader(NoisyTones(4), batch_size=2), signals())
    assert "as well" not in caplog.text
    trainer.test(signals(num_test))
    assert f"{num_shared} of {num_test} test signals are validation signals as well" in caplog.text
