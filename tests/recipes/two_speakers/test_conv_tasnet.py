from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from audiozen.acoustics import si_sdr
from audiozen.complexity import count_macs, count_parameters, look_ahead, macs_per_second
from audiozen.config.locate import locate
from audiozen.data.audio import read_audio
from audiozen.experiment import Experiment
from audiozen.tables.files import read_csv

RECIPE = Path(__file__).resolve().parents[3] / "recipes" / "two_speakers" / "conv_tasnet"
SMALL = {
    "num_filters": 16,
    "bottleneck_channels": 8,
    "skip_channels": 12,
    "hidden_channels": 24,
    "num_blocks": 3,
    "num_repeats": 2,
}
SAMPLE_RATE = 8000


def build(name: str = "ConvTasNet", **settings: Any) -> Any:
    torch.manual_seed(0)
    return locate(f"model.{name}", [RECIPE, RECIPE.parent])(**settings).eval()


def small(**settings: Any) -> Any:
    return build(**SMALL, **settings)


# Size ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("last_residual", "expected"), [(True, 5_050_545), (False, 4_984_881)])
def test_has_as_many_parameters_as_published(
    last_residual: bool, expected: int, causal: bool
) -> None:
    model = build(last_residual=last_residual, causal=causal)
    assert count_parameters(model).total == expected


@pytest.mark.parametrize("last_residual", [True, False])
def test_costs_five_billion_multiply_accumulates_per_second(last_residual: bool) -> None:
    block, residual = 128 * 512 + 3 * 512 + 512 * 128, 512 * 128
    bank, masks = 512 * 16 + 2 * 512 * 16, 512 * 128 + 128 * 2 * 512
    per_frame = bank + masks + 24 * block + (24 if last_residual else 23) * residual
    model = build(last_residual=last_residual)
    assert count_macs(model, torch.zeros(1, 16 + 99 * 8)) == 100 * per_frame
    assert macs_per_second(model, SAMPLE_RATE) == 1000 * per_frame
    assert 4.9e9 < 1000 * per_frame < 5.05e9


# Shape --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 23, 24, 25, 4000, 4001])
def test_sources_are_as_long_as_the_mixture(length: int, causal: bool) -> None:
    sources = small(causal=causal)(torch.randn(3, length))
    assert sources.shape == (3, 2, length)
    assert sources.isfinite().all()


def test_as_many_sources_as_were_asked_for() -> None:
    assert small(num_sources=3)(torch.randn(2, 100)).shape == (2, 3, 100)


@pytest.mark.parametrize("length", [1, 15, 17, 33, 4001])
def test_last_samples_are_separated_too(length: int) -> None:
    assert (small()(torch.randn(1, length))[..., -1] != 0).all()


def test_signals_of_a_batch_do_not_mix() -> None:
    model, mixtures = small(), torch.randn(3, 2000)
    alone = torch.cat([model(mixture[None]) for mixture in mixtures])
    torch.testing.assert_close(model(mixtures), alone)


# What depends on what -----------------------------------------------------------------------------


def changed_after(model: Any, place: int) -> torch.Tensor:
    """How much each sample of the output changes, where the input does from a place on."""
    mixture = torch.randn(1, 4000)
    other = torch.cat([mixture[:, :place], 3 * torch.randn(1, 4000 - place)], -1)
    with torch.no_grad():
        return (model(mixture) - model(other)).abs().amax((0, 1))


def test_causal_output_depends_on_nothing_beyond_its_frame() -> None:
    for place in (1003, 2000, 3999):
        change = changed_after(small(causal=True), place)
        assert change[: place - 15].max() < 1e-5
        assert change[place:].max() > 1e-3


def test_causal_look_ahead_is_the_rest_of_a_frame() -> None:
    model = small(causal=True)
    assert look_ahead(model, SAMPLE_RATE).samples == model.filter_length - 1


def test_global_norm_is_not_causal() -> None:
    assert changed_after(small(), 3000)[:500].max() > 1e-5
    assert look_ahead(small(), SAMPLE_RATE).looks_at_whole_signal


def test_causal_model_looks_back_as_far_as_its_dilations() -> None:
    """With the norms taken out, three weights reach 2 · (1 + 2 + 4) frames back, and two repeats twice as far."""
    model = small(causal=True)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child).__name__ == "CumulativeLayerNorm":
                setattr(module, name, torch.nn.Identity())
    model.double()  # what has come far is small
    mixture = torch.randn(1, 4000, dtype=torch.float64)
    other = mixture.clone()
    other[0, 1600] += 1
    with torch.no_grad():
        changed = (model(mixture) != model(other)).any(0).any(0).nonzero().flatten()
    assert int(changed[0]) == 1600 - 8  # its first frame begins so much earlier
    last_frame = 1600 // 8 + 2 * 2 * (1 + 2 + 4)
    assert int(changed[-1]) == last_frame * 8 + 15


# Norms --------------------------------------------------------------------------------------------


def test_cumulative_norm_is_that_of_all_up_to_each_frame() -> None:
    norm = build("CumulativeLayerNorm", num_channels=5)
    features = 3 + torch.randn(2, 5, 40)
    for last in (0, 1, 17, 39):
        expected = torch.nn.functional.group_norm(features[..., : last + 1], 1, eps=1e-8)
        torch.testing.assert_close(norm(features)[..., last], expected[..., last])


def test_cumulative_norm_has_a_gain_and_a_bias_for_each_channel() -> None:
    norm = build("CumulativeLayerNorm", num_channels=3)
    features = torch.randn(1, 3, 10)
    before = norm(features)
    with torch.no_grad():
        norm.weight[1], norm.bias[2] = 2, 5
        expected = (
            before * torch.tensor([1.0, 2.0, 1.0])[:, None] + torch.tensor([0.0, 0, 5])[:, None]
        )
        torch.testing.assert_close(norm(features), expected)


def test_cumulative_norm_stays_exact_in_long_signals_far_from_zero() -> None:
    features = 10_000 + torch.randn(1, 4, 100_000)
    normalised = build("CumulativeLayerNorm", num_channels=4)(features).detach()
    assert abs(float(normalised[..., -1000:].std()) - 1) < 0.05


# Behaviour ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("causal", [False, True])
def test_louder_mixture_has_louder_sources(causal: bool) -> None:
    model, mixture = small(causal=causal), torch.randn(1, 2000)
    torch.testing.assert_close(model(10 * mixture), 10 * model(mixture), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("causal", [False, True])
def test_silence_stays_silence(causal: bool) -> None:
    assert small(causal=causal)(torch.zeros(1, 1000)).abs().max() == 0


@pytest.mark.parametrize(("activation", "highest"), [("sigmoid", 1.0), ("relu", torch.inf)])
def test_masks_are_within_their_limits(activation: str, highest: float) -> None:
    model = small(mask_activation=activation)
    masks = model.masks(100 * torch.randn(1, 12, 500))
    assert masks.min() >= 0
    assert 1 <= masks.max() <= highest
    assert (masks.max() > 1) == (highest > 1)


@pytest.mark.parametrize("causal", [False, True])
def test_every_parameter_gets_a_gradient_but_those_of_the_last_residual(causal: bool) -> None:
    for last_residual in (True, False):
        model = small(causal=causal, last_residual=last_residual)
        model(torch.randn(2, 500)).square().sum().backward()
        without = {name for name, weight in model.named_parameters() if weight.grad is None}
        unused = {"blocks.5.residual.weight", "blocks.5.residual.bias"} if last_residual else set()
        assert without == unused


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="filter_length must be even and positive, got 15"):
        small(filter_length=15)
    with pytest.raises(ValueError, match=r"kernel_size must be odd .* got 4; choose another one"):
        small(kernel_size=4)
    assert small(kernel_size=4, causal=True)(torch.randn(1, 100)).shape == (1, 2, 100)


# The recipe ---------------------------------------------------------------------------------------


class OracleInAnyOrder(torch.nn.Module):
    """Knows the sources of some mixtures, and gives them with a little noise, the last one first."""

    def __init__(self, mixtures: list[torch.Tensor], sources: list[torch.Tensor]) -> None:
        super().__init__()
        self.known = list(zip(mixtures, sources))

    def forward(self, mixture: torch.Tensor) -> torch.Tensor:
        (sources,) = [sources for known, sources in self.known if torch.equal(known, mixture[0])]
        return (sources.flip(0) + 1e-3 * torch.randn_like(sources))[None]


class MixtureForEach(torch.nn.Module):
    def forward(self, mixture: torch.Tensor) -> torch.Tensor:
        return mixture[:, None].expand(-1, 2, -1)


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    overrides = [f"meta.save_dir={tmp_path}", "trainer.args.num_threads=1"]
    return Experiment.from_file(RECIPE / "smoke.toml", overrides)


def scored(
    experiment: Experiment, replace_model: Any
) -> tuple[Any, list[dict[str, Any]], list[Any]]:
    """The trainer, the rows of the table, and the mixtures, after a test of two mixtures with another model."""
    _, unseen = experiment.test_dataloaders()
    samples = [unseen.dataset[index] for index in (0, 3)]
    samples = [
        (mixture[:16_000], sources[:, :16_000], labels) for mixture, sources, labels in samples
    ]
    trainer = experiment.build_trainer()
    trainer.model = replace_model(samples)
    trainer.modules = {"": trainer.model}
    trainer.test(DataLoader(samples), ckpt_path=None)
    (table,) = trainer.metrics_dir.glob("*.csv")
    return trainer, read_csv(table), samples


def test_mixture_itself_improves_nothing(experiment: Experiment) -> None:
    _, rows, _ = scored(experiment, lambda samples: MixtureForEach())
    assert len(rows) == 4
    for row in rows:
        assert row["si_sdr_i"] == pytest.approx(0, abs=1e-4)
        assert row["sdr_bss_i"] == pytest.approx(0, abs=1e-4)


def test_scores_and_sound_are_in_the_order_of_the_sources(experiment: Experiment) -> None:
    def oracle(samples: list[Any]) -> torch.nn.Module:
        return OracleInAnyOrder([s[0] for s in samples], [s[1] for s in samples])

    trainer, rows, samples = scored(experiment, oracle)
    sources = torch.cat([sources for _, sources, _ in samples])
    for row, source in zip(rows, sources, strict=True):
        assert row["si_sdr"] > 20
        assert row["si_sdr_i"] > 15
        enhanced = read_audio(trainer.enhanced_dir / f"{row['id']}.wav")
        assert float(si_sdr(enhanced, source)) > 20
    assert [row["speaker"] for row in rows] == ["carlo", "ivrru"] * 2
    assert [row["id"][-2:] for row in rows] == ["_1", "_2"] * 2
    assert rows[0]["id"].startswith(samples[0][2]["id"])


def test_experiment_of_the_paper_has_its_model(tmp_path: Path) -> None:
    experiment = Experiment.from_file(RECIPE / "baseline.toml", [f"meta.save_dir={tmp_path}"])
    model = experiment.build_trainer().model
    assert count_parameters(model).total == 4_984_881
