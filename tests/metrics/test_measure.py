"""The rules that all metrics share."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from audiozen.errors import MetricError, RequestError, ShapeError
from audiozen.metrics import METRICS
from audiozen.metrics.measure import Measure, evaluate, require, signals

INTRUSIVE = [name for name, metric in METRICS.items() if metric.needs_reference]

NEED_PESQ = ["pesq_wb", "pesq_nb", "csig", "cbak", "covl"]

PESQ_WB = pytest.param("pesq_wb", marks=pytest.mark.pesq)


def call(name, estimate, reference, **kwargs):
    if METRICS[name].needs_reference:
        return METRICS[name].function(estimate, reference, **kwargs)
    first_second = estimate[..., :16000]  # DNSMOS takes its time
    return METRICS[name].function(first_second, **kwargs)


def reason(name, estimate, reference):
    """The reason in strict mode, having checked that it is NaN otherwise."""
    assert math.isnan(call(name, estimate, reference))
    with pytest.raises(MetricError) as raised:
        call(name, estimate, reference, strict=True)
    assert str(raised.value).startswith(f"{name} of signal 0: ")
    return raised.value.reason


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("constant", [0.0, 0.5])
def test_silent_estimate_is_undefined(pair, name, constant):
    silence = np.full_like(pair.reference, constant)
    assert reason(name, silence, pair.reference) == "silent_estimate"


@pytest.mark.parametrize("name", INTRUSIVE)
def test_silent_reference_gives_nan(pair, name):
    silence = np.zeros_like(pair.reference)
    assert reason(name, pair.estimate, silence) == "silent_reference"
    assert reason(name, silence, silence) == "silent_reference"


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nonfinite_estimate_gives_nan(pair, name, value):
    estimate = pair.estimate.copy()
    estimate[1000] = value
    assert reason(name, estimate, pair.reference) == "nonfinite"


@pytest.mark.parametrize("name", INTRUSIVE)
def test_nonfinite_reference_gives_nan(pair, name):
    reference = pair.reference.copy()
    reference[1000] = math.nan
    assert reason(name, pair.estimate, reference) == "nonfinite"


@pytest.mark.parametrize("name", METRICS)
def test_no_samples_are_too_short(name):
    assert reason(name, np.zeros(0), np.zeros(0)) == "too_short"


@pytest.mark.parametrize("name", INTRUSIVE)
def test_other_length_is_refused(pair, name):
    with pytest.raises(ShapeError, match="trim or pad one of them"):
        call(name, pair.estimate[:-100], pair.reference)


@pytest.mark.parametrize("name", METRICS)
def test_integers_are_refused(pair, name):
    pcm = (pair.estimate * 32767).astype(np.int16)
    with pytest.raises(TypeError, match=r"int16; expected floating point .*divide int16 by 32768"):
        call(name, pcm, pcm)


@pytest.mark.parametrize("name", METRICS)
def test_channels_are_refused(pair, name):
    stereo = np.stack([pair.estimate, pair.estimate])[None]
    with pytest.raises(ShapeError, match=r"estimate has shape \(1, 2, \d+\); expected"):
        call(name, stereo, stereo)


@pytest.mark.parametrize("name", ["si_sdr", "stoi", PESQ_WB, "dnsmos_p808"])
def test_batch_has_one_value_per_signal(pair, name):
    silence = np.zeros_like(pair.estimate)
    estimates = np.stack([pair.estimate, silence, pair.reference])
    values = call(name, estimates, np.stack([pair.reference] * 3))
    assert values.shape == (3,)
    assert values.dtype == torch.float64
    assert values[0] == call(name, *pair)
    assert math.isnan(values[1])
    assert (values[2] > values[0]) == METRICS[name].higher_is_better


def test_single_signal_gives_a_scalar_and_a_batch_of_none_gives_none(pair):
    assert METRICS["snr"].function(*pair).shape == ()
    assert METRICS["snr"].function(np.zeros((0, 100)), np.zeros((0, 100))).shape == (0,)


def test_tensors_and_arrays_give_the_same(pair):
    as_tensors = [torch.from_numpy(signal).requires_grad_() for signal in pair]
    assert METRICS["stoi"].function(*as_tensors) == METRICS["stoi"].function(*pair)


@pytest.mark.parametrize(
    "name", ["si_sdr", "sdr_bss", "ssnr", "lsd_urgent", "llr", "wss", PESQ_WB, "stoi", "estoi"]
)
def test_signals_are_not_changed(pair, name):
    before = [signal.copy() for signal in pair]
    call(name, *pair)
    assert all(np.array_equal(a, b) for a, b in zip(before, pair))


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.pesq if name in NEED_PESQ else ()) for name in METRICS],
)
def test_higher_is_better(pair, name):
    metric = METRICS[name]
    perfect = float(call(name, pair.reference, pair.reference))
    imperfect = float(call(name, *pair))
    assert (perfect > imperfect) == metric.higher_is_better
    assert all(metric.range[0] <= value <= metric.range[1] for value in (perfect, imperfect))


@pytest.mark.parametrize(
    ("name", "rate", "allowed"),
    [
        ("pesq_wb", 8000, "16000 Hz"),
        ("pesq_wb", 48000, "16000 Hz"),
        ("pesq_nb", 44100, "8000 or 16000 Hz"),
        ("csig", 8000, "16000 Hz"),
        ("llr", 44100, "8000 or 16000 Hz"),
        ("wss", 44100, "8000 or 16000 Hz"),
        ("dnsmos_ovrl", 48000, "16000 Hz"),
        ("dnsmos_ovrl_full", 48000, "16000 Hz"),
    ],
)
def test_rate_at_which_it_is_not_defined_is_refused(pair, name, rate, allowed):
    with pytest.raises(RequestError, match=f"{name} is defined at {allowed}, got .*{rate}"):
        call(name, *pair, sample_rate=rate)


def test_rate_of_zero_is_refused(pair):
    with pytest.raises(RequestError, match="stoi: sample_rate must be positive, got 0"):
        call("stoi", *pair, sample_rate=0)


@pytest.mark.parametrize(
    ("name", "least"),
    [("sdr_bss", 512), ("lsd_urgent", 512), ("ssnr", 600), ("llr", 600), ("wss", 600)],
)
def test_fewer_samples_than_it_needs_are_too_short(pair, name, least):
    enough = [signal[8000 : 8000 + least] for signal in pair]
    assert math.isfinite(call(name, *enough, strict=True))
    assert reason(name, *(signal[:-1] for signal in enough)) == "too_short"


def test_package_that_gives_up_is_told_and_does_not_stop_the_run(pair):
    def give_up(estimate, reference, sample_rate):
        raise ZeroDivisionError("no luck")

    arguments = ("luck", Measure(give_up), *pair, 16000)
    assert math.isnan(evaluate(*arguments, strict=False))
    with pytest.raises(MetricError, match="luck of signal 0: failed: ZeroDivisionError: no luck"):
        evaluate(*arguments, strict=True)


def test_missing_package_is_told_with_the_command_that_installs_it():
    with pytest.raises(MetricError, match=r"pip install 'audiozen\[metrics\]'") as raised:
        require("a_package_that_is_not_there", extra="metrics")
    assert raised.value.reason == "not_installed"


@pytest.mark.parametrize(
    ("dtype", "kept"),
    [
        (torch.float64, np.float64),
        (torch.float32, np.float32),
        (torch.float16, np.float32),
        (torch.bfloat16, np.float32),
    ],
)
def test_signals_keep_their_values_in_as_few_bytes_as_float32(pair, dtype, kept):
    estimate = torch.from_numpy(pair.estimate).to(dtype)
    [(samples, _, _)] = signals(estimate, None)
    assert samples.dtype == kept
    assert np.array_equal(samples, estimate.double().numpy())


@pytest.mark.parametrize("name", ["si_sdr", "sdr_bss", "lsd_urgent", "wss", "stoi", "estoi"])
def test_float32_is_computed_in_float64(pair, name):
    single = [signal.astype(np.float32) for signal in pair]
    double = [signal.astype(np.float64) for signal in single]
    assert call(name, *single) == call(name, *double)


@pytest.mark.parametrize("offset", [0.0, 1.0, -1e6])
@pytest.mark.parametrize("spread", [0.0, 1e-17, 1e-12, 1e-8, 1e-3])
def test_silence_is_what_it_is_elsewhere(pair, offset, spread):
    from audiozen.acoustics import is_silent

    estimate = offset + spread * pair.reference / np.abs(pair.reference).max()
    is_refused = math.isnan(METRICS["snr"].function(estimate, pair.reference))
    assert is_refused == bool(is_silent(torch.from_numpy(estimate)))
