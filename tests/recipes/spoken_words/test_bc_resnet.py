from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from audiozen.complexity import count_macs, count_parameters
from audiozen.config.locate import locate
from tests.recipes.code_lines import num_code_lines

RECIPE = Path(__file__).resolve().parents[3] / "recipes" / "spoken_words" / "bc_resnet"
TWELVE = [f"word_{number}" for number in range(12)]


def build(name: str, *args: Any, **kwargs: Any) -> Any:
    torch.manual_seed(0)
    return locate(f"model.{name}", [RECIPE, RECIPE.parent])(*args, **kwargs)


# Size ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tau", "num_parameters"),
    [(1, 9232), (1.5, 17_154), (2, 27_284), (3, 54_168), (6, 187_812), (8, 321_068)],
)
def test_has_the_parameters_of_the_paper(tau: float, num_parameters: int) -> None:
    assert count_parameters(build("BCResNet", 12, tau)).trainable == num_parameters
    assert count_parameters(build("WordClassifier", TWELVE, tau)).total == num_parameters


def test_smallest_costs_2_46_million_multiply_accumulates() -> None:
    head = 25 * 16 * 20 * 100
    stages = [  # blocks, channels before and in it, bands before and in it
        (2, 16, 8, 20, 20),
        (2, 8, 12, 20, 10),
        (4, 12, 16, 10, 5),
        (4, 16, 20, 5, 5),
    ]
    blocks = 0
    for num_blocks, before, channels, bands_before, bands in stages:
        over_bands, over_time = 3 * channels * bands, 3 * channels + channels * channels
        blocks += 100 * (before * channels * bands_before + num_blocks * (over_bands + over_time))
    classifier = 100 * (25 * 20 + 20 * 32) + 32 * 12
    macs = count_macs(build("BCResNet"), torch.zeros(1, 1, 40, 100))
    assert macs == head + blocks + classifier == 2_457_584


def test_largest_costs_85_1_million_multiply_accumulates() -> None:
    macs = count_macs(build("BCResNet", 12, 8), torch.zeros(1, 1, 40, 100))
    assert macs == pytest.approx(85.1e6, rel=1e-3)


def test_checkpoint_holds_what_is_learnt_and_no_features() -> None:
    names = build("WordClassifier", TWELVE).state_dict()
    assert all(name.startswith("network.") for name in names)


def test_trainer_and_data_together_are_sixty_lines_of_code() -> None:
    assert sum(num_code_lines(RECIPE / name) for name in ("trainer.py", "../data.py")) <= 60


# Network ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_frames", [1, 7, 100, 101])
def test_gives_one_logit_per_class_for_any_length(num_frames: int) -> None:
    network = build("BCResNet", 5).eval()
    assert network(torch.randn(3, 1, 40, num_frames)).shape == (3, 5)


@pytest.mark.parametrize("n_mels", [20, 41, 60])
def test_bands_that_cannot_be_halved_into_fifths_are_refused(n_mels: int) -> None:
    with pytest.raises(ValueError, match=f"multiple of 40, got {n_mels}"):
        build("BCResNet", 12, 1, n_mels)


def test_more_bands_are_taken() -> None:
    assert build("WordClassifier", TWELVE, n_mels=80).eval()(torch.randn(1, 8000)).shape == (1, 12)


def test_clips_of_a_batch_do_not_mix() -> None:
    model = build("WordClassifier", TWELVE).eval()
    waveforms = 0.1 * torch.randn(3, 16_000)
    alone = torch.cat([model(waveform[None]) for waveform in waveforms])
    torch.testing.assert_close(model(waveforms), alone, rtol=1e-4, atol=1e-5)


def test_every_parameter_gets_a_gradient() -> None:
    model = build("WordClassifier", TWELVE)
    model(0.1 * torch.randn(4, 16_000)).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


@pytest.mark.parametrize("dilation", [1, 8])
def test_block_sees_all_bands_of_three_frames_and_few_bands_of_its_own(dilation: int) -> None:
    block = build("BroadcastBlock", 8, 8, 1, dilation).eval()
    features = torch.randn(1, 8, 20, 30, requires_grad=True)
    # Of the activations, only those of relu hide what a result depends on.
    result = block.over_bands(block.transition(features))
    result = result + block.over_time(result.mean(2, keepdim=True))
    result[0, 0, 10, 15].backward()
    seen = features.grad[0].abs().sum(0) > 0
    frames = seen.any(0).nonzero().flatten().tolist()
    assert frames == [15 - dilation, 15, 15 + dilation]
    assert all(seen[:, frame].all() for frame in frames)


def test_block_with_other_channels_has_no_residual_path() -> None:
    features = torch.randn(1, 8, 20, 5).abs()
    for num_channels, expected in ((8, features), (12, torch.zeros(1, 12, 20, 5))):
        block = build("BroadcastBlock", 8, num_channels, 1, 1).eval()
        with torch.no_grad():
            for parameter in block.parameters():
                parameter.zero_()
        torch.testing.assert_close(block(features), expected)


def test_block_is_what_the_paper_adds_up() -> None:
    block = build("BroadcastBlock", 8, 8, 1, 2).eval()
    features = torch.randn(2, 8, 20, 9)
    two_dimensional = block.over_bands(features)
    temporal = block.over_time(two_dimensional.mean(2, keepdim=True))
    assert temporal.shape == (2, 8, 1, 9)
    expected = torch.relu(features + two_dimensional + temporal.expand(-1, -1, 20, -1))
    torch.testing.assert_close(block(features), expected)


def test_each_fifth_of_the_bands_is_normalised_on_its_own() -> None:
    norm = build("SubSpectralNorm", 3)
    scales = torch.tensor([1.0, 10.0, 100.0, 0.1, 5.0]).repeat_interleave(4)[:, None]
    features = scales * torch.randn(6, 3, 20, 50) + 7 * scales
    for fifth in norm(features).chunk(5, dim=2):
        mean, std = fifth.mean((0, 2, 3)), fifth.std((0, 2, 3))
        torch.testing.assert_close(mean, torch.zeros(3), rtol=0, atol=1e-3)
        torch.testing.assert_close(std, torch.ones(3), rtol=0, atol=1e-2)


def test_normalisation_leaves_everything_in_its_place() -> None:
    norm = build("SubSpectralNorm", 3).eval()
    features = torch.randn(2, 3, 20, 7)
    torch.testing.assert_close(norm(features), features, rtol=1e-4, atol=1e-5)


def test_each_stage_looks_twice_as_far_as_the_one_before() -> None:
    dilations = [block.over_time[0].dilation for block in build("BCResNet").blocks]
    assert dilations == [(1, 2**stage) for stage in (0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3)]


def test_a_tenth_of_the_channels_is_dropped_in_training() -> None:
    block = build("BroadcastBlock", 1000, 1000, 1, 1)
    temporal = block.over_time(torch.randn(4, 1000, 1, 6))
    dropped = (temporal == 0).all(-1).float().mean()
    assert 0.08 < dropped < 0.12
    assert (temporal == 0).float().mean() == dropped, "whole channels"


# Features -----------------------------------------------------------------------------------------


def edges() -> list[float]:
    """Where a band begins, peaks, and ends, in Hz."""
    top = 2595 * math.log10(1 + 8000 / 700)
    return [700 * (10 ** (top * number / 41 / 2595) - 1) for number in range(42)]


def sine(frequency: float, amplitude: float = 0.5) -> torch.Tensor:
    return amplitude * torch.sin(2 * math.pi * frequency * torch.arange(16_000) / 16_000)[None]


@pytest.mark.parametrize("band", range(40))
def test_sine_is_loudest_in_the_band_with_its_frequency(band: int) -> None:
    features = build("LogMel")(sine(edges()[band + 1]))[0, :, 3:-3]
    assert features.mean(1).argmax() == band


@pytest.mark.parametrize("frequency", [440, 1000, 3000])
def test_power_of_a_sine_is_where_its_frequency_is(frequency: float) -> None:
    power = build("LogMel")(sine(frequency))[0, :, 3:-3].exp().mean(1)
    near = [e for e in range(40) if edges()[e] - 70 < frequency < edges()[e + 2] + 70]
    assert power[near].sum() > 0.999 * power.sum()


@pytest.mark.parametrize("gain", [0.25, 2.0])
def test_level_shifts_all_features_by_a_constant(gain: float) -> None:
    features = build("LogMel")
    noise = 0.1 * torch.randn(2, 16_000)
    difference = features(gain * noise) - features(noise)
    expected = torch.full_like(difference, 2 * math.log(gain))
    torch.testing.assert_close(difference, expected, rtol=0, atol=1e-3)


def test_silence_is_finite_and_the_same_everywhere() -> None:
    features = build("LogMel")(torch.zeros(1, 16_000))
    torch.testing.assert_close(features, torch.full_like(features, math.log(1e-6)))


@pytest.mark.parametrize(("num_samples", "num_frames"), [(100, 1), (16_000, 101), (15_999, 100)])
def test_a_frame_every_10_ms(num_samples: int, num_frames: int) -> None:
    assert build("LogMel")(torch.randn(2, num_samples)).shape == (2, 40, num_frames)


def test_click_is_heard_for_less_than_30_ms() -> None:
    click = torch.zeros(1, 16_000)
    click[0, 8000] = 1  # the middle of frame 50
    heard = build("LogMel")(click)[0].mean(0) > math.log(2e-6)
    assert heard.nonzero().flatten().tolist() == [49, 50, 51]


def test_bands_overlap_to_one_between_the_first_and_the_last_peak() -> None:
    bands = build("mel_bands", 40, 512, 16_000)
    inner = [n for n in range(257) if edges()[1] <= n * 31.25 <= edges()[40]]
    torch.testing.assert_close(bands.sum(0)[inner], torch.ones(len(inner)))
    assert bands.min() == 0
    assert bands.max() <= 1


def test_so_many_bands_that_one_is_empty_are_refused() -> None:
    with pytest.raises(ValueError, match="200 bands are too many for 512 samples"):
        build("LogMel", 16_000, 200)


def test_features_do_not_lose_precision_under_autocast() -> None:
    features, noise = build("LogMel"), torch.randn(1, 16_000)
    with torch.autocast("cpu", torch.bfloat16):
        result = features(noise)
    assert torch.equal(result, features(noise))


# Masks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("axis", "size"), [(1, 40), (2, 101)])
def test_one_stretch_becomes_the_mean(axis: int, size: int) -> None:
    torch.manual_seed(0)
    features = torch.randn(200, 40, 101)
    masked = locate("model.mask_stretch", [RECIPE])(features, axis, 7)
    lengths, starts = set(), []
    for before, after in zip(features, masked):
        changed = (before != after).any(2 - axis)
        places = changed.nonzero().flatten().tolist()
        lengths.add(len(places))
        if places:
            assert places == list(range(places[0], places[-1] + 1))
            values = after.index_select(axis - 1, torch.tensor(places))
            torch.testing.assert_close(values, before.mean().expand_as(values))
            starts.append(places[0])
    assert lengths == set(range(8))
    assert min(starts) < 0.1 * size
    assert max(starts) > 0.8 * size


def test_masks_are_for_training_only() -> None:
    model = build("WordClassifier", TWELVE, max_masked_bands=5, max_masked_frames=20)
    waveform = 0.1 * torch.randn(2, 16_000)
    inputs: list[torch.Tensor] = []
    model.network.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    for training in (False, True):
        model.train(training)(waveform)
    unmasked = model.features(waveform)[:, None]
    assert torch.equal(inputs[0], unmasked)
    share = (inputs[1] != unmasked).float().mean()
    assert 0 < share < 10 / 40 + 40 / 101


def test_no_masks_draw_no_random_numbers() -> None:
    model = build("WordClassifier", TWELVE)
    state = torch.get_rng_state()
    model.network.eval()
    model.training = True
    model(torch.zeros(1, 16_000))
    assert torch.equal(torch.get_rng_state(), state)
