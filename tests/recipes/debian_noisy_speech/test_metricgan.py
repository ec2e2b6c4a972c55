from __future__ import annotations

import json
import logging
import math
import random
import sys
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from audiozen.complexity import count_macs
from audiozen.config.locate import locate
from audiozen.errors import RequestError
from audiozen.trainer.serialization import flatten, unflatten
from tests.recipes.code_lines import num_code_lines
from tests.recipes.debian_noisy_speech.adversarial import (
    CORPUS,
    experiment_of,
    files_of_latest,
    noise,
    num_parameters,
    train,
    train_on,
    train_plainly,
)

if TYPE_CHECKING:
    from pathlib import Path

RECIPE = CORPUS / "metricgan"
SMALL = {"lstm_size": 6, "linear_size": 8}


def find(name: str) -> Any:
    return locate(name, [RECIPE, CORPUS])


def build(**args: Any) -> Any:
    torch.manual_seed(0)
    return find("model.Generator")(**args)


def build_discriminator() -> Any:
    torch.manual_seed(0)
    return find("model.Discriminator")()


# The generator ------------------------------------------------------------------------------------


def test_generator_has_as_many_parameters_as_published() -> None:
    first = 2 * (4 * 200 * (257 + 200) + 2 * 4 * 200)
    second = 2 * (4 * 200 * (400 + 200) + 2 * 4 * 200)
    linear = 400 * 300 + 300 + 300 * 257 + 257
    generator = build()
    assert num_parameters(generator.lstm) == first + second
    assert num_parameters(generator.linear) == linear
    assert num_parameters(generator) == first + second + linear + 257 == 1_895_514


def test_generator_costs_1888300_multiply_accumulates_per_frame() -> None:
    lstm = 2 * 4 * 200 * (257 + 200) + 2 * 4 * 200 * (400 + 200)
    assert lstm + 400 * 300 + 300 * 257 == 1_888_300
    assert count_macs(build(), torch.zeros(1, 256)) == 2 * 1_888_300


@pytest.mark.parametrize("length", [1, 511, 16_000, 16_001])
def test_result_is_as_long_as_the_input(length: int) -> None:
    assert build(**SMALL)(noise(2, length)).shape == (2, length)


def test_signals_of_a_batch_do_not_mix() -> None:
    generator, noisy = build(**SMALL), noise(3, 8000)
    alone = torch.cat([generator(signal[None]) for signal in noisy])
    torch.testing.assert_close(generator(noisy), alone)


def test_silence_stays_silence() -> None:
    assert build(**SMALL)(torch.zeros(1, 4000)).abs().max() == 0


def test_mask_begins_around_half_of_its_ceiling() -> None:
    mask = build(**SMALL).mask(noise(2, 257, 9).abs())
    assert mask.shape == (2, 257, 9)
    assert mask.mean().item() == pytest.approx(0.6, abs=0.05)


@pytest.mark.parametrize(("bias", "expected"), [(-100.0, 0.05), (100.0, 1.2)])
def test_mask_has_a_floor_and_a_ceiling(bias: float, expected: float) -> None:
    generator = build(**SMALL)
    nn.init.constant_(generator.linear[-1].bias, bias)
    mask = generator.mask(noise(1, 257, 9).abs())
    torch.testing.assert_close(mask, torch.full_like(mask, expected))


def test_each_bin_has_a_slope_of_its_own() -> None:
    generator, magnitude = build(**SMALL), noise(1, 257, 9).abs()
    before = generator.mask(magnitude)
    with torch.no_grad():
        generator.sigmoid.slope[7] = 0
    after = generator.mask(magnitude)
    assert torch.equal(after[:, 7], torch.full((1, 9), 0.6))
    assert (after != before).any(-1)[0].nonzero().tolist() == [[7]]


def test_every_parameter_of_the_generator_gets_a_gradient() -> None:
    generator = build(**SMALL)
    generator(noise(1, 8000)).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in generator.parameters())


def test_mask_in_half_precision_becomes_sound_in_full() -> None:
    generator = build(**SMALL)
    generator.linear.append(InHalfPrecision())
    assert generator(noise(1, 4000)).dtype == torch.float32


class InHalfPrecision(nn.Module):
    """As autocast leaves it."""

    def forward(self, features: Tensor) -> Tensor:
        return features.to(torch.bfloat16)


# The discriminator --------------------------------------------------------------------------------


def test_discriminator_has_19010_parameters() -> None:
    convolutions = (2 + 3 * 15) * 15 * 25 + 4 * 15
    linear = 15 * 50 + 50 + 50 * 10 + 10 + 10 + 1
    assert num_parameters(build_discriminator()) == 2 * 2 + convolutions + linear == 19_010


def test_each_signal_gets_a_verdict_that_does_not_depend_on_the_others() -> None:
    discriminator = build_discriminator().eval()
    estimate, reference = noise(3, 6000), noise(3, 6000, seed=1)
    verdicts = discriminator(estimate, reference)
    assert verdicts.shape == (3,)
    alone = [discriminator(e[None], r[None]) for e, r in zip(estimate, reference)]
    torch.testing.assert_close(verdicts, torch.cat(alone))


def test_normalisation_is_that_of_batches_of_one_signal() -> None:
    features = noise(1, 2, 257, 20).abs()
    ours, theirs = build_discriminator().norm(features), nn.BatchNorm2d(2)(features)
    torch.testing.assert_close(ours, theirs)


def test_every_layer_of_the_discriminator_has_a_spectral_norm_of_one() -> None:
    discriminator = build_discriminator()
    for _ in range(20):  # each look at the weights comes nearer
        discriminator(noise(1, 5000), noise(1, 5000, seed=1))
    layers = [
        module
        for module in discriminator.eval().modules()
        if isinstance(module, (nn.Conv2d, nn.Linear))
    ]
    norms = [torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() for layer in layers]
    assert norms == pytest.approx([1.0] * 7, abs=0.01)


def test_verdict_has_a_gradient_for_the_estimate_and_all_parameters() -> None:
    discriminator, estimate = build_discriminator(), noise(2, 6000).requires_grad_()
    discriminator(estimate, noise(2, 6000, seed=1)).square().sum().backward()
    assert estimate.grad.abs().sum(-1).min() > 0
    assert all(parameter.grad.abs().sum() > 0 for parameter in discriminator.parameters())


def test_verdict_on_silence_has_a_finite_gradient() -> None:
    silence = torch.zeros(1, 6000, requires_grad=True)
    build_discriminator()(silence, silence.detach()).sum().backward()
    assert silence.grad.isfinite().all()


def test_shortest_signal_has_17_frames() -> None:
    discriminator = build_discriminator()
    assert discriminator(noise(1, 16 * 256), noise(1, 16 * 256)).shape == (1,)
    with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
        discriminator(noise(1, 15 * 256), noise(1, 15 * 256))


# Scores and history -------------------------------------------------------------------------------


def test_loss_of_the_generator_is_0_where_it_is_taken_for_clean() -> None:
    loss = find("loss.adversarial_loss")
    assert loss(torch.ones(3), noise(3, 9), noise(3, 9)) == 0
    assert loss(torch.tensor([1.0, 0.0]), noise(2, 9), noise(2, 9)) == 0.5


def test_scores_are_0_for_a_pesq_of_1_and_1_for_one_of_4_5() -> None:
    signals = noise(3, 9)
    scored = find("loss.with_scores")(signals, signals, {"pesq_wb": [1.0, 2.75, 4.5]})
    assert [score for _, _, score in scored] == [0, 0.5, 1]


def test_signals_without_a_score_are_left_out_and_told(caplog: pytest.LogCaptureFixture) -> None:
    estimates, references = noise(3, 9), noise(3, 9, seed=1)
    columns = {
        "pesq_wb": [math.nan, 2.75, math.nan],
        "pesq_wb__error": ["silent_reference", "", "crashed"],
    }
    [(estimate, reference, score)] = find("loss.with_scores")(estimates, references, columns)
    assert torch.equal(estimate, estimates[1])
    assert torch.equal(reference, references[1])
    assert score == 0.5
    assert caplog.messages == [
        "2 of 3 signals have no PESQ and are left out: crashed, silent_reference"
    ]


def item(number: int) -> tuple[Tensor, Tensor, float]:
    return torch.full((2,), float(number)), torch.zeros(2), number / 100


def numbers(history: Any) -> list[int]:
    return [int(estimate[0]) for estimate, _, _ in history.items]


def test_history_keeps_all_until_it_is_full() -> None:
    history = find("loss.History")(size=4, portion=0.5)
    history.add([item(1), item(2)])
    history.add([item(3), item(4)])
    assert numbers(history) == [1, 2, 3, 4]
    history.add([item(5), item(6)])
    assert len(history.items) == 4
    assert history.num_seen == 6


def test_history_is_an_even_choice_of_all_that_was_added() -> None:
    random.seed(0)
    counts = [0] * 10
    for _ in range(2000):
        history = find("loss.History")(size=4, portion=1.0)
        history.add([item(number) for number in range(10)])
        for number in numbers(history):
            counts[number] += 1
    assert min(counts) > 800 - 4 * 22  # 4 standard deviations of a binomial of 2000 and 0.4
    assert max(counts) < 800 + 4 * 22


@pytest.mark.parametrize(("portion", "expected"), [(0.0, 0), (0.2, 2), (1.0, 10)])
def test_history_gives_a_portion_of_itself_each_item_once(portion: float, expected: int) -> None:
    history = find("loss.History")(size=10, portion=portion)
    assert history.draw() == []
    history.add([item(number) for number in range(10)])
    drawn = [int(estimate[0]) for estimate, _, _ in history.draw()]
    assert len(set(drawn)) == len(drawn) == expected


def test_history_does_not_keep_the_batch() -> None:
    batch = noise(8, 100)
    history = find("loss.History")(size=8, portion=1.0)
    history.add([(batch[0], batch[1], 0.5)])
    batch.zero_()
    estimate, reference, _ = history.items[0]
    assert estimate.abs().sum() > 0
    assert estimate.untyped_storage().nbytes() == reference.untyped_storage().nbytes() == 400


def test_history_comes_back_from_a_checkpoint() -> None:
    first, second = (find("loss.History")(size=3, portion=1.0) for _ in range(2))
    first.add([item(number) for number in range(7)])
    second.load_state_dict(unflatten(*flatten(first.state_dict())))
    for history in (first, second):
        random.seed(1)
        history.add([item(number) for number in range(7, 20)])
    assert numbers(first) == numbers(second)
    assert first.num_seen == second.num_seen == 20


def test_history_without_room_stays_empty() -> None:
    history = find("loss.History")(size=0, portion=0.5)
    history.add([item(1)])
    assert history.items == history.draw() == []


@pytest.mark.parametrize(("size", "portion"), [(-1, 0.5), (3, -0.1), (3, 1.1)])
def test_history_outside_of_its_range_is_refused(size: int, portion: float) -> None:
    with pytest.raises(RequestError, match=r"at least 0 and portion in \[0, 1\], got"):
        find("loss.History")(size=size, portion=portion)


# Training -----------------------------------------------------------------------------------------


def speech(experiment: Any, num_batches: int) -> list[Any]:
    """Batches that PESQ finds speech in."""
    dataset = experiment.train_dataloader().dataset
    random.seed(0)
    torch.manual_seed(0)
    pairs = [dataset[index] for index in range(2 * num_batches)]
    return [
        [torch.stack(signals) for signals in zip(*pairs[start : start + 2])]
        for start in range(0, len(pairs), 2)
    ]


def experiment_with_all_of_the_history(folder: Path) -> Any:
    size, portion = "trainer.args.history.args.size=99", "trainer.args.history.args.portion=1.0"
    return experiment_of("metricgan", folder, size, portion, "trainer.args.max_steps=3")


@pytest.mark.pesq
@pytest.mark.parametrize("silent", [(), (0,), (0, 1)], ids=["all", "one silent", "all silent"])
def test_training_is_that_of_a_plain_loop_over_what_has_a_score(
    tmp_path: Path, silent: tuple[int, ...]
) -> None:
    experiment = experiment_with_all_of_the_history(tmp_path)
    batches = speech(experiment, 3)
    for index in silent:
        batches[1][1][index] = 0  # a clean signal that PESQ refuses
    trainer = train_on(experiment.build_trainer(), batches)
    plain = experiment.build_trainer()
    train_plainly(plain, batches, judges_noisy=True)
    for name, model in plain.modules.items():
        torch.testing.assert_close(trainer.modules[name].state_dict(), model.state_dict())
    assert len(trainer.history.items) == 6 - len(silent)


@pytest.mark.pesq
def test_signals_without_pesq_are_counted_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    experiment = experiment_of("metricgan", tmp_path, "trainer.args.log_interval=1")
    batches = speech(experiment, 2)
    batches[1][1][0] = 0
    trainer = train_on(experiment.build_trainer(), batches)
    lines = (trainer.metrics_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    steps = [record for record in map(json.loads, lines) if "train/loss" in record]
    assert [record["train/num_unscored"] for record in steps] == [0, 2]
    told = "1 of 2 signals have no PESQ and are left out: silent_reference"
    assert [m for m in caplog.messages if "PESQ" in m] == [told, told]  # enhanced, noisy
    for record in steps:
        assert record["train/grad_norm_generator"] > 0
        assert record["train/grad_norm_discriminator"] > 0
        assert record["train/lr_generator"] == record["train/lr_discriminator"] == 5e-4


class PatientPool:
    """Computes nothing until it is told to; or after 20 s, which is too late."""

    def __init__(self) -> None:
        self.pending: list[tuple[Future[Any], Any]] = []
        self.is_late = False
        self.timer = threading.Timer(20, self.give_up)
        self.timer.start()

    def submit(self, function: Any, *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.pending.append((future, lambda: function(*args)))
        return future

    def __enter__(self) -> None:
        """Used as the pool of a trainer."""

    def __exit__(self, *_: object) -> None:
        self.timer.cancel()

    def compute(self) -> None:
        while self.pending:
            future, call = self.pending.pop()
            future.set_result(call())

    def give_up(self) -> None:
        self.is_late = True
        self.compute()


@pytest.mark.pesq
def test_generator_makes_its_step_while_pesq_is_computed(tmp_path: Path) -> None:
    experiment = experiment_of("metricgan", tmp_path, "trainer.args.max_steps=1")
    trainer, pool = experiment.build_trainer(), PatientPool()
    trainer.metric_pool = pool
    submitted: list[int] = []

    def compute(*_: Any) -> None:
        submitted.append(len(pool.pending))
        pool.compute()

    trainer.optimizer["generator"].register_step_post_hook(compute)
    train_on(trainer, speech(experiment, 1))
    assert submitted == [4]  # two enhanced, two noisy
    assert not pool.is_late


@pytest.mark.pesq
def test_resumed_run_is_to_the_bit_the_uninterrupted_one(tmp_path: Path) -> None:
    """Stopped in the midst of an epoch, with a history that is full, and drawn from."""
    settings = [
        "trainer.args.history.args.size=3",
        "trainer.args.history.args.portion=0.7",
        "train_dataset.args.num_mixtures=8",
    ]

    def run(name: str, max_steps: int, *, resume: bool = False) -> Any:
        steps = f"trainer.args.max_steps={max_steps}"
        folder = tmp_path / name
        return train(experiment_of("metricgan", folder, steps, *settings), resume=resume)

    whole = run("whole", 5)
    assert len(run("parts", 3).history.items) == 3
    parts = run("parts", 5, resume=True)
    assert parts.history.num_seen == whole.history.num_seen == 10
    expected, found = files_of_latest(whole), files_of_latest(parts)
    for name in ("model.generator.safetensors", "model.discriminator.safetensors"):
        assert found[name] == expected[name]
    for name in ("training_state.json", "training_state.safetensors"):  # optimizers and history
        assert found[name] == expected[name]


def test_without_pesq_nothing_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pesq", None)
    experiment = experiment_of("metricgan", tmp_path)
    trainer = experiment.build_trainer()
    with pytest.raises(RequestError, match=r"learns from PESQ, but .* pip install 'audiozen\[pesq"):
        trainer.train(experiment.train_dataloader())
    assert not list(tmp_path.iterdir())


def test_prediction_is_that_of_the_generator(tmp_path: Path) -> None:
    trainer, noisy = experiment_of("metricgan", tmp_path).build_trainer(), noise(1, 8000)
    [output] = trainer.predictions([[noisy]], ckpt_path=None)
    torch.testing.assert_close(output.value, trainer.model["generator"](noisy))


def test_trainer_has_at_most_sixty_lines_of_code() -> None:
    assert num_code_lines(RECIPE / "trainer.py") <= 60
