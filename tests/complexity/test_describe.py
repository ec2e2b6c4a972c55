from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from audiozen.complexity import cpu_name, describe
from audiozen.config.locate import locate
from tests.complexity.models import BCResNet

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes" / "debian_noisy_speech" / "band_gain_gru"
MEASURED = [
    "macs_per_second",
    "look_ahead_samples",
    "looks_at_whole_signal",
    "latency_ms",
    "hop_length",
    "real_time_factor",
    "real_time_factor_streaming",
]


class Centred(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 9, padding="same", bias=False)

    def forward(self, noisy: Tensor) -> Tensor:
        return self.conv(noisy[:, None])[:, 0]


def test_model_that_streams_has_everything() -> None:
    facts = describe(locate("model.BandGainGRU", [RECIPE, RECIPE.parent])(), 16_000)
    assert facts.pop("real_time_factor") > 0
    assert facts.pop("real_time_factor_streaming") > 0
    assert facts == {
        "parameters": 29_216,
        "trainable": 29_216,
        "macs_per_second": 45_120 * 187 / 3,
        "look_ahead_samples": 510,
        "looks_at_whole_signal": False,
        "latency_ms": 32.0,
        "hop_length": 256,
        "num_threads": 1,
        "cpu": cpu_name(),
        "notes": [],
    }


def test_model_that_does_not_stream_has_the_rest() -> None:
    facts = describe(Centred(), 1000, (torch.zeros(3, 50),))
    assert facts["macs_per_second"] == 9000
    assert facts["look_ahead_samples"] == 4
    assert facts["latency_ms"] == 5
    assert facts["real_time_factor"] > 0
    assert facts["real_time_factor_streaming"] is None
    assert facts["notes"] == []


def test_whole_signal_has_no_number() -> None:
    class Normalised(Centred):
        def forward(self, noisy: Tensor) -> Tensor:
            return super().forward(noisy - noisy.mean(-1, keepdim=True))

    facts = describe(Normalised(), 1000)
    assert facts["looks_at_whole_signal"] is True
    assert facts["look_ahead_samples"] is None
    assert facts["latency_ms"] is None
    assert facts["notes"] == []


@pytest.mark.parametrize(
    ("sample_rate", "inputs"),
    [
        (None, None),
        (16_000, (torch.zeros(1, 1, 40, 100),)),
        (16_000, (torch.zeros(1, 400), torch.zeros(1, 400))),
        (16_000, ({"noisy": torch.zeros(1, 400)},)),
    ],
)
def test_only_parameters_are_counted_without_a_waveform(
    sample_rate: int | None, inputs: tuple[Any, ...] | None
) -> None:
    facts = describe(BCResNet(), sample_rate, inputs)
    assert facts["parameters"] == 9232
    assert [facts[name] for name in MEASURED] == len(MEASURED) * [None]
    assert facts["notes"] == [
        "only parameters were counted, as the model does not take a waveform alone"
    ]


class Broken(Centred):
    def forward(self, noisy: Tensor) -> Tensor:
        raise KeyError("unheard of")


class Uncopied(Centred):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


class Dithered(Centred):
    """Looks at values, so that it is counted as it runs, and draws random numbers."""

    def forward(self, noisy: Tensor) -> Tensor:
        level = 0.01 if noisy.abs().max() < 1 else 0.1
        return super().forward(noisy + level * torch.randn_like(noisy))


class OneFrame(nn.Module):
    """Claims to stream, and cannot."""

    hop_length, delay = 10, 0

    def forward(self, noisy: Tensor) -> Tensor:
        return noisy

    def initial_state(self, batch_size: int = 1) -> None:
        return None

    def stream(self, chunk: Tensor, state: None) -> tuple[Tensor, None]:
        raise NotImplementedError("some day")


def test_reasons_are_told_and_nothing_is_raised() -> None:
    facts = describe(Broken(), 16_000)
    assert [facts[name] for name in MEASURED] == len(MEASURED) * [None]
    assert facts["notes"] == [
        f"{subject}: KeyError: 'unheard of'"
        for subject in ("MACs", "look-ahead", "real-time factor")
    ]
    facts = describe(Broken(), 16_000, explain=lambda error: f"<{error.args[0]}>")
    assert facts["notes"][0] == "MACs: <unheard of>"


def test_one_failure_leaves_the_others() -> None:
    facts = describe(Uncopied(), 1000)
    assert facts["macs_per_second"] == 9000
    assert facts["look_ahead_samples"] is None
    assert facts["notes"] == ["copy: TypeError: cannot pickle '_thread.lock' object"]
    facts = describe(OneFrame(), 1000)
    assert facts["look_ahead_samples"] == 0
    assert facts["latency_ms"] == 1.0
    assert facts["hop_length"] is None
    assert facts["notes"] == [
        "real-time factor frame by frame: NotImplementedError: some day",
    ]


@pytest.mark.parametrize("model", [Centred(), Broken(), Uncopied(), Dithered(), OneFrame()])
def test_is_plain_and_leaves_everything_as_it_was(model: nn.Module) -> None:
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    generator, threads = torch.get_rng_state(), torch.get_num_threads()
    facts = describe(model, 1000)
    assert json.loads(json.dumps(facts)) == facts
    assert model.training
    assert torch.equal(torch.get_rng_state(), generator)
    assert torch.get_num_threads() == threads
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, weights[name])


def test_has_the_same_names_whatever_the_model() -> None:
    names = [list(describe(model, rate)) for model, rate in ((Centred(), 1000), (Centred(), None))]
    assert names[0] == names[1]
