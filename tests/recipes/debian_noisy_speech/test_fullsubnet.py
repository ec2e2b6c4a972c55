from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import DataLoader

from audiozen.acoustics import istft, snr, stft
from audiozen.complexity import count_macs, look_ahead, macs_per_second
from audiozen.config.locate import locate
from audiozen.errors import RequestError, ShapeError
from audiozen.experiment import Experiment
from audiozen.tables.files import read_csv

RECIPE = Path(__file__).resolve().parents[3] / "recipes" / "debian_noisy_speech" / "fullsubnet"
SMALL = {"full_band_size": 12, "sub_band_size": 6}
MACS_PER_FRAME = 471_387_392
LARGEST = 52.93
"""The largest mask that is left after compression: ln(19.9 / 0.1) / 0.1."""


def find(name: str) -> Any:
    return locate(f"model.{name}", [RECIPE, RECIPE.parent])


def build(**args: Any) -> Any:
    torch.manual_seed(0)
    return find("FullSubNet")(**args).eval()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# The model ----------------------------------------------------------------------------------------


def test_has_as_many_parameters_as_published() -> None:
    model = build()
    assert num_parameters(model) == 5_637_635
    assert num_parameters(model.full_band) == 3_812_097
    assert num_parameters(model.sub_band) == 1_825_538


def test_costs_as_much_as_published() -> None:
    model = build()
    full_band = 4 * 512 * (257 + 512 + 2 * 512) + 512 * 257
    sub_band = 4 * 384 * (32 + 384 + 2 * 384) + 384 * 2
    assert full_band + 257 * sub_band == MACS_PER_FRAME
    assert count_macs(model, torch.zeros(1, 62 * 256)) == (63 + 2) * MACS_PER_FRAME
    assert round(62.5 * MACS_PER_FRAME / 1e9, 2) == 29.46
    # 187 frames lie between 1 s and 4 s, where 3 s have 187.5.
    assert macs_per_second(model, 16_000) == pytest.approx(29.46e9, rel=3e-3)


def test_checkpoint_holds_parameters_only() -> None:
    model = build(**SMALL)
    assert model.state_dict().keys() == dict(model.named_parameters()).keys()


@pytest.mark.parametrize("length", [1, 511, 16_000, 16_001])
def test_result_is_as_long_as_the_input(length: int) -> None:
    assert build(**SMALL)(noise(2, length)).shape == (2, length)


@pytest.mark.parametrize("norm", ["offline_laplace", "cumulative_laplace"])
def test_silence_stays_silence(norm: str) -> None:
    assert build(norm=norm, **SMALL)(torch.zeros(1, 4000)).abs().max() == 0


@pytest.mark.parametrize("norm", ["offline_laplace", "cumulative_laplace"])
def test_signals_of_a_batch_do_not_mix(norm: str) -> None:
    model = build(norm=norm, **SMALL)
    noisy = 0.1 * noise(3, 8000)
    alone = torch.cat([model(signal[None]) for signal in noisy])
    torch.testing.assert_close(model(noisy), alone)


def test_each_bin_goes_through_the_same_sub_band_part() -> None:
    """A spectrum without a difference between its bins gets one mask, if the full-band part says nothing."""
    model = build(**SMALL)
    nn.init.zeros_(model.full_band.output.weight)
    nn.init.zeros_(model.full_band.output.bias)
    mask = model.mask(noise(1, 1, 9).abs().expand(1, 257, 9))
    torch.testing.assert_close(mask, mask[:, :1].expand_as(mask))
    assert mask.std(2).min() > 0


def test_both_parts_hear_a_mean_of_one() -> None:
    heard = inputs_of_the_parts(build(norm="offline_laplace", **SMALL), noise(2, 257, 9).abs())
    assert heard["full_band"].mean((1, 2)).tolist() == pytest.approx([1, 1], rel=1e-4)
    of_signals = heard["sub_band"].unflatten(0, (2, 257))
    assert of_signals.mean((1, 2, 3)).tolist() == pytest.approx([1, 1], rel=1e-4)


def test_sub_band_part_hears_of_the_full_band_what_is_positive() -> None:
    heard = inputs_of_the_parts(build(**SMALL), noise(2, 257, 9).abs())["sub_band"][..., -1]
    assert heard.min() == 0
    assert heard.max() > 0


def inputs_of_the_parts(model: Any, magnitude: Tensor) -> dict[str, Tensor]:
    heard: dict[str, Tensor] = {}
    for name in ("full_band", "sub_band"):

        def keep(_module: nn.Module, args: tuple[Tensor], name: str = name) -> None:
            heard[name] = args[0]

        getattr(model, name).register_forward_pre_hook(keep)
    model.mask(magnitude)
    return heard


def test_mask_is_multiplied_with_the_spectrum() -> None:
    model = build(**SMALL)
    noisy = 0.1 * noise(1, 4000)
    spec = stft(noisy)
    torch.testing.assert_close(
        model(noisy), istft(find("decompress")(model.mask(spec.abs())) * spec, length=4000)
    )


def test_training_gives_the_mask_of_the_bins_that_are_kept() -> None:
    model = build(**SMALL)
    noisy = 0.1 * noise(5, 4000)
    expected = find("drop_band")(model.mask(stft(noisy).abs()), 2)
    assert expected.shape == (5, 128, 17, 2)
    torch.testing.assert_close(model.train()(noisy), expected)


def test_mask_in_half_precision_becomes_sound_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(**SMALL)
    monkeypatch.setattr(model.sub_band, "output", InHalfPrecision(model.sub_band.output))
    assert model(0.1 * noise(1, 4000)).dtype == torch.float32


class InHalfPrecision(nn.Module):
    """As autocast leaves it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, features: Tensor) -> Tensor:
        return self.module(features).to(torch.bfloat16)


def test_every_parameter_gets_a_gradient() -> None:
    model = build(**SMALL).train()
    model(0.1 * noise(2, 8000)).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_unknown_norm_is_refused() -> None:
    with pytest.raises(
        RequestError, match="'laplace' is unknown; choose one of offline_laplace, cumulative_"
    ):
        build(norm="laplace")


def test_more_neighbors_than_bins_are_refused() -> None:
    with pytest.raises(RequestError, match="less than the 17 bins, got 17"):
        build(n_fft=32, hop_length=16, win_length=32, num_neighbors=17)


# Look-ahead ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_frames", [0, 1, 2])
def test_mask_depends_on_no_frame_beyond_the_look_ahead(num_frames: int) -> None:
    model = build(norm="cumulative_laplace", look_ahead=num_frames, **SMALL)
    magnitude = noise(1, 257, 40).abs()
    other = torch.cat([magnitude[..., :20], noise(1, 257, 20, seed=1).abs()], -1)
    first, second = model.mask(magnitude), model.mask(other)
    assert torch.equal(first[:, :, : 20 - num_frames], second[:, :, : 20 - num_frames])
    assert (first != second)[:, :, 20 - num_frames].any()


def test_looks_a_window_and_two_frames_ahead() -> None:
    """To the last sample of the window, from its second: the first is weighted with 0."""
    found = look_ahead(build(norm="cumulative_laplace", **SMALL), 16_000)
    assert found.samples == 510 + 2 * 256
    assert found.latency_ms(256) == 64.0


def test_offline_norm_looks_at_the_whole_signal() -> None:
    model = build(norm="offline_laplace", **SMALL)
    magnitude = noise(1, 257, 40).abs()
    louder = torch.cat([magnitude[..., :-1], 2 * magnitude[..., -1:]], -1)
    assert (model.mask(magnitude) != model.mask(louder))[:, :, 0].any()


# Features -----------------------------------------------------------------------------------------


def test_offline_norm_divides_by_the_mean_over_bins_and_frames() -> None:
    normalized = find("offline_laplace")(torch.tensor([[[1.0, 3.0], [5.0, 7.0]]]))
    torch.testing.assert_close(normalized, torch.tensor([[[1.0, 3.0], [5.0, 7.0]]]) / 4)


def test_cumulative_norm_divides_by_the_mean_until_then() -> None:
    normalized = find("cumulative_laplace")(torch.tensor([[[1.0, 3.0], [5.0, 7.0]]]))
    torch.testing.assert_close(
        normalized, torch.tensor([[[1 / 3, 3 / 4], [5 / 3, 7 / 4]]]), rtol=1e-5, atol=0
    )


@pytest.mark.parametrize("shape", [(3, 257, 20), (3, 257, 32, 20)])
def test_norms_agree_in_the_last_frame(shape: tuple[int, ...]) -> None:
    features = noise(*shape).abs()
    cumulative = find("cumulative_laplace")(features)
    assert cumulative.shape == shape
    torch.testing.assert_close(cumulative[..., -1], find("offline_laplace")(features)[..., -1])


@pytest.mark.parametrize("norm", ["offline_laplace", "cumulative_laplace"])
@given(level_db=st.floats(-20, 40))
def test_norms_take_the_level_away(norm: str, level_db: float) -> None:
    features = noise(2, 9, 8).abs()
    normalize = find(norm)
    torch.testing.assert_close(
        normalize(10 ** (level_db / 20) * features), normalize(features), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize(("num_freqs", "num_neighbors"), [(5, 0), (5, 1), (5, 4), (257, 15)])
def test_neighbors_are_reflected_at_both_ends(num_freqs: int, num_neighbors: int) -> None:
    magnitude = noise(2, num_freqs, 3)
    padding = (0, 0, num_neighbors, num_neighbors)
    reflected = nn.functional.pad(magnitude[:, None], padding, mode="reflect")[:, 0]
    expected = reflected.unfold(1, 2 * num_neighbors + 1, 1).mT
    assert torch.equal(find("with_neighbors")(magnitude, num_neighbors), expected)


# Drop-band ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_groups", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [3, 4, 5])
def test_each_group_keeps_its_bins(batch_size: int, num_groups: int) -> None:
    signals = torch.arange(batch_size)[:, None, None]
    bins = torch.arange(257)[None, :, None]
    kept = find("drop_band")((1000 * signals + bins).expand(-1, -1, 4), num_groups)
    assert kept.shape == (batch_size, 257 // num_groups, 4)
    signal, frequency = kept // 1000, kept % 1000
    assert torch.equal(frequency % num_groups, signal % num_groups)
    assert sorted(signal[:, 0, 0].tolist()) == list(range(batch_size))
    for row in frequency[..., 0].tolist():
        assert row == list(range(row[0], 257, num_groups))[: len(row)]


def test_batch_smaller_than_the_groups_is_refused_in_training_only() -> None:
    model = build(**SMALL)
    assert model(noise(1, 4000)).shape == (1, 4000)
    with pytest.raises(ShapeError, match="a batch of 1 cannot be split into 2 groups"):
        model.train()(noise(1, 4000))
    assert model(noise(2, 4000)).shape == (2, 128, 17, 2)


# Masks --------------------------------------------------------------------------------------------


def both_ways(real: float, imag: float) -> complex:
    mask = torch.tensor([complex(real, imag)], dtype=torch.complex64)
    return complex(find("decompress")(find("compress")(mask)))


@given(real=st.floats(-LARGEST, LARGEST), imag=st.floats(-LARGEST, LARGEST))
def test_compression_is_undone(real: float, imag: float) -> None:
    assert both_ways(real, imag) == pytest.approx(complex(real, imag), rel=1e-3, abs=1e-4)


@given(real=st.floats(LARGEST, 1e30), imag=st.floats(-1e30, -LARGEST))
def test_larger_masks_come_back_as_the_largest(real: float, imag: float) -> None:
    assert both_ways(real, imag) == pytest.approx(complex(LARGEST, -LARGEST), abs=5e-3)


@given(mask=st.floats(-300, 300))
def test_compression_is_that_of_the_paper(mask: float) -> None:
    e = torch.exp(torch.tensor(-0.1 * mask, dtype=torch.float64))
    compressed = find("compress")(torch.tensor(complex(0, mask), dtype=torch.complex128))
    torch.testing.assert_close(compressed[1], 10 * (1 - e) / (1 + e))
    assert compressed[0] == 0


def test_mask_of_the_clean_itself_gives_it_back() -> None:
    clean = noise(2, 8000)
    spec = stft(clean)
    mask = find("ideal_ratio_mask")(spec, spec)
    torch.testing.assert_close(mask, torch.ones_like(spec))
    mask = find("decompress")(find("compress")(mask))
    torch.testing.assert_close(istft(mask * spec, length=8000), clean, rtol=0, atol=1e-4)


def test_ideal_mask_makes_the_clean_of_the_noisy() -> None:
    clean = noise(2, 8000)
    spec, noisy = stft(clean), stft(clean + noise(2, 8000, seed=1))
    mask = find("ideal_ratio_mask")(noisy, spec)
    torch.testing.assert_close(mask * noisy, spec, rtol=1e-3, atol=1e-3)
    mask = find("decompress")(find("compress")(mask))
    assert snr(istft(mask * noisy, length=8000), clean).min() > 40


def test_mask_of_silence_is_finite() -> None:
    silence, clean = torch.zeros(3, dtype=torch.complex64), torch.tensor([0, 1j, 1e-30])
    assert torch.equal(find("ideal_ratio_mask")(silence, clean), silence)
    tiny = find("ideal_ratio_mask")(torch.full_like(clean, 1e-25), clean)
    assert find("compress")(tiny).isfinite().all()


# Training -----------------------------------------------------------------------------------------


@pytest.fixture
def trainer(tmp_path: Path) -> Any:
    return Experiment.from_file(
        RECIPE / "smoke.toml", [f"meta.save_dir={tmp_path}"]
    ).build_trainer()


def test_loss_is_the_squared_error_of_the_compressed_mask(trainer: Any) -> None:
    clean = 0.1 * noise(4, 8000)
    noisy = clean + 0.1 * noise(4, 8000, seed=1)
    trainer.model.train()
    loss = trainer.training_step((noisy, clean), 0)
    errors = trainer.model.eval().mask(stft(noisy).abs()) - find("compress")(
        find("ideal_ratio_mask")(stft(noisy), stft(clean))
    )
    even, odd = errors[0::2, 0:256:2], errors[1::2, 1:257:2]
    torch.testing.assert_close(loss, torch.cat([even, odd]).square().mean())


def test_training_lowers_the_loss(trainer: Any) -> None:
    clean = 0.1 * noise(2, 8000)
    noisy = clean + 0.1 * noise(2, 8000, seed=1)
    optimizer = torch.optim.Adam(trainer.model.train().parameters(), 1e-2)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        losses.append(trainer.training_step((noisy, clean), 0))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0]


def test_validation_scores_the_enhanced_waveform(trainer: Any) -> None:
    clean = 0.1 * noise(1, 16_000)
    noisy = clean + 0.1 * noise(1, 16_000, seed=1)
    labels = {"id": "one", "snr_db": "0", "noise_type": "white", "speaker": "", "language": ""}
    trainer.validate(DataLoader([(noisy[0], clean[0], labels)]))
    (table,) = trainer.metrics_dir.glob("*.csv")
    (row,) = read_csv(table)
    assert row["si_sdr_noisy"] == pytest.approx(0, abs=0.2)
    assert isinstance(row["si_sdr"], float)


def test_trainer_is_under_sixty_lines() -> None:
    assert len((RECIPE / "trainer.py").read_text(encoding="utf-8").splitlines()) < 60
