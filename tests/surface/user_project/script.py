"""A script of a user: training, tables, checkpoints, results, without an experiment file and with one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, assert_type

import torch
from data import NoisySpeech
from model import Mask
from torch import Tensor
from torch.utils.data import DataLoader
from trainer import Trainer

import audiozen
from audiozen import AudioZENError, CheckpointStore, Experiment, TrainerConfig, instantiate
from audiozen.acoustics import amplitude_to_db, si_sdr
from audiozen.complexity import LookAhead, count_macs, count_parameters, look_ahead
from audiozen.errors import ConfigError, MetricError
from audiozen.inference.jobs import Job
from audiozen.inference.predictor import Predictor, Summary, predict_files
from audiozen.losses import (
    NegSISDR,
    PermutationInvariant,
    Permuted,
    neg_si_sdr_per_signal,
    permutation_invariant,
)
from audiozen.metrics import METRICS, Scorer, snr
from audiozen.metrics.pool import MetricPool
from audiozen.results.comparison import Comparison, compare
from audiozen.results.leaderboard import leaderboard
from audiozen.results.run import Run
from audiozen.results.scores import read_all_scores
from audiozen.tables.files import read_table, write_table
from audiozen.tables.summary import Summary as Means
from audiozen.tables.summary import summarise
from audiozen.testing import RecordingTracker
from audiozen.tracking.jsonl import JsonlTracker
from audiozen.tracking.tracker import Trackers


def train(folder: Path) -> float:
    loader = DataLoader(
        NoisySpeech(folder / "speech.jsonl", folder / "noise.wav", 16_000), batch_size=4
    )
    model = Mask()
    optimizer = torch.optim.Adam(model.parameters())
    config = TrainerConfig(max_epochs=2, best_metric="si_sdr", max_grad_norm=5.0)
    trainer = Trainer(
        model,
        optimizer,
        NegSISDR(),
        torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9),
        config=config,
        exp_dir=folder / "exp",
        tracker=Trackers([JsonlTracker(folder / "metrics.jsonl"), RecordingTracker()]),
    )
    trainer.train(loader, [loader, loader])
    trainer.predict(loader)
    assert_type(config.max_epochs, int | None)
    assert_type(trainer.exp_dir, Path)
    assert_type(trainer.validate(loader), float)
    return assert_type(trainer.test(loader, ckpt_path=None), float)


def experiment(path: Path) -> None:
    try:
        made = Experiment.from_file(path, ["trainer.args.max_epochs=2"])
    except ConfigError as error:
        assert_type(error.problems, list[str])
        return
    assert_type(made.config.meta.seed, int)
    trainer = made.build_trainer(resume=True)
    trainer.train(made.train_dataloader(), made.validation_dataloaders())
    built: Any = instantiate("torch.nn.Linear", {"in_features": 1, "out_features": 2})
    print(built, audiozen.__version__)


def checkpoints(folder: Path, model: Mask) -> dict[str, Tensor]:
    store = CheckpointStore(folder, max_num_checkpoints=2)
    models = {"": model.state_dict()}
    assert_type(
        store.save("epoch_0001", epoch=1, step=10, models=models, training_state={"lr": 0.1}), Path
    )
    assert_type(store.names(), list[str])
    try:
        weights = assert_type(store.load_models(store.find("best")), dict[str, dict[str, Tensor]])
    except AudioZENError as error:
        raise SystemExit(assert_type(error.exit_code, int)) from error
    model.load_state_dict(weights[""])
    return weights[""]


def scores(enhanced: Tensor, clean: Tensor, folder: Path) -> None:
    assert_type(si_sdr(enhanced, clean), Tensor)
    assert_type(amplitude_to_db(0.5), float)
    assert_type(amplitude_to_db(clean), Tensor)
    scorer = Scorer(["si_sdr", "stoi"], sample_rate=16_000)
    assert_type(scorer(enhanced, clean), dict[str, list[float | str]])
    with MetricPool() as pool:
        submitted = scorer.submit(pool, enhanced, clean)
        assert_type(submitted.result(), dict[str, list[float | str]])
    assert_type(sorted(METRICS), list[str])
    try:
        snr(enhanced, clean, strict=True)
    except MetricError as error:
        assert_type(error.reason, str)
    write_table(folder / "test.csv", [{"id": "a", "si_sdr": 1.0}])
    records = assert_type(read_table(folder / "test.csv"), list[dict[str, str | float | None]])
    assert_type(summarise(records), dict[str, Means])


def losses(estimates: Tensor, sources: Tensor) -> Tensor:
    module = PermutationInvariant(neg_si_sdr_per_signal)
    permuted = assert_type(module.forward(estimates, sources), Permuted)
    return permutation_invariant(estimates, sources).loss + permuted.loss


def results(folder: Path) -> None:
    assert_type(compare(read_all_scores([folder / "a", folder / "b"])), Comparison)
    assert_type(Run(folder / "a").best_score, float | None)
    assert_type([entry.name for entry in leaderboard(folder)], list[str])


def model_facts(model: Mask) -> None:
    assert_type(count_parameters(model).total, int)
    assert_type(count_macs(model, torch.zeros(1, 16_000)), int)
    assert_type(look_ahead(model, sample_rate=16_000), LookAhead)
    predictor = Predictor(model, sample_rate=16_000)
    assert_type(predict_files(predictor, [Job(Path("in.wav"), Path("out.wav"))]), Summary)
