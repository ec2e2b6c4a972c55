from __future__ import annotations

import math
from dataclasses import FrozenInstanceError

import pytest

from audiozen.config.schema import AcousticsConfig, ExperimentConfig, TrainerConfig
from audiozen.config.settings import as_table, build_settings
from audiozen.errors import ConfigError


def test_defaults_are_settings_themselves() -> None:
    config = TrainerConfig()
    assert config.max_grad_norm == math.inf
    assert config.validation_interval.epochs == 1
    assert build_settings(TrainerConfig, as_table(config), source="x") == config


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        TrainerConfig().max_epochs = 3  # type: ignore[misc]


def test_all_problems_of_a_dict_are_told_at_once() -> None:
    table = {"max_epochs": "often", "max_grad_nrom": 1.0, "save_interval": {"steps": 0}}
    with pytest.raises(ConfigError) as caught:
        build_settings(TrainerConfig, table, source="the trainer's config")
    assert str(caught.value).startswith("the trainer's config has 3 problems:")
    assert set(caught.value.problems) == {
        "max_epochs: expected a positive integer, got 'often'",
        "unknown key max_grad_nrom; did you mean 'max_grad_norm'?",
        "steps: expected a positive integer, got 0",
    }


@pytest.mark.parametrize("norm", [0, -1.0, math.nan, True, "1"])
def test_senseless_clip_norm_is_refused(norm: object) -> None:
    with pytest.raises(ConfigError, match="max_grad_norm: expected a positive number"):
        build_settings(TrainerConfig, {"max_grad_norm": norm}, source="x")


def test_integer_is_a_clip_norm() -> None:
    assert build_settings(TrainerConfig, {"max_grad_norm": 5}, source="x").max_grad_norm == 5.0


def test_window_longer_than_transform_is_refused() -> None:
    table = {"sample_rate": 16000, "n_fft": 256, "win_length": 512, "hop_length": 600}
    with pytest.raises(ConfigError) as caught:
        build_settings(AcousticsConfig, table, source="x")
    assert caught.value.problems == [
        "win_length: 512 is longer than n_fft (256); lower it or raise n_fft",
        "hop_length: 600 is longer than win_length (512), so samples between the frames would be lost; lower it",
    ]


def test_settings_and_other_trainer_args_are_parted() -> None:
    tables = {
        "meta": {"seed": 7, "deterministic": True},
        "trainer": {"path": "a.B", "args": {"max_epochs": 2, "alpha": 0.5}},
        "model": {"path": "a.B"},
    }
    config = build_settings(ExperimentConfig, tables, source="x")
    assert config.trainer_config == TrainerConfig(max_epochs=2, seed=7, deterministic=True)
    assert config.trainer_extras == {"alpha": 0.5}
