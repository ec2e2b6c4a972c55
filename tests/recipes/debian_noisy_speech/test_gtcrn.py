from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from audiozen.complexity import count_macs, look_ahead, macs_per_second
from audiozen.config.locate import locate
from audiozen.errors import RequestError
from audiozen.inference.export import describe
from audiozen.inference.formats import FORMATS, trace
from audiozen.inference.frame_network import FrameNetwork
from audiozen.inference.standalone import Enhancer
from audiozen.losses import neg_si_sdr
from audiozen.streaming import Streaming, stream_through
from tests.complexity import models
from tests.inference.frame_models import recorded

RECIPE = Path(__file__).resolve().parents[3] / "recipes" / "debian_noisy_speech" / "gtcrn"
FOLDERS = [RECIPE, RECIPE.parent]
N_FFT, HOP = 512, 256


@pytest.fixture
def model() -> Any:
    return make_model()


def make_model() -> Any:
    """In evaluation mode, normalising by the statistics of some noise."""
    torch.manual_seed(0)
    gtcrn = locate("model.GTCRN", FOLDERS)()
    for module in gtcrn.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # all that was seen, each batch as much as the others
    gtcrn(noise(2, 4000))
    return gtcrn.eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Any], Path]:
    """A model, what a program must know of it, and the folder that it was written to for other runtimes."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    network, folder = FrameNetwork(make_model()), tmp_path_factory.mktemp("exported")
    program = trace(network)
    for fmt in FORMATS.values():
        fmt.write(folder / fmt.file, program, network)
    return network.model, describe(network, 16_000, origin={}), folder


@pytest.fixture
def loss() -> Any:
    return locate("loss.HybridLoss", FOLDERS)()


def num_parameters(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def noise(*shape: int) -> Tensor:
    return 0.1 * torch.randn(shape)


def test_has_the_parameters_of_the_authors_in_each_part(model: Any) -> None:
    assert num_parameters(model.encoder) == 7_944
    assert [num_parameters(path) for path in model.dual_paths] == [4_192, 4_192]
    assert num_parameters(model.decoder) == 7_341
    assert num_parameters(model) == 23_669
    assert num_parameters(model) + 2 * model.bands.numel() == 48_245


def test_fixed_bands_are_not_in_the_checkpoint(model: Any) -> None:
    assert "bands" not in model.state_dict()


def test_is_the_network_that_the_counters_are_checked_with(model: Any) -> None:
    """That one was written from the description as well, without states."""
    other = models.GTCRN().eval()
    other.to_bands.weight.copy_(model.bands.T)
    other.from_bands.weight.copy_(model.bands)
    fixed = ["to_bands.weight", "from_bands.weight"]
    names = [name for name in other.state_dict() if name not in fixed]
    ours = dict(zip(names, model.state_dict().values(), strict=True))
    assert other.load_state_dict(ours, strict=False).missing_keys == fixed
    noisy = noise(2, 8000)
    torch.testing.assert_close(model(noisy), other(noisy), rtol=0, atol=1e-6)


def test_each_bin_is_shared_by_two_bands_and_no_band_is_empty(model: Any) -> None:
    assert model.bands.shape == (192, 64)
    torch.testing.assert_close(model.bands.sum(1), torch.ones(192))
    assert ((model.bands > 0).sum(1) <= 2).all()
    assert model.bands.sum(0).min() > 0.5
    assert model.bands[0, 0] == model.bands[-1, -1] == 1


def test_bands_grow_with_frequency(model: Any) -> None:
    widths = model.bands.sum(0)[1:-1]
    assert widths[-8:].mean() > 3 * widths[:8].mean()


def test_too_few_bins_are_refused() -> None:
    with pytest.raises(RequestError, match=r"n_fft 254 leaves 63 bins .* use at least 256"):
        locate("model.GTCRN", FOLDERS)(n_fft=254, hop_length=127, win_length=254)
    locate("model.GTCRN", FOLDERS)(n_fft=256, hop_length=128, win_length=256)


@pytest.mark.parametrize("length", [1, 511, 16_000, 16_001])
def test_result_is_as_long_as_the_input(model: Any, length: int) -> None:
    assert model(torch.randn(2, length)).shape == (2, length)


@pytest.mark.parametrize("num_equal", [1000, 4096, 7777])
def test_equal_beginnings_have_equal_beginnings_of_the_result(model: Any, num_equal: int) -> None:
    noisy = noise(2, 8000)
    other = torch.cat([noisy[:, :num_equal], 10 * noise(2, 8000 - num_equal)], -1)
    change = (model(noisy) - model(other)).abs()
    known = num_equal - (N_FFT - 2)
    assert change[:, :known].max() < 1e-5
    assert change[:, known:num_equal].max() > 1e-3


def test_frames_do_not_depend_on_later_frames(model: Any) -> None:
    spec = model.stft(noise(1, 8000)).transpose(1, 2)
    whole, _ = model.enhance(spec)
    beginning, _ = model.enhance(spec[:, :9])
    torch.testing.assert_close(whole[:, :9], beginning, rtol=0, atol=1e-5)


def test_looks_less_than_a_window_ahead(model: Any) -> None:
    found = look_ahead(model, 16_000)
    assert found.samples == N_FFT - 2
    assert found.latency_ms(model.hop_length) == 32.0


@pytest.mark.parametrize("length", [1, 255, 256, 511, 8001])
def test_frame_by_frame_is_the_same_as_at_once(model: Any, length: int) -> None:
    noisy = noise(2, length)
    assert isinstance(model, Streaming)
    torch.testing.assert_close(stream_through(model, noisy), model(noisy), rtol=0, atol=1e-5)


def test_mask_in_parts_is_the_same_as_at_once(model: Any) -> None:
    """Whatever the parts: more frames than a block looks back, and fewer."""
    spec = torch.view_as_real(model.stft(noise(2, 8000))).permute(0, 3, 2, 1)
    memory = model.initial_memory(2)
    whole, _ = model.estimate_mask(spec, memory)
    masks = []
    for part in spec.split([1, 2, 12, 3, 15], dim=2):
        mask, memory = model.estimate_mask(part, memory)
        masks.append(mask)
    torch.testing.assert_close(torch.cat(masks, 2), whole, rtol=0, atol=1e-5)


def test_memory_keeps_its_shape(model: Any) -> None:
    def shapes(memory: Any) -> list[torch.Size]:
        return [tensor.shape for part in memory for state in part for tensor in state]

    state = model.initial_state(batch_size=3)
    _, after = model.stream(noise(3, HOP), state)
    assert len(shapes(state.memory)) == 16
    assert shapes(after.memory) == shapes(state.memory)
    assert sum(size[2] for size in shapes(state.memory) if len(size) == 4) == 2 * 2 * (1 + 2 + 5)


def test_all_that_is_remembered_is_in_the_state(model: Any) -> None:
    chunk, state = noise(1, HOP), model.initial_state()
    _, state = model.stream(noise(1, HOP), state)
    first, _ = model.stream(chunk, state)
    model.stream(noise(1, HOP), model.initial_state())
    again, _ = model.stream(chunk, state)
    assert torch.equal(first, again)


@pytest.mark.parametrize(
    ("name", "limit", "num_seconds"), [("onnx", 1e-4, 3), ("torch_export", 1e-5, 1)]
)
def test_files_for_other_runtimes_do_the_same(
    exported: tuple[Any, dict[str, Any], Path], name: str, limit: float, num_seconds: float
) -> None:
    """Frame by frame on recorded sound, with 16 states that go in and out."""
    model, settings, folder = exported
    assert len(settings["states"]) == 16
    fmt = FORMATS[name]
    enhancer = Enhancer(settings, fmt.open(folder / fmt.file, settings))
    noisy = recorded(num_seconds)
    with torch.no_grad():
        expected = model(noisy[None])[0]
    assert expected.abs().max() > 0.05
    enhanced = torch.from_numpy(enhancer.enhance(noisy.numpy()))
    torch.testing.assert_close(enhanced, expected, rtol=0, atol=limit)


def test_costs_420944_multiply_accumulates_per_frame(model: Any) -> None:
    """How they come about: ``tests/complexity/test_macs.py``."""
    assert count_macs(model, torch.zeros(1, 62 * HOP)) == 63 * 420_944
    assert macs_per_second(model, 16_000) == pytest.approx(26.3e6, rel=6e-3)


def test_signals_of_a_batch_do_not_mix(model: Any) -> None:
    noisy = noise(3, 8000)
    alone = torch.cat([model(signal[None]) for signal in noisy])
    torch.testing.assert_close(model(noisy), alone, rtol=0, atol=1e-6)


def test_silence_stays_silence(model: Any) -> None:
    assert model(torch.zeros(1, 4000)).abs().max() == 0


def test_every_parameter_gets_a_gradient(model: Any) -> None:
    model(noise(1, 8000)).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_half_precision_is_for_the_network_only(model: Any) -> None:
    noisy = noise(1, 8000)
    with torch.autocast("cpu", torch.bfloat16):
        enhanced = model(noisy)
    assert enhanced.dtype == torch.float32
    torch.testing.assert_close(enhanced, model(noisy), rtol=0, atol=0.02)


def test_some_steps_lower_the_loss(model: Any, loss: Any) -> None:
    model.train()
    clean = 0.2 * torch.sin(0.3 * torch.arange(4000)).expand(2, -1)
    noisy = clean + noise(2, 4000)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    values = []
    for _ in range(8):
        optimizer.zero_grad()
        value = loss(model(noisy), clean)
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.8 * values[0]


def test_loss_is_what_the_paper_says(loss: Any) -> None:
    estimate, reference = noise(2, 4000), noise(2, 4000)
    window = torch.hann_window(N_FFT).sqrt()

    def spectrum(waveform: Tensor) -> Tensor:
        padded = torch.nn.functional.pad(waveform, (0, -4000 % HOP))
        return torch.stft(
            padded, N_FFT, HOP, window=window, pad_mode="constant", return_complex=True
        )

    ours, theirs = spectrum(estimate), spectrum(reference)
    magnitudes = (ours.abs() ** 0.3 - theirs.abs() ** 0.3).square().mean()
    real = (ours.real / ours.abs() ** 0.7 - theirs.real / theirs.abs() ** 0.7).square().mean()
    imag = (ours.imag / ours.abs() ** 0.7 - theirs.imag / theirs.abs() ** 0.7).square().mean()

    s, e = reference - reference.mean(-1, keepdim=True), estimate - estimate.mean(-1, keepdim=True)
    target = (s * e).sum(-1, keepdim=True) / s.square().sum(-1, keepdim=True) * s
    ratio = target.square().sum(-1) / (target - e).square().sum(-1)
    expected = 30 * (real + imag) + 70 * magnitudes - torch.log10(ratio).mean()
    torch.testing.assert_close(loss(estimate, reference), expected, rtol=1e-4, atol=0)


def test_loss_of_equal_signals_is_that_of_the_ratio_alone(loss: Any) -> None:
    clean = noise(2, 4000)
    assert loss(clean, clean).item() == pytest.approx(-6.92, abs=0.01)


@pytest.mark.parametrize("gain", [0.1, 0.5, 2.0])
def test_loss_of_another_level_grows_with_the_compressed_gain(loss: Any, gain: float) -> None:
    """The ratio does not hear the level, up to rounding. The spectra of both kinds do, in the same way."""
    clean = noise(2, 4000)
    spectral = loss(gain * clean, clean) - 0.1 * neg_si_sdr(gain * clean, clean)
    power = loss.spectra.stft(clean).abs().pow(0.6).mean()
    expected = 100 * (1 - gain**0.3) ** 2 * power
    torch.testing.assert_close(spectral, expected, rtol=1e-3, atol=0)


def test_loss_of_a_flipped_sign_is_in_the_complex_part(loss: Any) -> None:
    clean = noise(2, 4000)
    spectral = loss(-clean, clean) - 0.1 * neg_si_sdr(-clean, clean)
    power = loss.spectra.stft(clean).abs().pow(0.6).mean()
    torch.testing.assert_close(spectral, 30 * 4 * power, rtol=1e-3, atol=0)


@pytest.mark.parametrize(("estimate", "reference"), [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0)])
def test_loss_and_its_gradient_are_finite_on_silence(
    loss: Any, estimate: float, reference: float
) -> None:
    enhanced = (estimate * noise(2, 4000)).requires_grad_()
    value = loss(enhanced, reference * noise(2, 4000))
    value.backward()
    assert value.isfinite()
    assert enhanced.grad.isfinite().all()
