from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from audiozen.acoustics import STFT
from audiozen.complexity import count_macs
from audiozen.config.locate import locate
from tests.recipes.debian_noisy_speech.adversarial import (
    CORPUS,
    experiment_of,
    files_of_latest,
    noise,
    num_parameters,
    train,
)

RECIPE = CORPUS / "cmgan"
SMALL = {"num_channels": 4, "num_conformers": 1}


def find(name: str) -> Any:
    return locate(name, [RECIPE, CORPUS])


def build(**args: Any) -> Any:
    """In evaluation mode, so without dropout."""
    torch.manual_seed(0)
    return find("model.TSCNet")(**args).eval()


def build_discriminator() -> Any:
    torch.manual_seed(0)
    return find("model.Discriminator")().eval()


# The generator ------------------------------------------------------------------------------------


def test_has_as_many_parameters_as_published_in_each_part() -> None:
    model = build()
    assert num_parameters(model.encoder) == 259_776
    assert [num_parameters(conformer) for conformer in model.conformers] == [257_824] * 4
    assert num_parameters(model.mask_decoder) == 271_823
    assert num_parameters(model.complex_decoder) == 271_938
    assert num_parameters(model) == 1_834_833


def test_costs_of_a_conformer_are_those_of_its_layers() -> None:
    """Per place; of attention, also per pair of places: keys, positions and values."""
    size, length = 64, 7
    layers = 2 * 2 * 4 * size**2 + 4 * size**2 + 4 * size**2 + 2 * 31 * size + 2 * size**2
    pairs = 3 * size
    conformer = find("model.Conformer")(size).eval()
    assert count_macs(conformer, noise(2, length, size)) == 2 * length * (layers + length * pairs)


@pytest.mark.parametrize("length", [1, 399, 4000, 4001])
def test_result_is_as_long_as_the_input(length: int) -> None:
    assert build(**SMALL)(noise(2, length)).shape == (2, length)


def test_signals_of_a_batch_do_not_mix() -> None:
    model, noisy = build(**SMALL), noise(3, 2000)
    alone = torch.cat([model(signal[None]) for signal in noisy])
    torch.testing.assert_close(model(noisy), alone)


def test_silence_stays_nearly_silence() -> None:
    assert build(**SMALL)(torch.zeros(1, 2000)).abs().max() < 1e-5


@pytest.mark.parametrize("gain", [0.01, 10.0])
def test_level_goes_through(gain: float) -> None:
    model, noisy = build(**SMALL), noise(2, 2000)
    torch.testing.assert_close(
        model(gain * noisy), gain * model(noisy), rtol=1e-3, atol=gain * 1e-5
    )


def test_compression_is_undone() -> None:
    spec = STFT(400, 100, window="hamming")(noise(1, 2000))
    compressed = find("model.compress")(spec)
    torch.testing.assert_close(compressed.abs(), spec.abs() ** 0.3)
    torch.testing.assert_close(find("model.decompress")(compressed), spec)


def test_without_decoders_it_hears_itself() -> None:
    """A mask of 1 and nothing added give back what went in."""
    model, noisy = build(**SMALL), noise(1, 2000)
    model.mask_decoder = Constant(1.0)
    model.complex_decoder = Constant(0.0, 2)
    torch.testing.assert_close(model(noisy), noisy, rtol=1e-4, atol=1e-6)


class Constant(nn.Module):
    """For each bin the same."""

    def __init__(self, value: float, *channels: int) -> None:
        super().__init__()
        self.value, self.channels = value, channels

    def forward(self, hidden: Tensor) -> Tensor:
        return torch.full((len(hidden), *self.channels, hidden.shape[2], 201), self.value)


def test_every_parameter_gets_a_gradient() -> None:
    """That of a bias before a normalisation is 0, but for rounding."""
    model = build(**SMALL).train()
    model(noise(2, 2000)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_convolutions_of_a_dense_net_look_back_15_frames() -> None:
    net, hidden = find("model.DilatedDenseNet")(4).eval(), noise(1, 4, 40, 5)
    for module in net.modules():
        if isinstance(module, nn.Sequential) and isinstance(module[0], nn.Conv2d):
            module[1] = nn.Identity()  # which looks at all frames
    other = hidden.clone()
    other[:, :, 20] += 1
    changed = (net(hidden) != net(other)).any(3).any(1)[0].nonzero().flatten().tolist()
    assert changed == list(range(20, 36))


def test_places_are_doubled_with_even_and_odd_ones_side_by_side() -> None:
    layer = find("model.SubPixelConvolution")(3)
    hidden = noise(1, 3, 2, 5)
    both = layer.convolution(hidden)
    doubled = layer(hidden)
    assert doubled.shape == (1, 3, 2, 10)
    assert torch.equal(doubled[..., 0::2], both[:, :3])
    assert torch.equal(doubled[..., 1::2], both[:, 3:])


def test_attention_is_softmax_of_keys_and_positions() -> None:
    attention, hidden = find("model.Attention")(8).eval(), noise(2, 5, 8)
    normed = attention.norm(hidden)
    query = attention.query(normed).unflatten(-1, (4, 2))
    key, value = (
        each.unflatten(-1, (4, 2)) for each in attention.key_and_value(normed).chunk(2, -1)
    )
    expected = torch.zeros(2, 5, 4, 2)
    for signal in range(2):
        for head in range(4):
            for place in range(5):
                asked = query[signal, place, head]
                others = [
                    key[signal, other, head] + attention.positions.weight[place - other + 512]
                    for other in range(5)
                ]
                weights = torch.softmax(torch.stack(others) @ asked / 2**0.5, 0)
                expected[signal, place, head] = weights @ value[signal, :, head]
    torch.testing.assert_close(attention(hidden), attention.output(expected.flatten(2)))


def test_positions_beyond_the_farthest_are_taken_as_the_farthest() -> None:
    attention = find("model.Attention")(8)
    relative = attention.relative(515)
    assert torch.equal(relative[514, 0], relative[512, 0])
    assert torch.equal(relative[0, 514], attention.positions.weight[0])
    assert torch.equal(relative[3, 3], attention.positions.weight[512])


def test_conformers_go_over_time_and_then_over_frequency() -> None:
    model = find("model.TwoStageConformer")(4).eval()
    model.over_time, model.over_frequency = First(), nn.Identity()
    hidden = noise(1, 4, 3, 5)
    expected = 2 * (hidden + hidden[:, :, :1])
    torch.testing.assert_close(model(hidden), expected)
    model.over_time, model.over_frequency = nn.Identity(), First()
    torch.testing.assert_close(model(hidden), 2 * (hidden + hidden[..., :1]))


class First(nn.Module):
    """The first place of each sequence, for all."""

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden[:, :1].expand_as(hidden)


# The discriminator --------------------------------------------------------------------------------


def test_discriminator_has_as_many_parameters_as_published() -> None:
    assert num_parameters(build_discriminator()) == 181_650


def test_verdicts_are_between_0_and_1_and_do_not_mix() -> None:
    discriminator = build_discriminator()
    estimate, reference = noise(3, 4000), noise(3, 4000, seed=1)
    verdicts = discriminator(estimate, reference)
    assert verdicts.shape == (3,)
    assert verdicts.min() > 0
    assert verdicts.max() < 1
    alone = [discriminator(e[None], r[None]) for e, r in zip(estimate, reference)]
    torch.testing.assert_close(verdicts, torch.cat(alone))


def test_verdict_does_not_depend_on_the_level_of_both() -> None:
    discriminator = build_discriminator()
    estimate, reference = noise(1, 4000), noise(1, 4000, seed=1)
    torch.testing.assert_close(
        discriminator(0.1 * estimate, 0.1 * reference), discriminator(estimate, reference)
    )


@pytest.mark.parametrize("is_silent", [(True, True), (True, False), (False, True)])
def test_verdict_on_silence_has_a_finite_gradient(is_silent: tuple[bool, bool]) -> None:
    signals = [torch.zeros(1, 4000) if silent else noise(1, 4000) for silent in is_silent]
    estimate = signals[0].requires_grad_()
    build_discriminator()(estimate, signals[1]).sum().backward()
    assert estimate.grad.isfinite().all()


def test_shortest_signal_has_16_frames() -> None:
    discriminator = build_discriminator()
    assert discriminator(noise(1, 1500), noise(1, 1500)).shape == (1,)
    with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
        discriminator(noise(1, 1400), noise(1, 1400))  # 15 frames


# The loss -----------------------------------------------------------------------------------------


def test_loss_is_what_the_authors_say() -> None:
    loss = find("loss.GeneratorLoss")()
    verdicts, enhanced, clean = torch.tensor([0.3, 0.8]), noise(2, 4000), noise(2, 4000, seed=1)
    level = clean.square().mean(-1, keepdim=True).sqrt()
    transform = STFT(400, 100, window="hamming")
    ours, theirs = transform(enhanced / level), transform(clean / level)
    magnitude = (ours.abs() ** 0.3 - theirs.abs() ** 0.3).square().mean()
    parts = ours * ours.abs() ** -0.7 - theirs * theirs.abs() ** -0.7
    real_and_imaginary = parts.real.square().mean() + parts.imag.square().mean()
    time = ((enhanced - clean) / level).abs().mean()
    verdict = (0.7**2 + 0.2**2) / 2
    expected = 0.9 * magnitude + 0.1 * real_and_imaginary + 0.2 * time + 0.05 * verdict
    torch.testing.assert_close(loss(verdicts, enhanced, clean), expected)


def test_loss_of_the_clean_itself_is_0() -> None:
    clean = noise(2, 4000)
    assert find("loss.GeneratorLoss")()(torch.ones(2), clean, clean) == 0


@pytest.mark.parametrize(("estimate", "reference"), [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0)])
def test_loss_and_its_gradient_are_finite_on_silence(estimate: float, reference: float) -> None:
    enhanced = (estimate * noise(2, 4000)).requires_grad_()
    value = find("loss.GeneratorLoss")()(torch.ones(2), enhanced, reference * noise(2, 4000))
    value.backward()
    assert value.isfinite()
    assert enhanced.grad.isfinite().all()


# Training -----------------------------------------------------------------------------------------


@pytest.mark.pesq
def test_resumed_run_is_to_the_bit_the_uninterrupted_one(tmp_path: Path) -> None:
    """With dropout, spectral and batch norms, and a schedule for each optimizer that halves after each epoch."""
    settings = [
        *(f"lr_scheduler.{name}.args.step_size=1" for name in ("generator", "discriminator")),
        "trainer.args.history.args.size=2",
        "trainer.args.history.args.portion=1.0",
    ]

    def run(name: str, max_steps: int, *, resume: bool = False) -> Any:
        steps = f"trainer.args.max_steps={max_steps}"
        return train(experiment_of("cmgan", tmp_path / name, steps, *settings), resume=resume)

    whole = run("whole", 4)
    run("parts", 3)
    parts = run("parts", 4, resume=True)
    assert whole.optimizer["generator"].param_groups[0]["lr"] == 5e-4 / 4
    assert whole.optimizer["discriminator"].param_groups[0]["lr"] == 1e-3 / 4
    expected, found = files_of_latest(whole), files_of_latest(parts)
    for name in (
        "model.generator.safetensors",
        "model.discriminator.safetensors",
        "training_state.json",
        "training_state.safetensors",
    ):
        assert found[name] == expected[name]
