from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from audiozen.complexity import count_macs, look_ahead, macs_per_second
from audiozen.config.locate import locate
from audiozen.data.audio import audio_info
from audiozen.experiment import Experiment
from audiozen.streaming import stream_through
from audiozen.tables.files import read_csv
from tests.recipes.code_lines import num_code_lines

RECIPE = Path(__file__).resolve().parents[3] / "recipes" / "debian_noisy_speech" / "band_gain_gru"
N_FFT = 512


@pytest.fixture
def model() -> Any:
    torch.manual_seed(0)
    return locate("model.BandGainGRU", [RECIPE, RECIPE.parent])().eval()


def test_has_29216_parameters(model: Any) -> None:
    assert sum(parameter.numel() for parameter in model.parameters()) == 29_216


def test_checkpoint_holds_parameters_only(model: Any) -> None:
    assert model.state_dict().keys() == dict(model.named_parameters()).keys()


@pytest.mark.parametrize("length", [1, 511, 16_000, 16_001])
def test_result_is_as_long_as_the_input(model: Any, length: int) -> None:
    assert model(torch.randn(2, length)).shape == (2, length)


def test_looks_less_than_a_window_ahead(model: Any) -> None:
    """To the last sample of the window, from its second: the first is weighted with 0."""
    found = look_ahead(model, 16_000)
    assert found.samples == N_FFT - 2
    assert found.latency_ms(model.hop_length) == 32.0


@pytest.mark.parametrize("length", [1, 255, 256, 511, 16_000, 16_001])
def test_frame_by_frame_is_the_same_as_at_once(model: Any, length: int) -> None:
    noisy = 0.1 * torch.randn(2, length)
    torch.testing.assert_close(stream_through(model, noisy), model(noisy), rtol=0, atol=1e-5)


def test_delay_of_the_stream_is_that_of_its_latency(model: Any) -> None:
    samples = 1000 * (model.delay + model.hop_length) / 16_000
    assert samples == look_ahead(model, 16_000).latency_ms(model.hop_length)


def test_costs_45120_multiply_accumulates_per_frame(model: Any) -> None:
    bands, network = 2 * 257 * 32, 32 * 64 + 3 * (64 * 64 + 64 * 64) + 64 * 32
    assert bands + network == 45_120
    assert count_macs(model, torch.zeros(1, 62 * 256)) == 63 * 45_120
    assert macs_per_second(model, 16_000) == pytest.approx(2.82e6, rel=3e-3)


def test_signals_of_a_batch_do_not_mix(model: Any) -> None:
    noisy = 0.1 * torch.randn(3, 8000)
    alone = torch.cat([model(signal[None]) for signal in noisy])
    torch.testing.assert_close(model(noisy), alone)


def test_gains_only_take_away(model: Any) -> None:
    noisy = 0.1 * torch.randn(1, 16_000)
    assert 0 < model(noisy).square().sum() < noisy.square().sum()


def test_silence_stays_silence(model: Any) -> None:
    assert model(torch.zeros(1, 4000)).abs().max() == 0


def test_every_parameter_gets_a_gradient(model: Any) -> None:
    model(0.1 * torch.randn(1, 8000)).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_model_and_trainer_together_are_under_sixty_lines_of_code() -> None:
    assert sum(num_code_lines(RECIPE / name) for name in ("model.py", "trainer.py")) < 60


def test_testing_writes_all_scores_and_the_sound(tmp_path: Path) -> None:
    experiment = Experiment.from_file(
        RECIPE / "baseline.toml", [f"meta.save_dir={tmp_path}", "trainer.args.num_threads=1"]
    )
    seen, _ = experiment.test_dataloaders()
    noisy, clean, labels = seen.dataset[3]
    # DNSMOS doubles what is short to 9.01 s, and takes its time for every second beyond.
    length = 37_000
    trainer = experiment.build_trainer()
    trainer.test(DataLoader([(noisy[:length], clean[:length], labels)]), ckpt_path=None)

    (table,) = trainer.metrics_dir.glob("*.csv")
    (row,) = read_csv(table)
    for name in ("si_sdr", "pesq_wb", "stoi", "dnsmos_ovrl"):
        assert isinstance(row[name], float)
        assert isinstance(row[f"{name}_noisy"], float)
    assert isinstance(row["snr_db"], str)
    enhanced = audio_info(trainer.enhanced_dir / f"{row['id']}.wav")
    assert enhanced == (16_000, length, 1)
