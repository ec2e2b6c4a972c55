from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from audiozen.config.locate import locate

RECIPE = Path(__file__).resolve().parents[3] / "recipes" / "debian_noisy_speech"
KINDS = ["swelling_noise", "clatter", "bubbling", "hum", "melody", "draw_texture"]


def texture(name: str, seed: int, num_samples: int = 16_000) -> Any:
    random.seed(seed)
    torch.manual_seed(seed)
    return locate(f"textures.{name}", [RECIPE])(num_samples)


def flatness(waveform: Any) -> float:
    """Geometric over arithmetic mean of the power spectrum: 1 for white noise, 0 for a tone."""
    power = torch.fft.rfft(waveform * torch.hann_window(len(waveform))).abs().square() + 1e-12
    return float(power.log().mean().exp() / power.mean())


def crest(waveform: Any) -> float:
    return float(waveform.abs().max() / waveform.square().mean().sqrt())


@pytest.mark.parametrize("kind", KINDS)
class TestEveryKind:
    @pytest.mark.parametrize("num_samples", [1, 2, 100, 16_000])
    def test_is_finite_and_as_long_as_asked(self, kind: str, num_samples: int) -> None:
        for seed in range(5):
            waveform = texture(kind, seed, num_samples)
            assert waveform.shape == (num_samples,)
            assert waveform.isfinite().all()

    def test_is_a_function_of_the_generators(self, kind: str) -> None:
        assert texture(kind, 1).equal(texture(kind, 1))
        assert not texture(kind, 1).equal(texture(kind, 2))

    def test_is_never_silent(self, kind: str) -> None:
        assert all(texture(kind, seed).square().mean() > 1e-9 for seed in range(20))


def test_hum_and_melody_are_tones_and_swelling_noise_is_none() -> None:
    of = {
        kind: sorted(flatness(texture(kind, seed)) for seed in range(11))[5]
        for kind in ("hum", "melody", "swelling_noise")
    }
    assert max(of["hum"], of["melody"]) < 1e-3 < of["swelling_noise"]


def test_clatter_is_knocks_with_silence_between() -> None:
    crests = sorted(crest(texture("clatter", seed)) for seed in range(11))
    assert crests[5] > 6  # Gaussian noise of this length has about 4


def test_texture_has_a_floor_and_an_rms_near_one() -> None:
    for seed in range(10):
        waveform = texture("draw_texture", seed)
        assert 0.5 < waveform.square().mean().sqrt() < 2.5
        quietest = waveform.reshape(-1, 400).square().mean(1).min().sqrt()
        assert quietest > 10 ** (-60 / 20)


def test_mixtures_have_textures_as_often_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    mixtures = locate("textures.TexturedMixtures", [RECIPE])
    drawn = []

    def counted(num_samples: int) -> Any:
        drawn.append(num_samples)
        return torch.randn(num_samples)

    monkeypatch.setitem(mixtures._draw_noise.__globals__, "draw_texture", counted)
    for probability, expected in ((0.0, 0), (1.0, 20)):
        drawn.clear()
        dataset = mixtures(num_mixtures=20, num_seconds=0.5, texture=probability, second_noise=0.0)
        for index in range(20):
            noisy, clean = dataset[index]
            assert noisy.shape == clean.shape == (8000,)
        assert len(drawn) == expected


def test_fingerprint_changes_with_the_share_of_textures() -> None:
    mixtures = locate("textures.TexturedMixtures", [RECIPE])
    assert mixtures(texture=0.3).fingerprint() != mixtures(texture=0.4).fingerprint()
