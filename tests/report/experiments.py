"""Folders of runs as runs leave them: speech that is recorded, noise that is added, scores that are made up."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import tomli_w

from audiozen.run_folder import RunFolder
from audiozen.tables.files import write_csv

AUDIO = Path(__file__).parents[2] / "recipes" / "debian_noisy_speech" / "audio"
SAMPLE_RATE = 16000
NOISES = ("rain", "street", "train", "music")
SNRS = (-5.0, 0.0, 5.0, 10.0, 15.0)
EVIL = "</script><img src=x onerror=\"document.title='broken'\">'\"& <b>\\x</b>\u2028"
"""An id that tries to become a part of the page."""


@dataclass
class Plan:
    """What an experiment is to be like."""

    num_signals: int = 10
    """Per dataset."""
    datasets: tuple[str, ...] = ("test",)
    num_with_sound: int | None = None
    """None: all."""
    seconds: float = 2.0
    gain: float = 6.0
    """By how much the model is better than its input, in dB."""
    failures: dict[str, str] = field(default_factory=dict)
    """Reasons why PESQ failed, by id."""
    ids: dict[int, str] = field(default_factory=dict)
    """Ids that are not as usual, by number."""
    num_steps: int = 600
    settings: dict[str, Any] = field(default_factory=dict)
    state: str = "done"
    is_nan: bool = False
    """Whether all scores are NaN."""
    parts: tuple[str, ...] = (
        "config",
        "environment",
        "status",
        "complexity",
        "scalars",
        "checkpoint",
        "valid",
        "test",
        "sound",
    )


def write_experiment(root: Path, plan: Plan, seed: int = 0) -> Path:
    """Write the folder of a run, and return it."""
    folder = RunFolder(root)
    folder.root.mkdir(parents=True)
    writers = {
        "config": _write_config,
        "environment": _write_environment,
        "status": _write_status,
        "complexity": _write_complexity,
        "scalars": _write_scalars,
        "checkpoint": _write_checkpoint,
        "valid": _write_valid,
        "test": _write_test,
        "sound": _write_sounds,
    }
    for part in plan.parts:
        writers[part](folder, plan, np.random.default_rng(seed))
    return root


def signal_ids(plan: Plan, dataset: str) -> list[str]:
    """Ids of a dataset."""
    usual = [f"{dataset}_{NOISES[n % 4]}_{n:04d}" for n in range(plan.num_signals)]
    return [plan.ids.get(number, name) for number, name in enumerate(usual)]


def _write_config(folder: RunFolder, plan: Plan, generator: np.random.Generator) -> None:
    config = {
        "meta": {
            "exp_id": folder.root.name,
            "seed": 0,
            "description": "A causal GRU that sets the gains of 32 bands",
        },
        "trainer": {
            "path": "trainer.Trainer",
            "args": {"max_epochs": 6, "best_metric": "si_sdr", "higher_is_better": True},
        },
        "acoustics": {"sample_rate": SAMPLE_RATE, "n_fft": 512, "hop_length": 256},
        "model": {"path": "model.BandGainGRU", "args": {"hidden_size": 64}},
        "optimizer": {"path": "torch.optim.Adam", "args": {"lr": 4e-3}},
        "train_dataset": {"path": "data.TrainingMixtures", "args": {"snr_db": [-5.0, 20.0]}},
        "validate_dataset": [{"name": "valid", "path": "data.FrozenMixtures"}],
        "test_dataset": [{"name": name, "path": "data.FrozenMixtures"} for name in plan.datasets],
    }
    folder.config.write_text(tomli_w.dumps(config | plan.settings))


def _write_environment(folder: RunFolder, plan: Plan, generator: np.random.Generator) -> None:
    facts = {
        "time": "2026-11-25T08:00:00+00:00",
        "host": "lab",
        "platform": "Linux-6.1-x86_64",
        "python": "3.11.7",
        "packages": {"audiozen": "0.1.0", "torch": "2.13.0", "numpy": "2.4.6", "pesq": None},
        "gpus": ["NVIDIA A100", "NVIDIA A100"],
        "num_processes": 2,
        "git": {"commit": "2ad555e0c0ffee00000000000000000000000000", "is_changed": True},
        "argv": ["/opt/bin/audiozen", "train", "recipe/baseline.toml", "--resume"],
        "cwd": "/home/me/my work",
        "seed": 0,
    }
    folder.environment.write_text(json.dumps(facts))


def _write_status(folder: RunFolder, plan: Plan, generator: np.random.Generator) -> None:
    folder.status.write_text(json.dumps({"state": plan.state, "message": ""}))


def _write_complexity(folder: RunFolder, plan: Plan, generator: np.random.Generator) -> None:
    facts = {
        "parameters": 29216,
        "trainable": 29216,
        "macs_per_second": 2_800_000,
        "look_ahead_samples": 256,
        "looks_at_whole_signal": False,
        "latency_ms": 32.0,
        "real_time_factor": 0.0042,
        "real_time_factor_streaming": 0.021,
        "num_threads": 1,
        "cpu": "AMD EPYC 7B13",
        "notes": [],
    }
    folder.complexity.write_text(json.dumps(facts))


def _write_scalars(folder: RunFolder, plan: Plan, generator: np.random.Generator) -> None:
    start, per_epoch = datetime(2026, 11, 25, 8, tzinfo=UTC), max(1, plan.num_steps // 6)
    folder.metrics.mkdir(exist_ok=True)
    rows = []
    for step in range(10, plan.num_steps + 1, 10):
        row = {
            "step": step,
            "epoch": 1 + (step - 1) // per_epoch,
            "time": (start + timedelta(seconds=step)).isoformat(),
        }
        progress = 1 - np.exp(-step / (0.3 * plan.num_steps))
        loss = -plan.gain - 4 * progress + generator.normal(0, 0.8)
        rows.append(
            row | {"train/loss": loss, "train/grad_norm": 5 * np.exp(generator.normal(0, 0.4))}
        )
        rows[-1]["train/lr"] = 4e-3 * (1 - step / plan.num_steps * 0.9)
        if step % per_epoch == 0:
            score = {"valid/si_sdr": plan.gain + 4 * progress, "valid/si_sdr_noisy": 4.0}
            rows.append(
                row | score | {"valid/stoi": 0.8 + 0.08 * progress, "valid/stoi_noisy": 0.79}
            )
            rows.append(row | {"train_epoch/loss": -plan.gain - 4 * progress})
    folder.scalars.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def _write_checkpoint(folder: RunFolder, plan: Plan, generator: np.random.Generator) -> None:
    newest = folder.checkpoints / "epoch_0006"
    newest.mkdir(parents=True)
    (newest / "manifest.json").write_text(json.dumps({"step": plan.num_steps, "epoch": 6}))
    (newest / "validation.json").write_text(json.dumps({"outcome": {"score": 9.87}}))
    for name in ("latest", "best"):
        (folder.checkpoints / name).symlink_to(newest.name)


def _write_valid(folder: RunFolder, plan: Plan, generator: np.random.Generator) -> None:
    records = [{"id": f"valid_{number}", "si_sdr": 9.0} for number in range(4)]
    write_csv(folder.table("valid_epoch_0006"), records)


def _write_test(folder: RunFolder, plan: Plan, generator: np.random.Generator) -> None:
    for dataset in plan.datasets:
        ids = signal_ids(plan, dataset)
        records = [_record(signal_id, n, plan, generator) for n, signal_id in enumerate(ids)]
        write_csv(folder.table("test", dataset if len(plan.datasets) > 1 else None), records)


def _record(
    signal_id: str, number: int, plan: Plan, generator: np.random.Generator
) -> dict[str, Any]:
    snr = SNRS[number % 5]
    noisy = snr + np.random.default_rng(number).normal(0, 0.5)
    enhanced = noisy + plan.gain * (1 - snr / 22) + generator.normal(0, 1.6)
    record = {
        "id": signal_id,
        "noise_type": NOISES[number % 4],
        "snr_db": snr,
        "si_sdr": enhanced,
        "pesq_wb": 1.04 + 3.4 / (1 + np.exp(-(enhanced - 9) / 6)),
        "stoi": 1 / (1 + np.exp(-(enhanced + 6) / 7)),
        "si_sdr_noisy": noisy,
        "pesq_wb_noisy": 1.04 + 3.4 / (1 + np.exp(-(noisy - 11) / 6)),
        "stoi_noisy": 1 / (1 + np.exp(-(noisy + 7) / 7)),
    }
    if plan.is_nan:
        record |= dict.fromkeys(("si_sdr", "pesq_wb", "stoi"), float("nan"))
    if signal_id in plan.failures:
        record |= {"pesq_wb": float("nan"), "pesq_wb__error": plan.failures[signal_id]}
    return record


def _write_sounds(folder: RunFolder, plan: Plan, generator: np.random.Generator) -> None:
    speech = sorted((AUDIO / "speech" / "test").glob("*.flac"))
    for dataset in plan.datasets:
        ids = signal_ids(plan, dataset)[: plan.num_with_sound]
        for number, signal_id in enumerate(ids):
            clean, rate = soundfile.read(
                speech[number % len(speech)], round(plan.seconds * SAMPLE_RATE)
            )
            assert rate == SAMPLE_RATE
            noise = _noise(len(clean), number) * 10 ** (-SNRS[number % 5] / 20) * clean.std()
            left = 10 ** (-plan.gain / 20)
            sounds = {"noisy": clean + noise, "enhanced": clean + left * noise, "clean": clean}
            for role, samples in sounds.items():
                path = folder.sound(role, signal_id, dataset if len(plan.datasets) > 1 else None)
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, samples, SAMPLE_RATE, "PCM_16")


def _noise(num_samples: int, number: int) -> np.ndarray:
    """Noise with more power at low frequencies, of standard deviation 1."""
    white = np.random.default_rng(number).normal(size=num_samples)
    coloured = np.fft.irfft(
        np.fft.rfft(white) / (1 + np.arange(num_samples // 2 + 1) / 3000), num_samples
    )
    return coloured / coloured.std()
