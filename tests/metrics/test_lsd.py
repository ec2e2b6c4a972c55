from __future__ import annotations

import librosa
import numpy as np
import pytest

from audiozen.metrics import lsd_urgent


@pytest.mark.parametrize(
    ("name", "sample_rate", "expected"),
    [  # the formula of urgent2025_challenge's lsd_metric, on librosa 0.11.0
        ("pair", 16000, 8.461505358),
        ("pair", 44100, 8.270949151),
        ("rainy", 16000, 4.812119389),
        ("near_train", 16000, 1.616955135),
        ("near_train", 44100, 1.357544730),
    ],
)
def test_equals_the_challenge(request, name, sample_rate, expected):
    estimate, reference = request.getfixturevalue(name)
    value = lsd_urgent(estimate, reference, sample_rate=sample_rate).item()
    assert value == pytest.approx(expected, abs=1e-8)


def test_is_the_rms_of_log_power_on_the_spectra_of_librosa():
    """Of noise, in which the challenge's small constants do not count."""
    reference, noise = np.random.default_rng(0).standard_normal((2, 16000))
    estimate = reference + noise
    scaled = estimate * (estimate @ reference) / (estimate @ estimate)
    logs = [
        2 * np.log(np.abs(librosa.stft(signal, n_fft=512, hop_length=256)))
        for signal in (scaled, reference)
    ]
    expected = np.sqrt(np.mean((logs[0] - logs[1]) ** 2, axis=0)).mean()
    assert lsd_urgent(estimate, reference).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("gain", [0.1, -1.0, 4.0])
def test_level_and_sign_of_the_estimate_do_not_count(pair, gain):
    assert lsd_urgent(gain * pair.estimate, pair.reference).item() == pytest.approx(
        lsd_urgent(*pair).item(), abs=1e-3
    )


def test_same_signal_has_no_distance(pair):
    assert lsd_urgent(pair.reference, pair.reference).item() == pytest.approx(0, abs=0.01)
